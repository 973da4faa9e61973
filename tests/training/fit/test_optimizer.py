"""The learning rate over a stage."""

from typing import Any

import pytest

from tests.training import small
from training.fit.optimizer import learning_rate


@pytest.mark.parametrize(
    ("choices", "expected"),
    [
        ({}, (1.0, 1.0, 1.0, 1.0)),
        ({"warm_up": 0.1}, (0.0, 0.5, 1.0, 1.0)),
        ({"decay": "cosine"}, (1.0, 0.9938, 0.9755, 0.0)),
        ({"warm_up": 0.1, "decay": "cosine"}, (0.0, 0.5, 1.0, 0.0)),
    ],
)
def test_the_learning_rate_rises_and_falls_as_the_recipe_says(
    choices: dict[str, Any], expected: tuple[float, ...]
) -> None:
    """At updates 0, 5, 10 and 100 of 100, at a rate of 1."""
    stage = small.RECIPE.stages[1].model_copy(update={"learning_rate": 1.0, "decay": "none", **choices})
    rate = learning_rate(stage, 100)
    found = [float(rate(step)) if callable(rate) else rate for step in (0, 5, 10, 100)]
    assert found == pytest.approx(expected, abs=1e-3)
