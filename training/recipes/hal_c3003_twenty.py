"""HAL-C3003 for all 20 classes from open images and composites, on two CPU cores; the recipe of models/hal-c/2.

What differs from ``hal-c3003-cpu``, and why: every batch holds two images of each class, so that neighbours in
maturation are always told from each other; step 2 has two parts, most epochs at 192 pixels (1.8 times as fast) and the
last at 256; Xception's first four blocks keep ImageNet's weights (1.6 times as fast), which a few thousand images
could not better; views are also mirrored and jittered in stain and brightness, alike for all classes, so that a class
made by editing cells of one hospital is not told by that hospital's colours.

Measured on test images (models/hal-c/2/MODEL_CARD.md, int8): accuracy 0.896 on 450 real Barcelona cells of ten classes,
0.993 on 461 composites, 0.863 on 190 edited controls. The loss of the contrastive parts was 2.22, 1.74, 1.58, 1.52,
1.48, 1.46, 1.42, 1.38 and 1.45, 1.37, 1.29, 1.25 after their epochs. Two hours on two cores with AVX512-BF16,
beside other work.

    hal train hal-c3003-twenty --data datasets/twenty/manifest.csv --run runs/hal-c3003-twenty
"""

from training.networks.augmentation import CLASSIFIER_AUGMENTATION, PROJECTION_AUGMENTATION
from training.recipe import CACHED, classifier_stage, hal_c, projection_stage

VIEWS = PROJECTION_AUGMENTATION.model_copy(update={"mirror": True, "stain": 0.08, "brightness": 0.1})
CLASSIFIER_VIEWS = CLASSIFIER_AUGMENTATION.model_copy(update={"mirror": True, "stain": 0.05, "brightness": 0.05})
_CACHED = {**CACHED, "learning_rate": 1e-3, "classes_per_batch": 20}
_ENCODER = {
    "trains_encoder": True,
    "frozen_blocks": 4,
    "learning_rate": 1.5e-4,
    "batch_size": 40,
    "classes_per_batch": 20,
    "augmentation": VIEWS,
}

RECIPE = hal_c(
    "hal-c3003-twenty",
    projection_stage("projection", **_CACHED, feature_views=2, epochs=30, batch_size=80, augmentation=VIEWS),
    projection_stage("encoder_small", **_ENCODER, image_side=192, epochs=8, warm_up=0.05),
    projection_stage("encoder", **_ENCODER, epochs=4, warm_up=0.02, decay="cosine"),
    classifier_stage(
        "classifier", **_CACHED, feature_views=3, epochs=100, batch_size=40, augmentation=CLASSIFIER_VIEWS
    ),
    precision="mixed_bfloat16",
)
