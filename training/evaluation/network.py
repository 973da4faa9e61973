"""A trained network that can be evaluated: the folder of a run or of a bundle."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from contract.bundle import MANIFEST_NAME, BundleNotFoundError
from contract.description import ClassEvidence, Evidence, Precision
from training.data.manifest import LabelledImage

RUN_FILE = "recipe.json"


@dataclass(frozen=True, slots=True)
class Outputs:
    """What a network gives for n images.

    Attributes:
        logits: float32. Shape: ``(n, 20)``.
        embeddings: the encoder's output, l2-normalised, float32. Shape: ``(n, 2048)``.
    """

    logits: NDArray[np.float32]
    embeddings: NDArray[np.float32]


@dataclass(frozen=True, slots=True)
class Fitted:
    """What was fitted on validation images.

    Attributes:
        temperature: of the calibrated probabilities; 1 where there was nothing to fit it on.
        hairy_threshold: smallest probability that raises the hairy flag; ``None`` without hairy validation cells.
        basis: a sentence on the images.
    """

    temperature: float
    hairy_threshold: float | None
    basis: str


class Network(Protocol):
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

    def seen_as(self, image: LabelledImage, digest: str) -> str:
        """``train`` or ``val`` if it was trained on or validated with, else empty; ``digest`` is its SHA-256."""


def suppressed(classes: Sequence[ClassEvidence]) -> NDArray[np.bool_]:
    """Classes that a network was never trained on. Shape: ``(20,)``."""
    return np.array([entry.evidence is Evidence.NONE for entry in classes])


def is_run(folder: Path) -> bool:
    """Whether ``hal train`` wrote this folder."""
    return (folder / RUN_FILE).is_file()


def open_network(folder: Path, precision: Precision | None = None) -> Network:
    """The network of a run or a bundle.

    Args:
        folder: of ``hal train`` or ``hal export``.
        precision: which file of a bundle; its first when ``None``.

    Raises:
        BundleError, RunError, ManifestError: each says what was wrong and what to do.
    """
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
