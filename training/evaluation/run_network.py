"""The network of a finished run."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import keras
import numpy as np

from contract.bundle import sha256_of
from contract.parts import Precision
from training.data import image_list
from training.data.contents import recorded_hashes, with_pixels
from training.data.manifest import LabelledImage
from training.data.overlap import pixels_of
from training.evaluation.calibration import fit_temperature
from training.evaluation.evidence import class_evidence, suppressed
from training.evaluation.network import Fitted, TrainedNetwork
from training.evaluation.onnx_inference import Outputs
from training.evaluation.policy import PolicyError, hairy_threshold
from training.evaluation.results import Evaluation
from training.fit.features import encode
from training.fit.run import Run, RunError
from training.networks import xception as networks


@dataclass(frozen=True, kw_only=True)
class RunNetwork(TrainedNetwork):
    """A run's network, run by Keras in float32."""

    run: Run
    _computed: dict[Path, tuple[Any, Any]] = field(default_factory=dict)

    @classmethod
    def open(cls, folder: Path, precision: Precision | None) -> "RunNetwork":
        """Open the folder of a run.

        Raises:
            RunError: there is no run, one of another version, or no checkpoint.
            ManifestError: its images are not where they were.
        """
        if precision not in (None, "float32"):
            raise RunError(f"{folder} is a run, which has float32 weights; export it to evaluate its {precision} file")
        return cls.of(Run.open(folder))

    @classmethod
    def of(cls, run: Run) -> "RunNetwork":
        """The network of a run; ``RunError``: it has no checkpoint."""
        checkpoint, recipe = run.root / "checkpoint.npz", run.recipe
        if not checkpoint.is_file():
            raise RunError(f"{run.root} has no checkpoint; go on with: hal train --resume {run.root}")
        folder = run.root.resolve().name
        return cls(
            name=recipe.name if folder == recipe.name else f"{folder} ({recipe.name})",
            root=run.root,
            sha256=sha256_of(checkpoint),
            classes=class_evidence(_as_trained(run)),
            images=run.images,
            recipe=recipe.model_dump(mode="json"),
            validation=[] if recipe.trains_on_validation else [image for image in run.images if image.split == "val"],
            run=run,
        )

    def outputs(self, paths: Sequence[Path], what: str) -> Outputs:
        """No image is computed twice."""
        if missing := [path for path in dict.fromkeys(paths) if path not in self._computed]:
            encoder, head = self._networks
            features = encode(encoder, missing, None, what)
            logits = np.asarray(head(features, training=False), np.float32)
            lengths = np.linalg.norm(features, axis=1, keepdims=True).clip(1e-12)
            self._computed.update(zip(missing, zip(logits, features / lengths, strict=True), strict=True))
        rows = [self._computed[path] for path in paths]
        return Outputs(np.stack([logits for logits, _ in rows]), np.stack([embedding for _, embedding in rows]))

    @cached_property
    def _networks(self) -> tuple[keras.Model, keras.Model]:
        return trained_networks(self.run)

    def fitted(self) -> Fitted:
        """On the run's own validation images."""
        if not self.validation:
            why = "was trained on its validation images" if self.run.recipe.trains_on_validation else "has none"
            return Fitted(1.0, None, f"not fitted (temperature 1): fitting needs validation images, and this run {why}")
        paths = [image.path for image in self.validation]
        logits = self.outputs(paths, "validation images, for the temperature").logits
        labels = np.array([image.class_index for image in self.validation], dtype=np.int64)
        hidden, split = suppressed(self.classes), "+".join(sorted({image.split for image in self.validation}))
        temperature = fit_temperature(logits, labels, hidden, split)
        basis = f"fitted on the run's {len(labels)} validation images"
        try:
            threshold, how = hairy_threshold(Evaluation.at(logits, labels, temperature, hidden), split)
        except PolicyError:
            return Fitted(temperature, None, f"{basis}; no hairy cell among them, so there is no threshold of the flag")
        return Fitted(temperature, threshold, f"{basis}; hairy flag: {how}")

    @cached_property
    def known(self) -> Mapping[str, str]:
        """What an earlier run was trained on counts too."""
        images = with_pixels(_as_trained(self.run))
        content_hash = recorded_hashes(images)
        found: dict[str, str] = {}
        for image in sorted(images, key=lambda image: image_list.LEAST_TELLING.index(image.split)):
            found |= dict.fromkeys(pixels_of(image, content_hash(image.path)), image.split)
        return found | dict.fromkeys(self.run.seen_before(), "train")


def trained_networks(run: Run) -> tuple[keras.Model, keras.Model]:
    """Encoder and classifier head of a run's last checkpoint, in float32.

    The encoder takes pixels 0 to 255, shape ``(n, 256, 256, 3)``, to features ``(n, 2048)``, the head takes features
    to logits ``(n, 20)``. ``set_weights`` refuses what does not fit; Keras' ``load_weights`` only warns and leaves
    layers at random.
    """
    progress, groups = run.restore()
    stages = run.recipe.stages
    if progress.stage < len(stages):
        raise RunError(
            f"{run.root} is at stage {stages[progress.stage].name} ({progress.stage + 1} of {len(stages)}): the run is "
            f"not finished; go on with: hal train --resume {run.root}"
        )
    keras.mixed_precision.set_global_policy("float32")
    encoder = networks.build_encoder(None)
    chosen = run.recipe.classifier_head
    head = networks.build_classifier_head(chosen.dropout, run.recipe.seed, chosen.normalised)
    encoder.set_weights(groups["encoder"])
    head.set_weights(groups["classifier_head"][: len(head.weights)])
    return encoder, head


def _as_trained(run: Run) -> list[LabelledImage]:
    """A run's images, with split ``train`` where it was trained on them."""
    trained_on = run.recipe.train_splits
    return [replace(image, split="train") if image.split in trained_on else image for image in run.images]
