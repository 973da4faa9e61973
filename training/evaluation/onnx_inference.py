"""Running an exported graph on image files, on the CPU."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import numpy as np
import onnxruntime
from numpy.typing import NDArray

from contract.classes import CLASS_COUNT
from contract.parts import EMBEDDING_SIZE, OUTPUT_SIZES, in_order
from training.data.images import read_image
from training.evaluation.conditions import Change
from training.progress import track

BATCH: Final = 16


@dataclass(frozen=True, slots=True)
class Outputs:
    """What a network gives for n images; float32.

    Attributes:
        logits: Shape: ``(n, 20)``.
        features: the encoder's output, l2-normalised, and behind it the middle flow of graphs that give it. Shape:
            ``(n, 2048)`` or ``(n, 2776)``.
    """

    logits: NDArray[np.float32]
    features: NDArray[np.float32]

    @property
    def embeddings(self) -> NDArray[np.float32]:
        """Shape: ``(n, 2048)``."""
        return self.features[:, :EMBEDDING_SIZE]


def onnx_outputs(model: Path, paths: Sequence[Path], what: str, change: Change | None = None) -> Outputs:
    """What an exported graph gives for image files. Raises ImageError: an image cannot be read."""
    session = onnxruntime.InferenceSession(model, providers=["CPUExecutionProvider"])
    names = _outputs_of(session)
    rows = np.empty((len(paths), sum(OUTPUT_SIZES[name] for name in names)), np.float32)
    with track(what, len(paths)) as advance:
        for start in range(0, len(paths), BATCH):
            read = (read_image(path) for path in paths[start : start + BATCH])
            images = np.stack([image if change is None else change(image) for image in read])
            np.concatenate(session.run(names, {"image": images}), axis=1, out=rows[start : start + len(images)])
            advance(len(images))
    return Outputs(rows[:, :CLASS_COUNT], rows[:, CLASS_COUNT:])


def onnx_pixels(model: Path, images: NDArray[np.uint8]) -> Outputs:
    """The same of a few images in memory. Shape: ``(n, 256, 256, 3)``."""
    session = onnxruntime.InferenceSession(model, providers=["CPUExecutionProvider"])
    logits, *features = session.run(_outputs_of(session), {"image": images})
    return Outputs(logits, np.concatenate(features, axis=1))


def _outputs_of(session: onnxruntime.InferenceSession) -> list[str]:
    return in_order(output.name for output in session.get_outputs())
