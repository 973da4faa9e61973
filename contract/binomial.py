"""Exact binomial tails and intervals, for counts of rare cells. NumPy only: the service carries no SciPy.

One definition for training's figures and the service's advice; ``tests/contract/test_binomial.py`` compares it with
SciPy's.
"""

import math
from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray


def log_probabilities(trials: int, rate: float, hits: NDArray[np.int64]) -> NDArray[np.float64]:
    """Natural logarithms of the probabilities of exactly ``hits`` hits in ``trials`` at ``rate``.

    Args:
        trials: at least 0.
        rate: strictly between 0 and 1.
        hits: consecutive, each from 0 to ``trials``. Shape: ``(k,)``.
    """
    if len(hits) == 0:
        return np.empty(0)
    first = int(hits[0])
    start = math.lgamma(trials + 1) - math.lgamma(first + 1) - math.lgamma(trials - first + 1)
    steps = np.log((trials - hits[:-1]) / (hits[:-1] + 1.0))
    coefficients = start + np.concatenate([[0.0], np.cumsum(steps)])
    return np.asarray(coefficients + hits * math.log(rate) + (trials - hits) * math.log1p(-rate))


def upper_tail(hits: int, trials: int, rate: float) -> float:
    """Probability of ``hits`` or more in ``trials`` at ``rate``: the p-value of the one-sided binomial test.

    Args:
        hits: 0 to ``trials``.
        trials: at least 0.
        rate: 0 to 1.

    Raises:
        ValueError: a number outside its range.
    """
    _require(hits, trials)
    if not 0 <= rate <= 1:
        raise ValueError(f"rate {rate}, expected 0 to 1")
    if hits == 0 or rate == 1:
        return 1.0
    if rate == 0:
        return 0.0
    # What lies further above both the mean and the hits is below the precision of a float.
    mean, deviation = trials * rate, math.sqrt(trials * rate * (1 - rate))
    last = min(trials, math.ceil(max(hits, mean) + 40 * deviation + 60))
    return min(1.0, float(np.exp(log_probabilities(trials, rate, np.arange(hits, last + 1))).sum()))


def clopper_pearson(hits: int, trials: int, confidence: float = 0.95) -> tuple[float, float]:
    """The exact two-sided interval of a share (Clopper and Pearson 1934), never too narrow.

    Args:
        hits: 0 to ``trials``.
        trials: at least 1.
        confidence: between 0 and 1.

    Returns:
        The lowest and the highest rate at which ``hits`` is not in a tail of ``(1 - confidence) / 2``.

    Raises:
        ValueError: a number outside its range.
    """
    _require(hits, trials)
    if trials == 0 or not 0 < confidence < 1:
        raise ValueError(f"{trials} trials at confidence {confidence}, expected at least 1, and between 0 and 1")
    tail = (1 - confidence) / 2
    return _lower_limit(hits, trials, tail), 1 - _lower_limit(trials - hits, trials, tail)


def _require(hits: int, trials: int) -> None:
    if not 0 <= hits <= trials:
        raise ValueError(f"{hits} hits of {trials} trials, expected 0 to {trials} hits")


def _lower_limit(hits: int, trials: int, tail: float) -> float:
    """The rate at which ``hits`` or more have probability ``tail``; 0 of no hits."""
    if hits == 0:
        return 0.0
    return _bisect(lambda rate: upper_tail(hits, trials, rate) >= tail)


def _bisect(reached: Callable[[float], bool]) -> float:
    """The smallest rate from 0 to 1 at which ``reached`` is true; it is false below and true above."""
    low, high = 0.0, 1.0
    while True:
        middle = (low + high) / 2
        if not low < middle < high:
            return high
        if reached(middle):
            high = middle
        else:
            low = middle
