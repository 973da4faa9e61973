"""Which images make up which batch: a function of seed, step and epoch, so that a resumed run sees the same batches.

A balanced epoch is planned before it is drawn: each class gets a number of places in the epoch's batches, equally many
as far as the batches and the cap on repetition allow; the rest is shared by the larger classes. So no image is ever
shown more often than the cap. Where the larger classes cannot fill the batches, which is when nearly all classes are in
every batch and one is small, the batches are refused instead (:func:`balance_problem`).
"""

from collections.abc import Collection, Iterator
from itertools import islice
from typing import Final

import numpy as np
from numpy.typing import NDArray

from training.errors import TrainingError

REPETITION_CAP: Final = 4
"""How many times an image is shown in one balanced epoch at most."""


class BalanceError(TrainingError):
    """Balanced batches cannot be drawn from these classes."""


def epoch_size(images: int, batch_size: int, classes_per_batch: int | None) -> int:
    """Number of images that one epoch shows; balanced batches are all full."""
    return images if classes_per_batch is None else _batches(images, batch_size) * batch_size


def balance_problem(sizes: Collection[int], batch_size: int, classes_per_batch: int) -> str | None:
    """Why batches of ``classes_per_batch`` classes cannot be drawn from classes of these sizes, if they cannot."""
    if batch_size % classes_per_batch or classes_per_batch > len(sizes):
        return f"a batch of {batch_size} cannot hold {classes_per_batch} of {len(sizes)} classes equally often"
    most = _most_places(np.array([*sizes]), batch_size, classes_per_batch)
    if most.min() == 0 or most.sum() < _batches(sum(sizes), batch_size) * classes_per_batch:
        return (
            f"{classes_per_batch} of {len(sizes)} classes in every batch of {batch_size} would show images of the "
            f"smallest class, which has {min(sizes)}, more than {REPETITION_CAP} times an epoch"
        )
    return None


def largest_balance(sizes: Collection[int], batch_size: int) -> int | None:
    """The largest ``classes_per_batch`` that can be drawn from classes of these sizes; ``None`` if there is none."""
    return max((p for p in range(2, len(sizes) + 1) if balance_problem(sizes, batch_size, p) is None), default=None)


def epoch_batches(
    labels: NDArray[np.int64], batch_size: int, classes_per_batch: int | None, seed: tuple[int, ...]
) -> list[NDArray[np.int64]]:
    """Indices of the images of every batch of one epoch, which ``seed`` tells from every other.

    Args:
        classes_per_batch: ``None`` for a shuffled pass over all images (the last batch may be smaller); P for
            batches of P classes with ``batch_size / P`` images of each.

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
    places = _places(
        _most_places(sizes, batch_size, classes_per_batch),
        _batches(len(labels), batch_size),
        classes_per_batch,
        generator,
    )
    decks = [_deck(np.flatnonzero(labels == c), generator) for c in classes]
    of_class = batch_size // classes_per_batch
    return [
        np.array([image for c in drawn for image in islice(decks[c], of_class)], dtype=np.int64)
        for drawn in _fill(places, classes_per_batch, generator)
    ]


def _batches(images: int, batch_size: int) -> int:
    return -(-images // batch_size)


def _most_places(sizes: NDArray[np.int64], batch_size: int, classes_per_batch: int) -> NDArray[np.int64]:
    """In how many batches of an epoch each class can be without showing an image more often than the cap."""
    images_per_class = batch_size // classes_per_batch
    return np.minimum(_batches(int(sizes.sum()), batch_size), REPETITION_CAP * sizes // images_per_class)


def _places(
    most: NDArray[np.int64], batches: int, classes_per_batch: int, generator: np.random.Generator
) -> NDArray[np.int64]:
    """In how many batches each class is: equally many up to its most, together all places of the batches."""
    wanted = batches * classes_per_batch
    level = max(each for each in range(batches + 1) if np.minimum(most, each).sum() <= wanted)
    places = np.minimum(most, level)
    more = generator.permutation(np.flatnonzero(most > level))[: wanted - places.sum()]
    places[more] += 1
    return places


def _fill(
    places: NDArray[np.int64], classes_per_batch: int, generator: np.random.Generator
) -> Iterator[NDArray[np.int64]]:
    """The classes of each batch, at random in proportion to the places they have left, until all have none."""
    left = places.copy()
    for batches in range(int(left.sum()) // classes_per_batch, 0, -1):
        due = np.flatnonzero(left == batches)
        drawn = due
        if others := classes_per_batch - len(due):
            free = np.where(left < batches, left, 0)
            drawn = np.append(due, generator.choice(len(left), others, replace=False, p=free / free.sum()))
        left[drawn] -= 1
        yield drawn


def _deck(images: NDArray[np.int64], generator: np.random.Generator) -> Iterator[int]:
    """The images of a class without end, shuffled again when all were drawn."""
    while True:
        yield from generator.permutation(images).tolist()
