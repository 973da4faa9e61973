"""Running an exported graph on image files, on the CPU."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import numpy as np
import onnxruntime
from numpy.typing import NDArray

from contract.classes import CLASS_COUNT
from contract.description import EMBEDDING_SIZE
from training.data.images import read_image
from training.evaluation.conditions import Change
from training.progress import track

BATCH: Final = 16


@dataclass(frozen=True, slots=True)
class Outputs:
    """Logits ``(n, 20)`` and the encoder's output, l2-normalised, ``(n, 2048)``, for n images; float32."""

    logits: NDArray[np.float32]
    embeddings: NDArray[np.float32]


def onnx_outputs(model: Path, paths: Sequence[Path], what: str, change: Change | None = None) -> Outputs:
    """Logits and embeddings of an exported graph. Raises ImageError: an image cannot be read."""
    session = onnxruntime.InferenceSession(model, providers=["CPUExecutionProvider"])
    logits = np.empty((len(paths), CLASS_COUNT), np.float32)
    embeddings = np.empty((len(paths), EMBEDDING_SIZE), np.float32)
    with track(what, len(paths)) as advance:
        for start in range(0, len(paths), BATCH):
            read = (read_image(path) for path in paths[start : start + BATCH])
            images = np.stack([image if change is None else change(image) for image in read])
            batch = slice(start, start + len(images))
            logits[batch], embeddings[batch] = session.run(["logits", "embedding"], {"image": images})
            advance(len(images))
    return Outputs(logits, embeddings)


def onnx_pixels(model: Path, images: NDArray[np.uint8]) -> Outputs:
    """The same of a few images in memory. Shape: ``(n, 256, 256, 3)``."""
    session = onnxruntime.InferenceSession(model, providers=["CPUExecutionProvider"])
    return Outputs(*session.run(["logits", "embedding"], {"image": images}))
