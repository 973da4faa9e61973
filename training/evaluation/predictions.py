"""What a network says about labelled images, kept so that figures can be drawn again without computing it again."""

import csv
import json
from collections.abc import Container, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any, Final, cast
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
from training.evaluation.network import TrainedNetwork
from training.evaluation.outputs import Fitted, suppressed
from training.evaluation.results import Evaluation, EvaluationError

ARRAYS: Final = "predictions.npz"
ROWS: Final = "predictions.csv"
OWN_COLUMNS: Final = ("sha256", "set", "seen_as", "predicted", "probability")


@dataclass(frozen=True)
class Predictions:
    """A network's outputs for n labelled images.

    Attributes:
        split: ``train``, ``val`` or ``test``, as the images were chosen.
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
        """With calibrated probabilities."""
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
        return replace(
            self,
            images=tuple(self.images[row] for row in kept),
            digests=tuple(self.digests[row] for row in kept),
            sets=tuple(self.sets[row] for row in kept),
            seen_as=tuple(self.seen_as[row] for row in kept),
            logits=self.logits[kept],
            embeddings=self.embeddings[kept],
            novelty=None if self.novelty is None else self.novelty[kept],
            left_out=left_out,
        )

    def save(self, folder: Path) -> None:
        """Write ``predictions.npz`` and ``predictions.csv``, which is a manifest with five more columns."""
        folder.mkdir(parents=True, exist_ok=True)
        predicted, top = self.evaluation.predicted, self.evaluation.probabilities.max(axis=1)
        own = zip(self.digests, self.sets, self.seen_as, (CLASS_NAMES[c] for c in predicted), top, strict=True)
        rows = [
            replace(image, extra=image.extra | dict(zip(OWN_COLUMNS, (*texts, f"{p:.4f}"), strict=True)))
            for image, (*texts, p) in zip(self.images, own, strict=True)
        ]
        manifest.write(folder / ROWS, rows)
        about = {
            "network": self.network,
            "network_sha256": self.network_sha256,
            "split": self.split,
            "fitted": asdict(self.fitted),
            "left_out": dict(self.left_out),
        }
        with replacing(folder / ARRAYS) as partial, partial.open("wb") as stream:
            np.savez(
                stream,
                logits=self.logits,
                embeddings=self.embeddings,
                suppressed=self.suppressed,
                novelty=np.empty(0) if self.novelty is None else self.novelty,
                about=np.array(json.dumps(about)),
            )


def load(folder: Path) -> Predictions:
    """Read what :meth:`Predictions.save` wrote; the image files themselves are not needed.

    Raises:
        EvaluationError: there are no predictions, or their two files do not belong together.
    """
    try:
        with np.load(folder / ARRAYS, allow_pickle=False) as stored:
            arrays = {name: stored[name] for name in ("logits", "embeddings", "suppressed")}
            novelty = stored.get("novelty", np.empty(0))
            about = json.loads(str(stored["about"]))
        with (folder / ROWS).open(newline="", encoding="utf-8", errors="surrogateescape") as stream:
            rows = list(csv.DictReader(stream))
        if len(rows) != len(arrays["logits"]):
            raise ValueError(f"{ROWS} has {len(rows)} rows, {ARRAYS} has {len(arrays['logits'])}")
        return Predictions(
            network=about["network"],
            network_sha256=about["network_sha256"],
            split=about["split"],
            images=tuple(
                manifest.image_of(folder, {k: v for k, v in row.items() if k not in OWN_COLUMNS}) for row in rows
            ),
            digests=tuple(row["sha256"] for row in rows),
            sets=tuple(cast("ImageSet", row["set"]) for row in rows),
            seen_as=tuple(row["seen_as"] for row in rows),
            fitted=Fitted(**about["fitted"]),
            left_out=about["left_out"],
            novelty=novelty if novelty.size else None,
            **arrays,
        )
    except (OSError, EOFError, KeyError, TypeError, ValueError, BadZipFile) as error:
        raise EvaluationError(
            f"{folder} holds no usable predictions ({error}); write them with 'hal evaluate'"
        ) from error


def predict(
    network: TrainedNetwork,
    images: Sequence[LabelledImage],
    split: str,
    sets: Sequence[ImageSet],
    left_out: Mapping[str, int] | None = None,
    folder: Path | None = None,
) -> Predictions:
    """Ask a network about images, or read what it said about them before.

    Args:
        folder: where the predictions are kept; taken from there if the weights and all images are the same.

    Raises:
        ImageError: an image cannot be read.
        RunError: the run is not finished.
    """
    digests = tuple(sha256_of(image.path) for image in images)
    if folder is not None and (known := _known(folder, network, images, digests)) is not None:
        return replace(known, split=split, sets=tuple(sets), left_out=dict(left_out or {}))
    fitted = network.fitted()
    outputs = network.outputs([image.path for image in images], f"{split} images")
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
        novelty=_novelty(network, outputs.embeddings),
    )
    if folder is not None:
        predictions.save(folder)
    return predictions


def _known(
    folder: Path, network: TrainedNetwork, images: Sequence[LabelledImage], digests: tuple[str, ...]
) -> Predictions | None:
    try:
        stored = load(folder)
    except EvaluationError:
        return None
    same: list[tuple[Any, Any]] = [
        (stored.network_sha256, network.sha256),
        (stored.digests, digests),
        ([_said(image) for image in stored.images], [_said(image) for image in images]),
    ]
    if any(a != b for a, b in same):
        return None
    fitted = stored.fitted if network.validation else network.fitted()
    return replace(stored, images=tuple(images), fitted=fitted, novelty=_novelty(network, stored.embeddings))


def _novelty(network: TrainedNetwork, embeddings: NDArray[np.float32]) -> NDArray[np.float32] | None:
    basis = network.familiar
    return None if basis is None else basis.scores(embeddings)


def _said(image: LabelledImage) -> tuple[str, ...]:
    return image.label, image.slide_id, image.source, image.split
