"""HAL-C trained further on one laboratory's confirmed cells, from the encoder of a bundle or run, on two CPU cores.

For those whose cells ``hal adapt`` cannot tell better: some hundred cells of many slides, together with the images that
the run was trained on, or what only those show is forgotten. Few epochs at a small rate; views in other stain and
camera styles, as in ``hal-c3003-open``; the first four blocks stay as they are.

On 129 cells of Raabin-WBC (docs/train.md) it is no better than ``hal adapt``. In a trial on 913 cells of half of a
hospital's patients such training named 0.60 of the other half's cells of 17 classes, the last layer alone 0.53.

    hal data split datasets/site-and-open.csv --by slide --out datasets/site-split.csv
    hal train hal-site --data datasets/site-split.csv --start-from models/hal-c/3 --run runs/site
"""

from training.recipe import CACHED, classifier_stage, hal_c, projection_stage
from training.recipes.hal_c3003_open import CLASSIFIER_VIEWS, VIEWS

_CACHED = {**CACHED, "learning_rate": 1e-3}

RECIPE = hal_c(
    "hal-site",
    projection_stage(
        "projection", **_CACHED, feature_views=2, image_side=128, epochs=10, batch_size=80, augmentation=VIEWS
    ),
    projection_stage(
        "encoder",
        trains_encoder=True,
        frozen_blocks=4,
        epochs=3,
        learning_rate=1e-4,
        batch_size=40,
        warm_up=0.05,
        decay="cosine",
        augmentation=VIEWS,
    ),
    classifier_stage("classifier", **_CACHED, feature_views=3, epochs=60, batch_size=40, augmentation=CLASSIFIER_VIEWS),
    precision="mixed_bfloat16",
)
