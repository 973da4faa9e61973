"""Novelty: whether an image looks like those that the network learned from.

Embeddings of training images lie near a subspace of few dimensions. The distance of an embedding from that subspace is
small for images of the laboratories and cameras that were trained on, and larger for others (the Q statistic of
Jackson and Mudholkar 1979, "Control Procedures for Residuals Associated with Principal Component Analysis").
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True, slots=True)
class NoveltyBasis:
    """The subspace of the training embeddings, and how far from it an image is still familiar.

    Attributes:
        mean: of the training embeddings. Shape: ``(d,)``.
        components: orthonormal principal components. Shape: ``(k, d)``.
        threshold: the distance above which an image is unfamiliar; above 0.
    """

    mean: NDArray[np.float32]
    components: NDArray[np.float32]
    threshold: float

    def scores(self, embeddings: NDArray[np.float32]) -> NDArray[np.float32]:
        """Distances from the subspace in units of the threshold: above 1 an image is unfamiliar.

        Args:
            embeddings: Shape: ``(n, d)``.

        Returns:
            Shape: ``(n,)``.
        """
        centred = embeddings - self.mean
        within = centred @ self.components.T
        # Pythagoras: the squared length of the residual, without computing the residual.
        squared = np.einsum("nd,nd->n", centred, centred) - np.einsum("nk,nk->n", within, within)
        return np.asarray(np.sqrt(np.maximum(squared, 0.0)) / self.threshold, np.float32)


def fit_subspace(
    embeddings: NDArray[np.float32], sources: NDArray[np.str_], components: int
) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Mean and leading principal components of training embeddings, each source with the same weight.

    Args:
        embeddings: Shape: ``(n, d)``.
        sources: where each image comes from; a source with few images counts as much as one with many. Shape: ``(n,)``.
        components: k, fewer than n.

    Returns:
        The mean, shape ``(d,)``, and orthonormal components, shape ``(k, d)``.

    Raises:
        ValueError: there are not more images than components.
    """
    if len(embeddings) <= components:
        raise ValueError(f"{len(embeddings)} embeddings for {components} components, expected more images than those")
    _, which, counts = np.unique(sources, return_inverse=True, return_counts=True)
    weights = 1.0 / counts[which]
    weights /= weights.sum()
    mean = weights @ embeddings.astype(np.float64)
    scaled = (embeddings - mean) * np.sqrt(weights)[:, None]
    covariance = scaled.T @ scaled
    _, vectors = np.linalg.eigh(covariance)
    return mean.astype(np.float32), vectors[:, : -components - 1 : -1].T.astype(np.float32)
