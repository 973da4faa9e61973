"""HAL-C3001, supervised contrastive learning with 16 projection units (thesis Tables 4.8 and 4.9).

The thesis reports a test accuracy of 0.9004 (loss 0.3550; Table 5.3) for these hyperparameters, those of its final
training. Its validation accuracy belongs to hal-c3001-selection. A GPU is wanted.

    hal train hal-c3001 --data datasets/mine.csv --run runs/hal-c3001
"""

from training.recipe import ThesisFigures, contrastive_stages, hal_c

RECIPE = hal_c(
    "hal-c3001",
    *contrastive_stages(
        projection={"epochs": 7, "learning_rate": 1e-3, "batch_size": 16},
        encoder={"epochs": 10, "learning_rate": 1e-5, "batch_size": 16},
        classifier={"epochs": 20, "learning_rate": 1e-3, "batch_size": 16},
    ),
    units=16,
    thesis=ThesisFigures(test_accuracy=0.9004, test_loss=0.3550),
)
