"""Novelty: whether an image looks like those that the network learned from.

Features of training images lie near a subspace of few dimensions. The distance of an image's features from that
subspace is small for images of the laboratories and cameras that were trained on, and larger for others (the Q
statistic of Jackson and Mudholkar 1979, "Control Procedures for Residuals Associated with Principal Component
Analysis"). The embedding tells cells of another look; what the network computes on the way, the end of Xception's
middle flow, tells stain and camera, of which the embedding says less.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from contract.parts import EMBEDDING_SIZE


@dataclass(frozen=True, slots=True)
class NoveltyBasis:
    """The subspace of the training images' features, and how far from it an image is still familiar.

    Attributes:
        mean: of the features. Shape: ``(d,)``.
        weights: of each feature, so that the embedding and the middle flow count alike. Shape: ``(d,)``.
        components: orthonormal principal components of the weighted features. Shape: ``(k, d)``.
        threshold: the distance above which an image is unfamiliar; above 0.
    """

    mean: NDArray[np.float32]
    weights: NDArray[np.float32]
    components: NDArray[np.float32]
    threshold: float

    def centred(self, features: NDArray[np.float32]) -> NDArray[np.float32]:
        """Weighted differences from the mean. Shape: ``(n, d)``."""
        return (features - self.mean) * self.weights

    def scores(self, features: NDArray[np.float32]) -> NDArray[np.float32]:
        """Distances from the subspace in units of the threshold: above 1 an image is unfamiliar.

        Args:
            features: the embedding and, where the network gives it, the middle flow behind it. Shape: ``(n, d)``.

        Returns:
            Shape: ``(n,)``.
        """
        centred = self.centred(features)
        within = centred @ self.components.T
        # Pythagoras: the squared length of the residual, without computing the residual.
        squared = np.einsum("nd,nd->n", centred, centred) - np.einsum("nk,nk->n", within, within)
        return np.asarray(np.sqrt(np.maximum(squared, 0.0)) / self.threshold, np.float32)


def fit_subspace(features: NDArray[np.float32], sources: NDArray[np.str_], components: int) -> NoveltyBasis:
    """Mean, weights and leading principal components of training images' features, each source with the same weight.

    Args:
        features: Shape: ``(n, d)``.
        sources: where each image comes from; a source with few images counts as much as one with many. Shape: ``(n,)``.
        components: fewer than n.

    Returns:
        The basis with a threshold of 1.

    Raises:
        ValueError: there are not more images than components.
    """
    if len(features) <= components:
        raise ValueError(f"{len(features)} images for {components} components, expected more images than those")
    _, which, counts = np.unique(sources, return_inverse=True, return_counts=True)
    shares = 1.0 / counts[which]
    shares /= shares.sum()
    mean = shares @ features.astype(np.float64)
    centred = features - mean
    weights = np.ones_like(mean)
    if len(mean) > EMBEDDING_SIZE:
        for part in (slice(EMBEDDING_SIZE), slice(EMBEDDING_SIZE, None)):
            variance = float(shares @ (centred[:, part] ** 2).sum(axis=1))
            weights[part] = 1.0 / max(np.sqrt(variance), 1e-6)
    scaled = centred * weights * np.sqrt(shares)[:, None]
    _, vectors = np.linalg.eigh(scaled.T @ scaled)
    leading = vectors[:, : -components - 1 : -1].T
    return NoveltyBasis(mean.astype(np.float32), weights.astype(np.float32), leading.astype(np.float32), 1.0)
