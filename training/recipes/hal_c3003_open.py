"""HAL-C3003 for all 20 classes from all open images, with photometric styles, on two CPU cores.

What differs from ``hal-c3003-twenty``, and why: 13,000 real images instead of 2,500, so batches are shuffled and most
of each are real cells; half of the views have another laboratory's light, colour, stain, focus and compression
(:mod:`training.networks.styles`), so that the network does not rely on Barcelona's; the scale varies by 15 %; after the
thesis's three steps a fourth one tunes encoder and classifier together at a small rate.

    hal train hal-c3003-open --data datasets/twenty/manifest.csv --run runs/hal-c3003-open
"""

from training.networks.augmentation import CLASSIFIER_AUGMENTATION, PROJECTION_AUGMENTATION
from training.recipe import CACHED, classifier_stage, hal_c, projection_stage

VIEWS = PROJECTION_AUGMENTATION.model_copy(update={"contrast": 0.2, "zoom": 0.15, "mirror": True, "styles": True})
CLASSIFIER_VIEWS = CLASSIFIER_AUGMENTATION.model_copy(update={"zoom": 0.15, "mirror": True, "styles": True})
_CACHED = {**CACHED, "feature_views": 2, "learning_rate": 1e-3}
_TUNED = {"trains_encoder": True, "frozen_blocks": 4, "warm_up": 0.05}
_ENCODER = {**_TUNED, "batch_size": 48, "learning_rate": 2e-4, "augmentation": VIEWS}

RECIPE = hal_c(
    "hal-c3003-open",
    projection_stage("projection", **_CACHED, image_side=128, epochs=10, batch_size=96, augmentation=VIEWS),
    projection_stage("encoder_small", **_ENCODER, image_side=160, epochs=3),
    projection_stage("encoder", **_ENCODER, epochs=1, decay="cosine"),
    classifier_stage("classifier", **_CACHED, epochs=40, batch_size=64, augmentation=CLASSIFIER_VIEWS),
    classifier_stage(
        "fine_tuning",
        **_TUNED,
        epochs=1,
        learning_rate=1e-4,
        batch_size=32,
        decay="cosine",
        augmentation=CLASSIFIER_VIEWS,
    ),
    precision="mixed_bfloat16",
)
