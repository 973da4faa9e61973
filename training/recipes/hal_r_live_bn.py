"""HAL-R with live batch normalisation: a deviation from the thesis, which shows what random weights can learn.

All else is HAL-R's (Table 4.6). The thesis has no figures for it: its HAL-R names one class whatever it sees.

    hal train hal-r-live-bn --data datasets/mine.csv --run runs/hal-r-live-bn
"""

from training.recipe import ClassifierHead, Recipe, classifier_stage

RECIPE = Recipe(
    name="hal-r-live-bn",
    initial_weights="random",
    classifier_head=ClassifierHead(dropout=0.2, normalised=False),
    stages=(
        classifier_stage(
            "training",
            trains_encoder=True,
            live_batch_normalisation=True,
            epochs=100,
            patience=3,
            learning_rate=1e-3,
            batch_size=25,
        ),
    ),
)
