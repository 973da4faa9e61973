"""The subspace and the threshold by which a bundle tells unfamiliar images."""

from collections.abc import Sequence
from pathlib import Path
from typing import Final

import numpy as np
from numpy.typing import NDArray

from contract.bundle import sha256_of
from contract.description import Novelty, Precision
from contract.novelty import NoveltyBasis, fit_subspace
from training.data.manifest import LabelledImage

FILE_NAME: Final = "novelty.npz"
COMPONENTS: Final = 64
"""On the embeddings of models/hal-c/2, 16 to 256 components differ by less than 0.01 in AUROC."""
FAMILIAR_RATE: Final = 0.02
IMAGES_OF_A_SOURCE: Final = 1000


def subspace_images(images: Sequence[LabelledImage], seed: int) -> list[LabelledImage]:
    """Training images to fit the subspace on: at most :data:`IMAGES_OF_A_SOURCE` of each source, at random."""
    generator = np.random.default_rng(seed)
    by_source: dict[str, list[LabelledImage]] = {}
    for image in images:
        if image.split == "train":
            by_source.setdefault(image.source, []).append(image)
    chosen = []
    for source in sorted(by_source):
        found = by_source[source]
        order = generator.permutation(len(found))[:IMAGES_OF_A_SOURCE]
        chosen += [found[index] for index in sorted(order)]
    return chosen


def write_novelty(
    folder: Path,
    training: tuple[NDArray[np.float32], NDArray[np.str_]],
    validation: tuple[NDArray[np.float32], NDArray[np.str_]],
    precision: Precision,
) -> Novelty:
    """Fit the subspace and its threshold, and write the subspace into a bundle's folder.

    Args:
        folder: of the bundle.
        training: embeddings ``(n, 2048)`` of training images and the source of each.
        validation: the same of validation images, which set the threshold.
        precision: of the file that made the embeddings.

    Returns:
        The part of ``bundle.json`` that describes it.

    Raises:
        ValueError: there are fewer training images than components.
    """
    mean, components = fit_subspace(*training, components=min(COMPONENTS, len(training[0]) - 1))
    path = folder / FILE_NAME
    np.savez_compressed(path, mean=mean, components=components)
    distances = NoveltyBasis(mean, components, 1.0).scores(validation[0])
    weights = _balanced(validation[1])
    threshold = _quantile(distances, weights, 1 - FAMILIAR_RATE)
    return Novelty(
        path=path.name,
        sha256=sha256_of(path),
        precision=precision,
        components=len(components),
        images=len(training[0]),
        threshold=threshold,
        familiar_rate=FAMILIAR_RATE,
        validation_images=len(distances),
    )


def _balanced(sources: NDArray[np.str_]) -> NDArray[np.float64]:
    """Weights that give each source the same share; their sum is 1."""
    _, which, counts = np.unique(sources, return_inverse=True, return_counts=True)
    weights = 1.0 / counts[which]
    return np.asarray(weights / weights.sum())


def _quantile(values: NDArray[np.float32], weights: NDArray[np.float64], share: float) -> float:
    """The smallest value that at least ``share`` of the weight does not exceed."""
    order = np.argsort(values)
    reached = np.searchsorted(np.cumsum(weights[order]), share - 1e-9)
    return float(values[order[min(int(reached), len(values) - 1)]])
