"""What a network gives for images, and what was fitted on it."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from contract.description import ClassEvidence, Evidence


@dataclass(frozen=True, slots=True)
class Outputs:
    """What a network gives for n images.

    Attributes:
        logits: float32. Shape: ``(n, 20)``.
        embeddings: the encoder's output, l2-normalised, float32. Shape: ``(n, 2048)``.
    """

    logits: NDArray[np.float32]
    embeddings: NDArray[np.float32]


@dataclass(frozen=True, slots=True)
class Fitted:
    """What was fitted on validation images.

    Attributes:
        temperature: of the calibrated probabilities; 1 where there was nothing to fit it on.
        hairy_threshold: smallest probability that raises the hairy flag; ``None`` without hairy validation cells.
        unfamiliar_temperature: of images that look unlike those learned from; ``None`` where they are not told apart.
    """

    temperature: float
    hairy_threshold: float | None
    basis: str
    unfamiliar_temperature: float | None = None


def suppressed(classes: Sequence[ClassEvidence]) -> NDArray[np.bool_]:
    """Classes that a network was never trained on. Shape: ``(20,)``."""
    return np.array([entry.evidence is Evidence.NONE for entry in classes])
