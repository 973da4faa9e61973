"""Made predictions, and a network whose answers are given, so that nothing has to be trained."""

import hashlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from contract.bundle import sha256_of
from contract.classes import CLASS_COUNT, CLASS_NAMES, HAIRY_CELL
from contract.description import ClassEvidence, Evidence
from contract.novelty import NoveltyBasis
from training.data.manifest import LabelledImage
from training.data.sets import set_of
from training.evaluation.network import Fitted
from training.evaluation.onnx_inference import Outputs
from training.evaluation.predictions import Predictions

HAIRY = HAIRY_CELL.name
EVERY_CLASS = tuple(
    ClassEvidence(name=name, evidence=Evidence.REAL, training_images=50, validation_images=10) for name in CLASS_NAMES
)


def evidence(*unknown: str) -> tuple[ClassEvidence, ...]:
    """All classes known but these."""
    none = {"evidence": Evidence.NONE, "training_images": 0}
    return tuple(each.model_copy(update=none) if each.name in unknown else each for each in EVERY_CLASS)


def image(label: str, source: str = "here", split: str = "test", folder: Path = Path(), **extra: str) -> LabelledImage:
    """A row of a manifest; the name tells what the row says, so that equal rows are equal images."""
    number = image.counter = getattr(image, "counter", 0) + 1  # type: ignore[attr-defined]
    path = folder / f"{number}.png"
    if folder != Path():
        path.write_text(f"image {number}")
    return LabelledImage(path, label, "", source, split, extra)


def logits_for(predicted: Sequence[str], margin: float = 4.0) -> np.ndarray:
    """Logits whose largest is that of the predicted class."""
    logits = np.zeros((len(predicted), CLASS_COUNT), np.float32)
    logits[np.arange(len(predicted)), [CLASS_NAMES.index(name) for name in predicted]] = margin
    return logits


def predictions(
    rows: Sequence[LabelledImage], predicted: Sequence[str], network: str = "made", threshold: float | None = None
) -> Predictions:
    """What a network would have said."""
    generator = np.random.default_rng(0)
    embeddings = generator.normal(size=(len(rows), 16)).astype(np.float32)
    return Predictions(
        network=network,
        network_sha256=hashlib.sha256(network.encode()).hexdigest(),
        split="test",
        images=tuple(rows),
        digests=tuple(hashlib.sha256(str(row.path).encode()).hexdigest() for row in rows),
        sets=tuple(set_of(rows)),
        seen_as=("",) * len(rows),
        logits=logits_for(predicted),
        embeddings=embeddings / np.linalg.norm(embeddings, axis=1, keepdims=True),
        suppressed=np.zeros(CLASS_COUNT, bool),
        fitted=Fitted(1.0, threshold, "fitted on 40 made validation images"),
        left_out={},
    )


def everyone(seed: int = 1, count: int = 400, right: float = 0.8) -> Predictions:
    """Images of all classes and three sources, of which about ``right`` are named rightly."""
    generator = np.random.default_rng(seed)
    labels = [CLASS_NAMES[i % CLASS_COUNT] for i in range(count)]
    sources = [
        "hairy slides" if label == HAIRY else str(generator.choice(["one", "two", "hairy slides"])) for label in labels
    ]
    rows = [image(label, source) for label, source in zip(labels, sources, strict=True)]
    said = [label if generator.random() < right else str(generator.choice(CLASS_NAMES)) for label in labels]
    found = predictions(rows, said, threshold=0.5)
    noisy = (found.logits + generator.normal(0, 0.8, found.logits.shape)).astype(np.float32)
    return Predictions(**{**vars_of(found), "logits": noisy})


def vars_of(found: Predictions) -> dict[str, Any]:
    """The fields, without what is computed from them."""
    return {name: getattr(found, name) for name in Predictions.__dataclass_fields__}


@dataclass
class MadeNetwork:
    """The :class:`training.evaluation.network.TrainedNetwork` of a run that answers by a rule."""

    root: Path
    images: Sequence[LabelledImage]
    answer: Callable[[LabelledImage], str]
    name: str = "made"
    sha256: str = "0" * 64
    classes: tuple[ClassEvidence, ...] = EVERY_CLASS
    recipe: dict[str, Any] = field(default_factory=lambda: {"name": "made", "seed": 1, "train_splits": ["train"]})
    validation: Sequence[LabelledImage] = ()
    familiar: NoveltyBasis | None = None
    asked: int = 0
    by_path: dict[Path, LabelledImage] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.root.mkdir(parents=True, exist_ok=True)
        (self.root / "recipe.json").write_text("{}")

    def outputs(self, paths: Sequence[Path], what: str) -> Outputs:
        del what
        self.asked += len(paths)
        rows = [self.by_path[path.resolve()] for path in paths]
        embeddings = np.random.default_rng(0).normal(size=(len(rows), 16)).astype(np.float32)
        embeddings /= np.linalg.norm(embeddings, axis=1, keepdims=True)
        return Outputs(logits_for([self.answer(row) for row in rows]), embeddings)

    def fitted(self) -> Fitted:
        return Fitted(1.0, None, "made")

    def seen_as(self, image: LabelledImage, digest: str) -> str:
        assert digest == sha256_of(image.path)
        return next((each.split for each in self.images if each.path == image.path), "")

    def knows(self, rows: Sequence[LabelledImage]) -> "MadeNetwork":
        self.by_path |= {row.path.resolve(): row for row in rows}
        return self
