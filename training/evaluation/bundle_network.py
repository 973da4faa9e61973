"""The network of a bundle, as it is served."""

import csv
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from contract import bundle
from contract.bundle import Bundle
from contract.description import ClassEvidence, ModelFile, Precision
from training.data import image_list
from training.data.manifest import LabelledImage
from training.evaluation.onnx_inference import onnx_outputs
from training.evaluation.outputs import Fitted, Outputs


@dataclass(frozen=True)
class BundleNetwork:
    """See :class:`training.evaluation.network.TrainedNetwork`; ``listed`` are the rows of the bundle's image list."""

    bundle: Bundle
    file: ModelFile
    listed: Mapping[str, LabelledImage]

    @classmethod
    def open(cls, folder: Path, precision: Precision | None) -> "BundleNetwork":
        """Verify a bundle and read the list of its images, if it has one.

        Raises:
            BundleError: it is no bundle, it is damaged, or it has no file of that precision.
        """
        loaded = bundle.load(folder)
        return cls(loaded, loaded.file(precision), _read_list(folder / image_list.FILE_NAME))

    @property
    def name(self) -> str:
        return f"{self.bundle.description.name} {self.bundle.description.version} ({self.file.precision})"

    @property
    def root(self) -> Path:
        return self.bundle.root

    @property
    def sha256(self) -> str:
        return self.file.sha256

    @property
    def classes(self) -> tuple[ClassEvidence, ...]:
        return self.bundle.description.classes

    @property
    def images(self) -> Sequence[LabelledImage]:
        """The rows of ``images.csv``, by file name."""
        return tuple(self.listed.values())

    @property
    def validation(self) -> Sequence[LabelledImage]:
        return ()

    @property
    def recipe(self) -> dict[str, Any]:
        provenance = self.bundle.description.provenance
        return provenance.recipe | {"seed": provenance.seed}

    def outputs(self, paths: Sequence[Path], what: str) -> Outputs:
        """By ONNX Runtime on the CPU."""
        return onnx_outputs(self.bundle.path(self.file), paths, f"{what}, {self.file.precision}")

    def fitted(self) -> Fitted:
        """As the bundle declares them."""
        calibration, policy = self.bundle.description.calibration, self.bundle.description.policy
        basis = f"fitted at export on {calibration.images} images: {calibration.fitted_on}"
        return Fitted(calibration.temperature, policy.hairy_threshold, basis)

    def seen_as(self, image: LabelledImage, digest: str) -> str:
        """By content, so that another name or folder does not matter, and by the photographs that images come from."""
        return image_list.seen_as(image, digest, self._splits)

    @cached_property
    def _splits(self) -> dict[str, str]:
        return image_list.splits(self.root / image_list.FILE_NAME)


def _read_list(path: Path) -> dict[str, LabelledImage]:
    if not path.is_file():
        return {}
    with path.open(newline="", encoding="utf-8") as stream:
        return {
            row["sha256"]: LabelledImage(Path(row["name"]), row["label"], row["slide_id"], row["source"], row["split"])
            for row in csv.DictReader(stream)
        }
