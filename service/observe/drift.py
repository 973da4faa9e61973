"""Whether the images of late look like those that the bundle's figures were measured on.

Two distances, each between a recent mean of embeddings and the bundle's, in units of how far single images lie from it:
``overall``, which also moves when other classes are photographed, and ``within_class``, where each embedding is taken
from the mean of the class that it was predicted as, so that what moves it is how cells look: stain, microscope, camera.
Around 0 nothing has changed; by chance alone a mean of n images is 1/sqrt(n) away.
"""

import math
import threading
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from contract.parts import EmbeddingReference

MEMORY_IMAGES: Final = 500
"""An image's weight in the mean is 1/e after so many more; like a plain mean of the last 1,000."""


class EmbeddingDrift:
    """An exponentially weighted mean of embeddings beside the bundle's. Safe to read while another thread adds.

    Args:
        arrays: the bundle's ``mean`` ``[d]`` and ``class_means`` ``[20, d]``.
        suppressed: ``[20]`` bool; classes that are never predicted.
    """

    def __init__(
        self, reference: EmbeddingReference, arrays: dict[str, NDArray[Any]], suppressed: NDArray[np.bool_]
    ) -> None:
        self._reference = reference
        self._mean = arrays["mean"].astype(np.float64)
        self._class_means = arrays["class_means"].astype(np.float32)
        self._penalty = np.where(suppressed, -np.inf, 0.0).astype(np.float32)
        self._recent = np.zeros_like(self._mean)
        self._recent_within = np.zeros_like(self._mean)
        self._weight = 0.0
        self._lock = threading.Lock()
        self.images = 0

    def add(self, logits: NDArray[np.float32], embeddings: NDArray[np.float32]) -> None:
        """Take a batch ``[n, 20]`` and ``[n, d]`` into account; one that is not finite is left out."""
        count = len(embeddings)
        mean = embeddings.sum(axis=0) / count
        if not np.isfinite(mean.sum()):
            return
        classes = np.bincount((logits + self._penalty).argmax(axis=1), minlength=len(self._class_means))
        within = mean - (classes / count).astype(np.float32) @ self._class_means
        share = 1 - math.exp(-count / MEMORY_IMAGES)
        with self._lock:
            self._recent += share * (mean - self._recent)
            self._recent_within += share * (within - self._recent_within)
            self._weight += share * (1 - self._weight)
            self.images += count

    def distances(self) -> dict[str, float]:
        """``overall`` and ``within_class``; NaN before the first image."""
        with self._lock:
            if not self._weight:
                return {"overall": math.nan, "within_class": math.nan}
            # The means began at zero; dividing by the weight of what was seen takes that out.
            overall = np.linalg.norm(self._recent / self._weight - self._mean)
            within = np.linalg.norm(self._recent_within / self._weight)
        return {
            "overall": float(overall) / self._reference.spread,
            "within_class": float(within) / self._reference.spread_within,
        }
