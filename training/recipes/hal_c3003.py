"""HAL-C3003, the best network of the thesis (Tables 4.8, 4.9 and 4.10).

Expected on CellaVision's 76,612 training and 15,374 test images, 20 classes (Table 5.3):
validation accuracy 0.9184, validation loss 0.2551, test accuracy 0.9024, test loss 0.3462.
About 8 hours on an NVIDIA GTX 1080 Ti (45 minutes an epoch of step 2).

    hal train hal-c3003 --data datasets/cells.csv --run runs/hal-c3003
"""

from training.recipe import ContrastiveRecipe, classifier_step, projection_step

RECIPE = ContrastiveRecipe(
    name="hal-c3003",
    projection_units=128,
    temperature=0.1,
    projection_step=projection_step(epochs=7, learning_rate=1e-3),
    encoder_step=projection_step(epochs=10, learning_rate=1e-5),
    classifier_step=classifier_step(epochs=20, learning_rate=1e-3, dropout=0.3),
)
