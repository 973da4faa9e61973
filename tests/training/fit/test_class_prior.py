"""What the thesis printed of HAL-R is what its class prior alone gives: Tables 4.1 and 4.2, design fact of HAL-R."""

import numpy as np
import pytest

from training.recipes.hal_r import RECIPE

TRAINING = np.array(
    [
        *(6542, 5063, 2512, 5983, 5094, 3530, 365, 3561, 2070, 5001),
        *(116, 4279, 6762, 4667, 4515, 994, 1660, 4697, 4201, 5000),
    ]
)
"""Table 4.1, in the order of the classes."""
TEST = np.array(
    [*(1135, 1113, 707, 1137, 1094, 524, 265, 425, 195, 1431), *(185, 1453, 1171, 409, 1047, 121, 221, 1277, 610, 854)]
)
"""Table 4.2."""


def test_hal_r_of_the_thesis_gives_its_class_prior_whatever_it_sees() -> None:
    assert TRAINING.sum() == 76_612
    assert TEST.sum() == 15_374
    prior = TRAINING / TRAINING.sum()
    named = prior.argmax()
    thesis = RECIPE.thesis
    assert thesis is not None
    assert thesis.training_loss == pytest.approx(-(prior * np.log(prior)).sum(), abs=5e-4)
    assert thesis.training_accuracy == pytest.approx(prior[named], abs=1e-3)
    assert thesis.test_loss == pytest.approx(-(TEST / TEST.sum() * np.log(prior)).sum(), abs=1e-3)
    assert thesis.test_accuracy == pytest.approx(TEST[named] / TEST.sum(), abs=5e-6)
