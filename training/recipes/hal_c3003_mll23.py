"""HAL-C3003 for the 16 classes of MLL23, 3,265 real hairy cells among them, on one GPU; see docs/hairy-cells.md.

What differs from ``hal-c3003-open``, and why: all cells are photographs, so nothing is learned from composites; all ten
epochs of step 2 are at 256 pixels, since a GPU has the time; batches of 96 in micro-batches of 48, for its memory. **No
choice was tried on MLL23**, which was not at hand: there are no figures to expect. The largest class has 260 times the
images of the smallest, and batches are shuffled: look at the recall of reactive lymphocytes (33 images) before
believing it.

    hal train hal-c3003-mll23 --data datasets/mll23.csv --run runs/mll23
"""

from training.recipe import ClassifierHead, ProjectionHead, Recipe, classifier_stage, projection_stage
from training.recipes.hal_c3003_open import CLASSIFIER_VIEWS, VIEWS

RECIPE = Recipe(
    name="hal-c3003-mll23",
    projection_head=ProjectionHead(units=128, dropout=0.2),
    classifier_head=ClassifierHead(dropout=0.3, normalised=True),
    temperature=0.1,
    stages=(
        projection_stage(
            "projection",
            trains_encoder=False,
            epochs=10,
            learning_rate=1e-3,
            batch_size=96,
            feature_views=2,
            decay="cosine",
            augmentation=VIEWS,
        ),
        projection_stage(
            "encoder",
            trains_encoder=True,
            frozen_blocks=4,
            epochs=10,
            learning_rate=2e-4,
            batch_size=96,
            micro_batch=48,
            warm_up=0.05,
            decay="cosine",
            augmentation=VIEWS,
        ),
        classifier_stage(
            "classifier",
            trains_encoder=False,
            epochs=60,
            learning_rate=1e-3,
            batch_size=64,
            feature_views=2,
            decay="cosine",
            augmentation=CLASSIFIER_VIEWS,
        ),
        classifier_stage(
            "fine_tuning",
            trains_encoder=True,
            frozen_blocks=4,
            epochs=1,
            learning_rate=3e-5,
            batch_size=32,
            warm_up=0.05,
            decay="cosine",
            augmentation=CLASSIFIER_VIEWS,
        ),
    ),
    precision="mixed_bfloat16",
)
