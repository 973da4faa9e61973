"""Temperature scaling and the calibration error on logits whose truth is known."""

import numpy as np
import pytest

from training.evaluation.calibration import (
    FittedOnTestError,
    calibration_error_by_chance,
    expected_calibration_error,
    fit_temperature,
    negative_log_likelihood,
)

NOTHING = np.zeros(20, bool)


def draw(temperature: float, count: int = 40_000) -> tuple[np.ndarray, np.ndarray]:
    """Logits, and labels drawn from their softmax: calibrated at temperature 1; then the logits are overstated."""
    generator = np.random.default_rng(1)
    honest = generator.normal(0, 2, (count, 20))
    labels = (honest + generator.gumbel(size=honest.shape)).argmax(axis=1)
    return (honest * temperature).astype(np.float32), labels


@pytest.mark.parametrize("overstated", [0.5, 1.0, 3.0])
def test_the_temperature_undoes_overstated_logits(overstated: float) -> None:
    logits, labels = draw(overstated)
    assert fit_temperature(logits, labels, NOTHING, "val") == pytest.approx(overstated, rel=0.03)


def test_a_perfectly_calibrated_model_has_almost_no_error_and_an_overconfident_one_a_large_one() -> None:
    from contract.decision import calibrated_probabilities

    logits, labels = draw(1.0)
    assert expected_calibration_error(calibrated_probabilities(logits, 1.0, NOTHING), labels) < 0.01
    assert expected_calibration_error(calibrated_probabilities(logits, 0.2, NOTHING), labels) > 0.15


@pytest.mark.parametrize("count", [60, 600])
def test_the_error_by_chance_is_what_calibrated_networks_of_so_many_images_show(count: int) -> None:
    from contract.decision import calibrated_probabilities

    logits, labels = draw(1.0, 300 * count)
    probabilities = calibrated_probabilities(logits, 1.0, NOTHING)
    errors = [
        expected_calibration_error(probabilities[part], labels[part])
        for part in np.arange(300 * count).reshape(300, count)
    ]
    mean, low, high = calibration_error_by_chance(probabilities[:count].max(axis=1))
    assert mean == pytest.approx(np.mean(errors), rel=0.15)
    assert np.mean([low <= error <= high for error in errors]) > 0.85
    overconfident = expected_calibration_error(calibrated_probabilities(logits[:count], 0.3, NOTHING), labels[:count])
    assert overconfident > high


def test_calibration_error_by_hand() -> None:
    probabilities = np.zeros((4, 20))
    probabilities[:, 0] = [0.9, 0.9, 0.6, 0.6]
    probabilities[:, 1] = [0.1, 0.1, 0.4, 0.4]
    labels = np.array([0, 1, 0, 0])
    assert expected_calibration_error(probabilities, labels) == pytest.approx(0.5 * abs(0.5 - 0.9) + 0.5 * (1 - 0.6))


def test_negative_log_likelihood_by_hand() -> None:
    probabilities = np.full((2, 20), 0.05)
    assert negative_log_likelihood(probabilities, np.array([3, 7])) == pytest.approx(np.log(20))


@pytest.mark.parametrize("split", ["test", "train", "test+val", ""])
def test_a_temperature_is_never_fitted_on_anything_but_validation_images(split: str) -> None:
    logits, labels = draw(1.0, 100)
    with pytest.raises(FittedOnTestError, match="validation images only"):
        fit_temperature(logits, labels, NOTHING, split)
    assert fit_temperature(logits, labels, NOTHING, "val") > 0
