"""HAL-R for some 3,000 images and two CPU cores: random weights, with the epochs of hal-c3003-cpu's step 2.

As HAL-R it leaves batch normalisation in inference mode. On the open images it rested at the class prior for an epoch
and then left it: validation accuracy 0.117, 0.263, 0.350 after its first three (docs/comparison.md); ``--set
training.live_batch_normalisation=true`` is the labelled deviation.

    hal train hal-r-cpu --data datasets/open.csv --run runs/hal-r-cpu
"""

from training.recipe import classifier_stage, hal_t

RECIPE = hal_t(
    "hal-r-cpu",
    classifier_stage("training", trains_encoder=True, epochs=6, patience=3, learning_rate=1e-3, batch_size=16),
    initial_weights="random",
    precision="mixed_bfloat16",
)
