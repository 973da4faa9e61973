"""A trained network that can be evaluated, and that of a bundle, as it is served; a run's is in ``run_network``."""

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from contract import bundle
from contract.bundle import Bundle
from contract.description import ClassEvidence
from contract.novelty import NoveltyBasis
from contract.parts import ModelFile, Precision
from training.data import image_list
from training.data.manifest import LabelledImage, read_csv
from training.evaluation.onnx_inference import Outputs, onnx_outputs


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


@dataclass(frozen=True, kw_only=True)
class TrainedNetwork(ABC):
    """A run's or a bundle's network and what is known about its origin.

    Attributes:
        sha256: of the file with its weights.
        classes: what each of the 20 classes was learned from.
        images: all that it was trained and validated on; of a bundle only names are known, not where the files lie.
        recipe: every choice of its training; the seed is one of them.
        validation: images at hand on which temperature and threshold are to be fitted; none of a bundle, which has
            them.
        familiar: what unfamiliar images are told by; ``None`` of a run.
    """

    name: str
    root: Path
    sha256: str
    classes: tuple[ClassEvidence, ...]
    images: Sequence[LabelledImage]
    recipe: dict[str, Any]
    validation: Sequence[LabelledImage] = ()
    familiar: NoveltyBasis | None = None

    @abstractmethod
    def outputs(self, paths: Sequence[Path], what: str) -> Outputs:
        """What the network gives for image files, with a progress bar captioned ``what``."""

    @abstractmethod
    def fitted(self) -> Fitted:
        """Temperature and hairy threshold, from validation images only."""

    @cached_property
    @abstractmethod
    def known(self) -> Mapping[str, str]:
        """``train`` or ``val`` by SHA-256 of the images that had a part in it, as files and as pixels."""

    def seen_as(self, image: LabelledImage, digest: str) -> str:
        """``train`` or ``val`` if it was trained on or validated with, else empty; ``digest`` is its SHA-256.

        By content, so that another name or folder does not matter, and by the photographs that images come from.
        """
        return image_list.seen_as(image, digest, self.known)


@dataclass(frozen=True, kw_only=True)
class BundleNetwork(TrainedNetwork):
    """One file of a bundle, run by ONNX Runtime on the CPU."""

    bundle: Bundle
    file: ModelFile

    @classmethod
    def open(cls, folder: Path, precision: Precision | None) -> "BundleNetwork":
        """Verify a bundle and read the list of its images, if it has one.

        Raises:
            BundleError: it is no bundle, it is damaged, or it has no file of that precision.
        """
        loaded = bundle.load(folder)
        file, description = loaded.file(precision), loaded.description
        return cls(
            name=f"{description.name} {description.version} ({file.precision})",
            root=loaded.root,
            sha256=file.sha256,
            classes=description.classes,
            images=_listed(folder / image_list.FILE_NAME),
            recipe=description.provenance.recipe | {"seed": description.provenance.seed},
            familiar=loaded.novelty(),
            bundle=loaded,
            file=file,
        )

    def outputs(self, paths: Sequence[Path], what: str) -> Outputs:
        return onnx_outputs(self.bundle.path(self.file), paths, f"{what}, {self.file.precision}")

    def fitted(self) -> Fitted:
        """As the bundle declares them."""
        calibration, policy = self.bundle.description.calibration, self.bundle.description.policy
        basis = f"fitted at export on {calibration.images} images: {calibration.fitted_on}"
        return Fitted(calibration.temperature, policy.hairy_threshold, basis, calibration.unfamiliar_temperature)

    @cached_property
    def known(self) -> Mapping[str, str]:
        return image_list.splits(self.root / image_list.FILE_NAME)


def _listed(path: Path) -> tuple[LabelledImage, ...]:
    """The rows of a bundle's image list, by file name."""
    return tuple(
        LabelledImage(Path(row["name"]), row["label"], row["slide_id"], row["source"], row["split"])
        for row in read_csv(path)
    )
