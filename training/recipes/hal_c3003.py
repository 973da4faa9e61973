"""HAL-C3003, the best network of the thesis: supervised contrastive learning with 128 projection units.

The thesis reports a validation accuracy of 0.9184 (loss 0.2551) and a test accuracy of 0.9024 (loss 0.3462; Table 5.3),
on 76,612 and 15,374 images of 20 classes that are not public (Tables 4.8 and 4.9). Its validation images were of sets A
and B (section 4.4), this recipe's are of A, B and C; ``--set 'sets=["A","B"]'`` gives figures to compare. A GPU is
wanted; on two cores use hal-c3003-cpu.

    hal train hal-c3003 --data datasets/mine.csv --run runs/hal-c3003
"""

from training.recipe import ThesisFigures, contrastive_stages, hal_c

RECIPE = hal_c(
    "hal-c3003",
    *contrastive_stages(
        projection={"epochs": 7, "learning_rate": 1e-3, "batch_size": 16},
        encoder={"epochs": 10, "learning_rate": 1e-5, "batch_size": 16},
        classifier={"epochs": 20, "learning_rate": 1e-3, "batch_size": 16},
    ),
    thesis=ThesisFigures(validation_accuracy=0.9184, validation_loss=0.2551, test_accuracy=0.9024, test_loss=0.3462),
)
