"""HAL-C3002, supervised contrastive learning with 128 projection units (thesis Tables 4.8 and 4.9).

The thesis reports a validation accuracy of 0.9186 (loss 0.2546) and a test accuracy of 0.9020 (loss 0.3518; Table 5.3),
on 76,612 and 15,374 images of 20 classes that are not public. Its validation images were of sets A and B (section 4.4),
this recipe's are of A, B and C; ``--set 'sets=["A","B"]'`` gives figures to compare. It differs from HAL-C3003 in the
classifier's dropout only and shares its encoder-128, which ``--encoder-from`` takes from that run instead of training
it twice. A GPU is wanted.

    hal train hal-c3002 --data datasets/mine.csv --run runs/hal-c3002 --encoder-from runs/hal-c3003
"""

from training.recipe import ThesisFigures, contrastive_stages, hal_c

RECIPE = hal_c(
    "hal-c3002",
    *contrastive_stages(
        projection={"epochs": 7, "learning_rate": 1e-3, "batch_size": 16},
        encoder={"epochs": 10, "learning_rate": 1e-5, "batch_size": 16},
        classifier={"epochs": 20, "learning_rate": 1e-3, "batch_size": 16},
    ),
    dropout=0.2,
    thesis=ThesisFigures(validation_accuracy=0.9186, validation_loss=0.2546, test_accuracy=0.9020, test_loss=0.3518),
)
