"""Temperature scaling and calibration error (Guo et al. 2017, "On Calibration of Modern Neural Networks")."""

from collections.abc import Callable
from typing import Final

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import minimize_scalar

from contract.decision import calibrated_probabilities
from training.errors import TrainingError

BINS: Final = 15
DRAWS: Final = 2000
TEMPERATURES: Final = (0.02, 50.0)


class FittedOnTestError(TrainingError):
    """A temperature or a threshold was to be fitted on images that it must not know."""


def require_validation(split: str, what: str) -> None:
    """Refuse all but ``val``: what is fitted on test images flatters itself, and training images are known too well.

    Raises:
        FittedOnTestError: ``split`` is not ``val``.
    """
    if split != "val":
        raise FittedOnTestError(
            f"{what} was to be fitted on images of split {split!r}; it is fitted on validation images only ('val'): "
            "hold some out in the manifest's split column"
        )


def negative_log_likelihood(probabilities: NDArray[np.float64], labels: NDArray[np.int64]) -> float:
    """Mean of ``-ln p`` of the true class, in nats."""
    return float(-np.log(np.maximum(probabilities[np.arange(len(labels)), labels], 1e-12)).mean())


def fit_temperature(
    logits: NDArray[np.float32], labels: NDArray[np.int64], suppressed: NDArray[np.bool_], split: str
) -> float:
    """The temperature at which the labels are likeliest.

    Args:
        logits: of images that were not trained on. Shape: ``(n, 20)``.
        labels: class indices, none of them suppressed. Shape: ``(n,)``.
        suppressed: classes without evidence. Shape: ``(20,)``.
        split: of the images; only ``val`` is accepted.

    Raises:
        FittedOnTestError: the images are not validation images.
    """
    require_validation(split, "the temperature")
    return best_temperature(lambda t: negative_log_likelihood(calibrated_probabilities(logits, t, suppressed), labels))


def best_temperature(loss: Callable[[float], float]) -> float:
    """The temperature, within :data:`TEMPERATURES`, of the smallest loss."""
    found = minimize_scalar(lambda log: loss(float(np.exp(log))), bounds=np.log(TEMPERATURES), method="bounded")
    return float(np.exp(found.x))


def expected_calibration_error(probabilities: NDArray[np.float64], labels: NDArray[np.int64]) -> float:
    """Mean distance of confidence and accuracy over 15 bins of equal width, weighted by their sizes; 0 to 1.

    Shapes: ``(n, 20)``, ``(n,)``.
    """
    confidence = probabilities.max(axis=1)
    correct = probabilities.argmax(axis=1) == labels
    bins = confidence_bin(confidence)
    gaps = [abs(correct[bins == b].mean() - confidence[bins == b].mean()) * (bins == b).mean() for b in np.unique(bins)]
    return float(sum(gaps))


def calibration_error_by_chance(confidence: NDArray[np.float64]) -> tuple[float, float, float]:
    """The calibration error that so many images show of a network whose probabilities are true: mean and 95 % limits.

    With few images a bin's accuracy is not its confidence even then, so the error is never 0; what is above this is
    miscalibration (consistency resampling: Broecker and Smith 2007, "Increasing the reliability of reliability
    diagrams"). ``confidence`` is the largest probability of each image. Shape: ``(n,)``.
    """
    bins = np.eye(BINS)[confidence_bin(confidence)]
    right = np.random.default_rng(0).random((DRAWS, len(confidence))) < confidence
    found = np.abs(right @ bins - confidence @ bins).sum(axis=1) / len(confidence)
    low, high = np.quantile(found, [0.025, 0.975])
    return float(found.mean()), float(low), float(high)


def confidence_bin(confidence: NDArray[np.float64]) -> NDArray[np.int64]:
    """Which of the 15 bins of equal width each confidence falls into, 0 to 14. Shape: ``(n,)``."""
    return np.minimum((confidence * BINS).astype(np.int64), BINS - 1)
