"""HAL-T for some 3,000 images and two CPU cores: the counterpart of hal-c3003-cpu, with the same budget.

What differs from HAL-T3003, and why: the top layer learns on three augmented views encoded once; fine tuning has
hal-c3003-cpu's epochs, batch size, warm-up and cosine decay, at the thesis's learning rate, which is the same; the
encoder computes in bfloat16.

Measured on 769 validation images of 13 classes: accuracy 0.883 (docs/comparison.md).

    hal train hal-t-cpu --data datasets/open.csv --run runs/hal-t-cpu
"""

from training.recipe import CACHED, classifier_stage, hal_t

RECIPE = hal_t(
    "hal-t-cpu",
    classifier_stage("top_layer", **CACHED, feature_views=3, epochs=60, learning_rate=1e-3, batch_size=32),
    classifier_stage(
        "fine_tuning", trains_encoder=True, epochs=6, learning_rate=1e-4, batch_size=16, warm_up=0.05, decay="cosine"
    ),
    precision="mixed_bfloat16",
)
