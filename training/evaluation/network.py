"""A trained network that can be evaluated: the folder of a run or of a bundle."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any, Protocol

from contract.bundle import MANIFEST_NAME, BundleNotFoundError
from contract.description import ClassEvidence, Precision
from contract.novelty import NoveltyBasis
from training.data.manifest import LabelledImage
from training.evaluation.outputs import Fitted, Outputs

RUN_FILE = "recipe.json"


class TrainedNetwork(Protocol):
    """A run's or a bundle's network and what is known about its origin."""

    @property
    def name(self) -> str:
        """As in tables and headings."""

    @property
    def root(self) -> Path:
        """Its folder."""

    @property
    def sha256(self) -> str:
        """Of the file with its weights."""

    @property
    def classes(self) -> tuple[ClassEvidence, ...]:
        """What each of the 20 classes was learned from."""

    @property
    def images(self) -> Sequence[LabelledImage]:
        """All that it was trained and validated on; of a bundle only names are known, not where the files lie."""

    @property
    def validation(self) -> Sequence[LabelledImage]:
        """Images at hand on which temperature and threshold are to be fitted; none of a bundle, which has them."""

    @property
    def recipe(self) -> dict[str, Any]:
        """Every choice of its training; the seed is one of them."""

    def outputs(self, paths: Sequence[Path], what: str) -> Outputs:
        """Logits and embeddings of image files, with a progress bar captioned ``what``."""

    def fitted(self) -> Fitted:
        """Temperature and hairy threshold, from validation images only."""

    @property
    def familiar(self) -> NoveltyBasis | None:
        """What unfamiliar images are told by; ``None`` where there is nothing."""

    def seen_as(self, image: LabelledImage, digest: str) -> str:
        """``train`` or ``val`` if it was trained on or validated with, else empty; ``digest`` is its SHA-256."""


def is_run(folder: Path) -> bool:
    """Whether ``hal train`` wrote this folder."""
    return (folder / RUN_FILE).is_file()


def open_network(folder: Path, precision: Precision | None = None) -> TrainedNetwork:
    """The network of a run or a bundle."""
    if is_run(folder):
        from training.evaluation.run_network import RunNetwork

        return RunNetwork.open(folder, precision)
    if (folder / MANIFEST_NAME).is_file():
        from training.evaluation.bundle_network import BundleNetwork

        return BundleNetwork.open(folder, precision)
    raise BundleNotFoundError(
        f"no {MANIFEST_NAME} and no {RUN_FILE} in {folder}; give the folder of a bundle ('hal export'), for example "
        "models/hal-c/2, or of a run ('hal train')"
    )
