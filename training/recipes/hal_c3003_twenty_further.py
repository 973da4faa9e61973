"""HAL-C3003 for all 20 classes, trained further from the encoder of ``hal-c3003-twenty``, on two CPU cores.

What differs from the run that it begins with, and why: half of the validation images train (2,885 real ones instead of
2,501; what is left for validation was never trained on), there are fewer composites and edited controls, which were
learned at once, and images are drawn as they come instead of class by class, so that two thirds of every batch are real
cells; all epochs of step 2 are at 256 pixels.

It brought nothing: of 385 real validation images that neither was trained on, 345 are named rightly instead of 343, of
the ten expert-labelled classes 268 instead of 270 of 300 (docs/composites.md). So models/hal-c/2 is of the run that
this one begins with.

    hal data split datasets/open.csv --release-validation 0.5 --out datasets/further.csv
    hal composites make --data datasets/further.csv --out datasets/further --per-class 100 --val-per-class 60 \\
        --test-per-class 58 --sham-share 0.12 --seed 2023
    hal train hal-c3003-twenty-further --data datasets/further/manifest.csv --start-from runs/twenty --run runs/further
"""

from training.recipe import CACHED, classifier_stage, hal_c, projection_stage
from training.recipes.hal_c3003_twenty import CLASSIFIER_VIEWS, VIEWS

_CACHED = {**CACHED, "learning_rate": 1e-3}

RECIPE = hal_c(
    "hal-c3003-twenty-further",
    projection_stage("projection", **_CACHED, feature_views=2, epochs=20, batch_size=80, augmentation=VIEWS),
    projection_stage(
        "encoder",
        trains_encoder=True,
        frozen_blocks=4,
        epochs=12,
        learning_rate=1e-4,
        batch_size=40,
        warm_up=0.02,
        decay="cosine",
        augmentation=VIEWS,
    ),
    classifier_stage("classifier", **_CACHED, feature_views=3, epochs=30, batch_size=40, augmentation=CLASSIFIER_VIEWS),
    precision="mixed_bfloat16",
)
