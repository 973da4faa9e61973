"""HAL-C3003 for all 20 classes from all open images, with photometric styles, on two CPU cores.

What differs from ``hal-c3003-twenty``, and why: 13,000 real images instead of 2,500, so batches are shuffled and most
of each are real cells; half of the views have another laboratory's light, colour, stain, focus and compression
(:mod:`training.networks.styles`), so that the network does not rely on Barcelona's; the scale varies by 15 %; after the
thesis's three steps a fourth one tunes encoder and classifier together at a small rate.

    hal train hal-c3003-open --data datasets/twenty/manifest.csv --run runs/hal-c3003-open
"""

from training.networks.augmentation import CLASSIFIER_AUGMENTATION, PROJECTION_AUGMENTATION
from training.recipe import ClassifierHead, ProjectionHead, Recipe, classifier_stage, projection_stage

VIEWS = PROJECTION_AUGMENTATION.model_copy(update={"contrast": 0.2, "zoom": 0.15, "mirror": True, "styles": True})
CLASSIFIER_VIEWS = CLASSIFIER_AUGMENTATION.model_copy(update={"zoom": 0.15, "mirror": True, "styles": True})
_ENCODER = {"frozen_blocks": 4, "batch_size": 48, "learning_rate": 2e-4, "augmentation": VIEWS}

RECIPE = Recipe(
    name="hal-c3003-open",
    projection_head=ProjectionHead(units=128, dropout=0.2),
    classifier_head=ClassifierHead(dropout=0.3, normalised=True),
    temperature=0.1,
    stages=(
        projection_stage(
            "projection",
            trains_encoder=False,
            image_side=128,
            epochs=10,
            learning_rate=1e-3,
            batch_size=96,
            feature_views=2,
            decay="cosine",
            augmentation=VIEWS,
        ),
        projection_stage("encoder_small", trains_encoder=True, image_side=160, epochs=3, warm_up=0.05, **_ENCODER),
        projection_stage("encoder", trains_encoder=True, epochs=1, warm_up=0.05, decay="cosine", **_ENCODER),
        classifier_stage(
            "classifier",
            trains_encoder=False,
            epochs=40,
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
            learning_rate=1e-4,
            batch_size=32,
            warm_up=0.05,
            decay="cosine",
            augmentation=CLASSIFIER_VIEWS,
        ),
    ),
    precision="mixed_bfloat16",
)
