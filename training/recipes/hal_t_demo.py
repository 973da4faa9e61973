"""HAL-T's top layer alone, on two augmented views encoded once: an experiment of minutes on two CPU cores.

For the demonstration set of ``hal composites make --demonstration``, to see the sanity test (thesis section 4.4) at
work; ImageNet's features are not fine-tuned, so its accuracy is no figure of HAL-T. What it showed is in
docs/composites.md.

    hal train hal-t-demo --data datasets/demo/manifest.csv --run runs/demo-ab --set 'sets=["A","B"]'
    hal train hal-t-demo --data datasets/demo/manifest.csv --run runs/demo-abc --set 'sets=["A","B","C"]'
    hal sanity runs/demo-ab runs/demo-abc --data datasets/demo/manifest.csv --out reports/sanity
"""

from training.recipe import CACHED, classifier_stage, hal_t

RECIPE = hal_t(
    "hal-t-demo",
    classifier_stage("top_layer", **CACHED, feature_views=2, epochs=60, learning_rate=1e-3, batch_size=32),
    precision="mixed_bfloat16",
)
