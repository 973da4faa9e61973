"""The network of a finished run."""

from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import cached_property
from pathlib import Path
from typing import Any

import keras
import numpy as np

from contract.bundle import sha256_of
from contract.description import ClassEvidence, Precision
from training.data import image_list
from training.data.contents import recorded_hashes, with_pixels
from training.data.manifest import LabelledImage
from training.data.overlap import pixels_of
from training.evaluation.calibration import fit_temperature
from training.evaluation.evidence import class_evidence
from training.evaluation.outputs import Fitted, Outputs, suppressed
from training.evaluation.policy import PolicyError, hairy_threshold
from training.evaluation.results import Evaluation
from training.fit import trained
from training.fit.features import encode
from training.fit.run import Run, RunError

Load = Callable[[Run], tuple[keras.Model, keras.Model]]


class RunNetwork:
    """See :class:`training.evaluation.network.TrainedNetwork`."""

    def __init__(self, run: Run, load: Load = trained.load) -> None:
        self.run = run
        self._load = load
        self._known: dict[Path, tuple[Any, Any]] = {}
        trained_on = run.recipe.train_splits
        as_trained = [replace(image, split="train") if image.split in trained_on else image for image in run.images]
        self.classes: tuple[ClassEvidence, ...] = class_evidence(as_trained)

    @classmethod
    def open(cls, folder: Path, precision: Precision | None) -> "RunNetwork":
        """Open the folder of a run.

        Raises:
            RunError: there is no run, one of another version, or no checkpoint.
            ManifestError: its images are not where they were.
        """
        if precision not in (None, "float32"):
            raise RunError(f"{folder} is a run, which has float32 weights; export it to evaluate its {precision} file")
        return cls(Run.open(folder))

    @property
    def name(self) -> str:
        """The folder's name and the recipe's where they differ."""
        folder, recipe = self.run.root.resolve().name, self.run.recipe.name
        return recipe if folder == recipe else f"{folder} ({recipe})"

    @property
    def root(self) -> Path:
        return self.run.root

    @cached_property
    def sha256(self) -> str:
        path = self.run.root / "checkpoint.npz"
        if not path.is_file():
            raise RunError(f"{self.run.root} has no checkpoint; go on with: hal train --resume {self.run.root}")
        return sha256_of(path)

    @property
    def images(self) -> Sequence[LabelledImage]:
        return self.run.images

    @property
    def validation(self) -> Sequence[LabelledImage]:
        """The run's validation images, unless it was trained on them."""
        if self.run.recipe.trains_on_validation:
            return ()
        return tuple(image for image in self.run.images if image.split == "val")

    @property
    def recipe(self) -> dict[str, Any]:
        return self.run.recipe.model_dump(mode="json")

    def outputs(self, paths: Sequence[Path], what: str) -> Outputs:
        """By Keras, in float32; no image is computed twice."""
        if missing := [path for path in dict.fromkeys(paths) if path not in self._known]:
            encoder, head = self._networks
            features = encode(encoder, missing, None, what)
            logits = np.asarray(head(features, training=False), np.float32)
            lengths = np.linalg.norm(features, axis=1, keepdims=True).clip(1e-12)
            self._known |= dict(zip(missing, zip(logits, features / lengths, strict=True), strict=True))
        rows = [self._known[path] for path in paths]
        return Outputs(np.stack([logits for logits, _ in rows]), np.stack([embedding for _, embedding in rows]))

    @cached_property
    def _networks(self) -> tuple[keras.Model, keras.Model]:
        return self._load(self.run)

    def fitted(self) -> Fitted:
        """On the run's own validation images."""
        images = self.validation
        if not images:
            why = "was trained on its validation images" if self.run.recipe.trains_on_validation else "has none"
            return Fitted(1.0, None, f"not fitted (temperature 1): fitting needs validation images, and this run {why}")
        logits = self.outputs([image.path for image in images], "validation images, for the temperature").logits
        labels = np.array([image.class_index for image in images], dtype=np.int64)
        splits = "+".join(sorted({image.split for image in images}))
        hidden = suppressed(self.classes)
        temperature = fit_temperature(logits, labels, hidden, splits)
        basis = f"fitted on the run's {len(images)} validation images"
        try:
            threshold, how = hairy_threshold(Evaluation.at(logits, labels, temperature, hidden), splits)
        except PolicyError:
            return Fitted(temperature, None, f"{basis}; no hairy cell among them, so there is no threshold of the flag")
        return Fitted(temperature, threshold, f"{basis}; hairy flag: {how}")

    @property
    def familiar(self) -> None:
        """Unfamiliar images are told by bundles only."""

    def seen_as(self, image: LabelledImage, digest: str) -> str:
        """By content, so that another name or folder does not matter, and by the photographs that images come from.

        What an earlier run was trained on counts too.
        """
        return image_list.seen_as(image, digest, self._splits)

    @cached_property
    def _splits(self) -> dict[str, str]:
        images, trained_on = with_pixels(self.run.images), self.run.recipe.train_splits
        content_hash = recorded_hashes(images)
        found = dict.fromkeys(self.run.seen_before(), "train")
        for image in sorted(images, key=lambda image: image.split in trained_on):
            split = "train" if image.split in trained_on else image.split
            for digest in pixels_of(image, content_hash(image.path)):
                found[digest] = "train" if found.get(digest) == "train" else split
        return found
