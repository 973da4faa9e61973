"""HAL-C3001 as it was in the thesis's model selection (Table C.1).

The thesis reports a validation accuracy of 0.9129 (loss 0.2660; Table 5.3) for these hyperparameters; for its final
training it changed them to those of hal-c3001 without training again. Its validation images were of sets A and B
(section 4.4), so those are what is trained and validated on here; where all images are of one source, set B is empty
and ``--set 'sets=["A","B","C"]'`` takes them all. A GPU is wanted.

    hal train hal-c3001-selection --data datasets/mine.csv --run runs/hal-c3001-selection
"""

from training.recipe import ThesisFigures, contrastive_stages, hal_c

RECIPE = hal_c(
    "hal-c3001-selection",
    *contrastive_stages(
        projection={"epochs": 7, "learning_rate": 1e-5, "batch_size": 16},
        encoder={"epochs": 7, "learning_rate": 1e-5, "batch_size": 16},
        classifier={"epochs": 20, "learning_rate": 1e-3, "batch_size": 16},
    ),
    units=16,
    sets=("A", "B"),
    thesis=ThesisFigures(validation_accuracy=0.9129, validation_loss=0.2660),
)
