"""HAL-C3003 for the 16 classes of MLL23, 3,265 real hairy cells among them, on one GPU; see docs/hairy-cells.md.

What differs from ``hal-c3003-open``, and why: all cells are photographs, so nothing is learned from composites; all ten
epochs of step 2 are at 256 pixels, since a GPU has the time; batches of 96 in micro-batches of 48, for its memory. **No
choice was tried on MLL23**, which was not at hand: there are no figures to expect. The largest class has 260 times the
images of the smallest, and batches are shuffled: look at the recall of reactive lymphocytes (33 images) before
believing it.

    hal train hal-c3003-mll23 --data datasets/mll23.csv --run runs/mll23
"""

from training.recipe import CACHED, classifier_stage, hal_c, projection_stage
from training.recipes.hal_c3003_open import CLASSIFIER_VIEWS, VIEWS

_TUNED = {"trains_encoder": True, "frozen_blocks": 4, "warm_up": 0.05, "decay": "cosine"}
_CACHED = {**CACHED, "feature_views": 2, "learning_rate": 1e-3}

RECIPE = hal_c(
    "hal-c3003-mll23",
    projection_stage("projection", **_CACHED, epochs=10, batch_size=96, augmentation=VIEWS),
    projection_stage(
        "encoder", **_TUNED, epochs=10, learning_rate=2e-4, batch_size=96, micro_batch=48, augmentation=VIEWS
    ),
    classifier_stage("classifier", **_CACHED, epochs=60, batch_size=64, augmentation=CLASSIFIER_VIEWS),
    classifier_stage(
        "fine_tuning", **_TUNED, epochs=1, learning_rate=3e-5, batch_size=32, augmentation=CLASSIFIER_VIEWS
    ),
    precision="mixed_bfloat16",
)
