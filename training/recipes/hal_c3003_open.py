"""HAL-C3003 for all 20 classes from all open images and composites, on two CPU cores; the recipe of models/hal-c/3.

What differs from ``hal-c3003-cpu``, and why: batches are shuffled, since most of 14,800 images are real cells; half of
the views have another laboratory's light, colour, stain, focus and compression (:mod:`training.networks.styles`), so
that the network does not rely on Barcelona's; the scale varies by 15 %; step 2 has two parts, most epochs at 160 pixels
(2.5 times as fast) and the last at 256; Xception's first four blocks keep ImageNet's weights (1.6 times as fast). A
fourth step, which the thesis does not have, trains encoder and classifier together at a small rate.

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
        epochs=4,
        learning_rate=1e-4,
        batch_size=32,
        decay="cosine",
        augmentation=CLASSIFIER_VIEWS,
    ),
    precision="mixed_bfloat16",
)
