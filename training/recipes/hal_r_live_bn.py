"""HAL-R with live batch normalisation: a deviation from the thesis, which shows what random weights can learn.

All else is HAL-R's (Table 4.6). The thesis has no figures for it: its HAL-R names one class whatever it sees.

    hal train hal-r-live-bn --data datasets/mine.csv --run runs/hal-r-live-bn
"""

from training.recipes import hal_r

_LIVE = hal_r.RECIPE.stages[0].model_copy(update={"live_batch_normalisation": True})
RECIPE = hal_r.RECIPE.model_copy(update={"name": "hal-r-live-bn", "stages": (_LIVE,), "thesis": None})
