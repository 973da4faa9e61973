"""HAL-T on all open images, with photometric styles: the counterpart of hal-c3003-open.

Its encoder sees as many views as in the contrastive steps of hal-c3003-open: 118,000 of 14,803 images. There an epoch
sees two views of an image. More of them are of 256 pixels here, where the rate falls twice.

    hal train hal-t-open --data datasets/twenty/manifest.csv --run runs/hal-t-open
"""

from training.recipe import CACHED, classifier_stage, hal_t
from training.recipes.hal_c3003_open import CLASSIFIER_VIEWS

_CACHED = {**CACHED, "feature_views": 2, "learning_rate": 1e-3, "augmentation": CLASSIFIER_VIEWS}
_TUNED = {
    "trains_encoder": True,
    "frozen_blocks": 4,
    "batch_size": 32,
    "learning_rate": 1e-4,
    "augmentation": CLASSIFIER_VIEWS,
}

RECIPE = hal_t(
    "hal-t-open",
    classifier_stage("top_layer", **_CACHED, image_side=128, epochs=20, batch_size=64),
    classifier_stage("fine_tuning_small", **_TUNED, image_side=160, epochs=3, warm_up=0.05),
    classifier_stage("fine_tuning", **_TUNED, epochs=2, warm_up=0.02, decay="cosine"),
    classifier_stage("fine_tuning_further", **_TUNED, epochs=3, warm_up=0.05, decay="cosine"),
    dropout=0.3,
    precision="mixed_bfloat16",
)
