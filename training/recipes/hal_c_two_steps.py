"""HAL-C without its first step: projection head and encoder learn together from the start (thesis section 4.3.3).

The thesis tried this first, and all images fell on (almost) one point. It is here so that a collapse can be seen: the
run watches the spread of its projections and stops with an explanation when they fall together. On other images or
rates it may not collapse; then it ends like any run, and ``hal compare`` tells what step 1 was worth.

    hal train hal-c-two-steps --data datasets/mine.csv --run runs/hal-c-two-steps
"""

from training.recipe import classifier_stage, hal_c, projection_stage

RECIPE = hal_c(
    "hal-c-two-steps",
    projection_stage("encoder", trains_encoder=True, epochs=10, learning_rate=1e-3, batch_size=16),
    classifier_stage("classifier", trains_encoder=False, epochs=20, learning_rate=1e-3, batch_size=16),
)
