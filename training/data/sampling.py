"""Which images make up which batch: a function of seed, step and epoch, so that a resumed run sees the same batches."""

from collections.abc import Collection
from typing import Final

import numpy as np
from numpy.typing import NDArray

from training.errors import TrainingError

REPETITION_CAP: Final = 4
"""How many times as often as once an image of a rare class is drawn in one balanced epoch, in expectation, at most."""


class BalanceError(TrainingError):
    """Balanced batches cannot be drawn from these classes."""


def epoch_size(images: int, batch_size: int, classes_per_batch: int | None) -> int:
    """Number of images that one epoch shows; balanced batches are all full."""
    return images if classes_per_batch is None else -(-images // batch_size) * batch_size


def balance_problem(sizes: Collection[int], batch_size: int, classes_per_batch: int) -> str | None:
    """Why batches of ``classes_per_batch`` classes cannot be drawn from classes of these sizes, if they cannot."""
    if batch_size % classes_per_batch or classes_per_batch > len(sizes):
        return f"a batch of {batch_size} cannot hold {classes_per_batch} of {len(sizes)} classes equally often"
    return None


def largest_balance(sizes: Collection[int], batch_size: int) -> int | None:
    """The largest ``classes_per_batch`` that can be drawn from classes of these sizes; ``None`` if there is none."""
    return max((p for p in range(2, len(sizes) + 1) if balance_problem(sizes, batch_size, p) is None), default=None)


def epoch_batches(
    labels: NDArray[np.int64], batch_size: int, classes_per_batch: int | None, seed: tuple[int, ...]
) -> list[NDArray[np.int64]]:
    """Indices of the images of every batch of one epoch.

    Args:
        labels: class of each image. Shape: ``(n,)``.
        batch_size: images a batch.
        classes_per_batch: ``None`` for a shuffled pass over all images (the last batch may be smaller); P for
            batches of P classes with ``batch_size / P`` images of each.
        seed: whatever tells this epoch from every other.

    Raises:
        BalanceError: see :func:`balance_problem`.
    """
    generator = np.random.default_rng(seed)
    if classes_per_batch is None:
        order = generator.permutation(len(labels))
        return [order[start : start + batch_size] for start in range(0, len(order), batch_size)]
    return _balanced(labels, batch_size, classes_per_batch, generator)


def _balanced(
    labels: NDArray[np.int64], batch_size: int, classes_per_batch: int, generator: np.random.Generator
) -> list[NDArray[np.int64]]:
    classes, sizes = np.unique(labels, return_counts=True)
    if (problem := balance_problem(sizes.tolist(), batch_size, classes_per_batch)) is not None:
        raise BalanceError(f"{problem}; choose another classes_per_batch, a divisor of batch_size, or none")
    images_per_class = batch_size // classes_per_batch
    fair_share = len(labels) / len(classes)
    weights = np.minimum(1.0, REPETITION_CAP * sizes / fair_share)
    decks = {int(c): _Deck(np.flatnonzero(labels == c), generator) for c in classes}
    batches = []
    for _ in range(-(-len(labels) // batch_size)):
        drawn = generator.choice(classes, classes_per_batch, replace=False, p=weights / weights.sum())
        batches.append(np.concatenate([decks[int(c)].draw(images_per_class) for c in drawn]))
    return batches


class _Deck:
    """Draws the images of a class without replacement, shuffling again when all were drawn."""

    def __init__(self, images: NDArray[np.int64], generator: np.random.Generator) -> None:
        self._images = images
        self._generator = generator
        self._waiting: list[int] = []

    def draw(self, count: int) -> NDArray[np.int64]:
        while len(self._waiting) < count:
            self._waiting += self._generator.permutation(self._images).tolist()
        drawn, self._waiting = self._waiting[:count], self._waiting[count:]
        return np.array(drawn, dtype=np.int64)
