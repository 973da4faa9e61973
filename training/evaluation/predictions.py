"""What a network says about labelled images, kept so that figures can be drawn again without computing it again."""

import json
from collections.abc import Container, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any, Final
from zipfile import BadZipFile

import numpy as np
from numpy.typing import NDArray

from contract.bundle import sha256_of
from contract.classes import CLASS_NAMES
from contract.decision import temperatures
from contract.files import replacing
from training.data import manifest
from training.data.contents import with_pixels
from training.data.manifest import LabelledImage
from training.data.sets import ImageSet
from training.evaluation.evidence import suppressed
from training.evaluation.network import Fitted, TrainedNetwork
from training.evaluation.onnx_inference import Outputs
from training.evaluation.results import Evaluation

ARRAYS: Final = "predictions.npz"
ROWS: Final = "predictions.csv"
OWN_COLUMNS: Final = ("sha256", "set", "seen_as", "predicted", "probability")


@dataclass(frozen=True)
class Predictions:
    """A network's outputs for n labelled images.

    Attributes:
        digests: SHA-256 of each image file.
        seen_as: ``train`` or ``val`` for images that the network was trained on or validated with, else empty.
        logits: float32. Shape: ``(n, 20)``.
        embeddings: the encoder's output, l2-normalised, float32. Shape: ``(n, 2048)``.
        suppressed: classes that the network was never trained on. Shape: ``(20,)``.
        novelty: score of each image; ``None`` where the network gives none. Shape: ``(n,)``.
    """

    network: str
    network_sha256: str
    split: str
    images: tuple[LabelledImage, ...]
    digests: tuple[str, ...]
    sets: tuple[ImageSet, ...]
    seen_as: tuple[str, ...]
    logits: NDArray[np.float32]
    embeddings: NDArray[np.float32]
    suppressed: NDArray[np.bool_]
    fitted: Fitted
    left_out: Mapping[str, int]
    novelty: NDArray[np.float32] | None = None

    @cached_property
    def labels(self) -> NDArray[np.int64]:
        """True class indices. Shape: ``(n,)``."""
        return np.array([image.class_index for image in self.images], dtype=np.int64)

    @cached_property
    def evaluation(self) -> Evaluation:
        temperature = temperatures(self.novelty, self.fitted.temperature, self.fitted.unfamiliar_temperature)
        return Evaluation.at(self.logits, self.labels, temperature, self.suppressed)

    @cached_property
    def uncalibrated(self) -> Evaluation:
        """With the probabilities of the softmax as it is, which the thesis's losses are of."""
        return Evaluation.at(self.logits, self.labels, 1.0, self.suppressed)

    def of_set(self, *names: ImageSet) -> NDArray[np.bool_]:
        """Which images are of one of these sets. Shape: ``(n,)``."""
        return np.isin(np.array(self.sets), names)

    def of_labels(self, names: Container[str], left_out: Mapping[str, int]) -> "Predictions":
        """Those for images of some classes only; ``left_out`` tells how many others of the split there are."""
        kept = [row for row, image in enumerate(self.images) if image.label in names]
        per_image: dict[str, Any] = {
            name: tuple(getattr(self, name)[row] for row in kept) for name in ("images", "digests", "sets", "seen_as")
        }
        return replace(
            self,
            **per_image,
            logits=self.logits[kept],
            embeddings=self.embeddings[kept],
            novelty=None if self.novelty is None else self.novelty[kept],
            left_out=left_out,
        )

    def save(self, folder: Path) -> None:
        """Write ``predictions.csv``, which is a manifest with five more columns."""
        predicted, top = self.evaluation.predicted, self.evaluation.probabilities.max(axis=1)
        own = zip(self.digests, self.sets, self.seen_as, (CLASS_NAMES[c] for c in predicted), top, strict=True)
        rows = [
            replace(image, extra=image.extra | dict(zip(OWN_COLUMNS, (*texts, f"{p:.4f}"), strict=True)))
            for image, (*texts, p) in zip(self.images, own, strict=True)
        ]
        manifest.write(folder / ROWS, rows)


def predict(
    network: TrainedNetwork,
    images: Sequence[LabelledImage],
    split: str,
    sets: Sequence[ImageSet],
    left_out: Mapping[str, int] | None = None,
    folder: Path | None = None,
) -> Predictions:
    """Ask a network about images, or read what it said about them earlier.

    The outputs are kept in ``folder``, and taken from there if the weights and all images are the same.

    Raises:
        ImageError: an image cannot be read.
        RunError: the run is not finished.
    """
    digests = tuple(sha256_of(image.path) for image in images)
    found = None if folder is None else _kept(folder / ARRAYS, network, digests)
    if found is None:
        fitted = network.fitted()
        outputs = network.outputs([image.path for image in images], f"{split} images")
        if folder is not None:
            _keep(folder / ARRAYS, network, digests, outputs, fitted)
    else:
        outputs, fitted = found
    basis = network.familiar
    predictions = Predictions(
        network=network.name,
        network_sha256=network.sha256,
        split=split,
        images=tuple(images),
        digests=digests,
        sets=tuple(sets),
        seen_as=tuple(network.seen_as(*each) for each in zip(with_pixels(images), digests, strict=True)),
        logits=outputs.logits,
        embeddings=outputs.embeddings,
        suppressed=suppressed(network.classes),
        fitted=fitted,
        left_out=dict(left_out or {}),
        novelty=None if basis is None else basis.scores(outputs.features),
    )
    if folder is not None:
        predictions.save(folder)
    return predictions


def _keep(path: Path, network: TrainedNetwork, digests: Sequence[str], outputs: Outputs, fitted: Fitted) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    about = json.dumps({"network": network.sha256, "images": digests, "fitted": asdict(fitted)})
    with replacing(path) as partial, partial.open("wb") as stream:
        np.savez(stream, logits=outputs.logits, features=outputs.features, about=np.array(about))


def _kept(path: Path, network: TrainedNetwork, digests: Sequence[str]) -> tuple[Outputs, Fitted] | None:
    """What this network said about exactly these images; ``None`` where there is nothing such that can be read."""
    try:
        with np.load(path, allow_pickle=False) as stored:
            about = json.loads(str(stored["about"]))
            outputs = Outputs(stored["logits"], stored["features"])
        if (about["network"], about["images"]) != (network.sha256, [*digests]):
            return None
        # A bundle states what was fitted, and may state something else by now.
        return outputs, Fitted(**about["fitted"]) if network.validation else network.fitted()
    except (OSError, EOFError, KeyError, TypeError, ValueError, BadZipFile):
        return None
