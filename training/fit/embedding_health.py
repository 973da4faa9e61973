"""How embeddings lie on the unit sphere, and whether they have collapsed to a point."""

import math
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from training.errors import TrainingError

COLLAPSED_SPREAD: Final = 0.05
COLLAPSED_LOSS: Final = 0.01


class CollapseError(TrainingError):
    """All projections have fallen on one point; training on would teach nothing."""


@dataclass(frozen=True, slots=True)
class EmbeddingHealth:
    """Figures of unit vectors.

    Attributes:
        spread: standard deviation of a component, averaged over components and multiplied by the square root of the
            dimension: 1 for vectors spread evenly over the sphere, 0 for a single point (Chen and He 2021, "Exploring
            Simple Siamese Representation Learning", section 4.1).
        alignment: mean squared distance of two vectors of one class, 0 to 4, the smaller the closer.
        uniformity: logarithm of the mean of ``exp(-2 d^2)`` over all pairs at distance d; 0 for a single point, the
            lower the more even (both of Wang and Isola 2020, "Understanding Contrastive Representation Learning
            through Alignment and Uniformity on the Hypersphere").
    """

    spread: float
    alignment: float
    uniformity: float


def embedding_health(vectors: NDArray[np.float32], labels: NDArray[np.int64]) -> EmbeddingHealth:
    """Spread, alignment and uniformity of labelled unit vectors, at least two; shapes ``(n, dimension)``, ``(n,)``.

    ``alignment`` is ``nan`` where no class has two vectors.
    """
    first, second = np.triu_indices(len(vectors), k=1)
    similarity = vectors.astype(np.float64) @ vectors.T.astype(np.float64)
    squared_distance = np.maximum(2 - 2 * similarity[first, second], 0.0)
    of_one_class = labels[first] == labels[second]
    return EmbeddingHealth(
        spread=spread(vectors),
        alignment=float(squared_distance[of_one_class].mean()) if of_one_class.any() else math.nan,
        uniformity=float(np.log(np.exp(-2 * squared_distance).mean())),
    )


def spread(vectors: NDArray[np.float32]) -> float:
    """See :class:`EmbeddingHealth`. Shape: ``(n, dimension)``."""
    return float(vectors.astype(np.float64).std(axis=0).mean() * math.sqrt(vectors.shape[1]))


def class_mean_accuracy(
    vectors: NDArray[np.float32], labels: NDArray[np.int64]
) -> tuple[float, dict[int, tuple[int, int]]]:
    """How many unit vectors lie nearest to the mean of their own class, each left out of that mean.

    Before there is a classifier this tells how well an embedding separates the classes. A class of one vector cannot be
    found. Returns the share, 0 to 1, and by class index (hits, vectors).
    """
    classes, positions, sizes = np.unique(labels, return_inverse=True, return_counts=True)
    sums = np.zeros((len(classes), vectors.shape[1]))
    np.add.at(sums, positions, vectors)
    rows = np.arange(len(vectors))
    similarity = vectors @ (sums / np.linalg.norm(sums, axis=1, keepdims=True).clip(1e-12)).T
    others = sums[positions] - vectors
    others /= np.linalg.norm(others, axis=1, keepdims=True).clip(1e-12)
    similarity[rows, positions] = np.where(sizes[positions] > 1, (vectors * others).sum(axis=1), -2.0)
    hits = similarity.argmax(axis=1) == positions
    recall = {int(c): (int(hits[labels == c].sum()), int(size)) for c, size in zip(classes, sizes, strict=True)}
    return float(hits.mean()), recall


def loss_of_one_point(views: int) -> float:
    """Thesis Eq. 13 of so many equal projections, 2M of them in the thesis: ``ln(2M - 1)``."""
    return math.log(views - 1)


def is_loss_of_one_point(loss: float, views: int) -> bool:
    """Whether a loss is within 1 % of :func:`loss_of_one_point`. That of a new head may be too."""
    of_one_point = loss_of_one_point(views)
    return abs(loss - of_one_point) <= COLLAPSED_LOSS * of_one_point


def refuse_collapse(loss: float, spread_of_projections: float, views: int, stage: str) -> None:
    """Stop a contrastive stage whose projections have fallen on one point.

    Their spread is that of projections without dropout, which gives a single point a spread of its own.

    Raises:
        CollapseError: the loss is that of a single point and the spread is near 0.
    """
    if is_loss_of_one_point(loss, views) and spread_of_projections < COLLAPSED_SPREAD:
        raise CollapseError(
            f"stage {stage} has collapsed: all projections lie on (almost) one point. The loss is {loss:.4f}, that "
            f"of a single point is ln({views} - 1) = {loss_of_one_point(views):.4f}; the spread is "
            f"{spread_of_projections:.4f}, that of projections all over the sphere is 1. A classifier on such an "
            "encoder could not tell any class from another, so training stops here. Train the projection head alone "
            "on the frozen encoder first (step 1 of HAL-C, thesis section 4.3.3), lower the learning rate, or warm it "
            "up. The last checkpoint is kept."
        )
