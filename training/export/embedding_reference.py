"""What a service compares its embeddings with, from the validation images of a bundle."""

from pathlib import Path
from typing import Final

import numpy as np
from numpy.typing import NDArray

from contract import bundle
from contract.bundle import sha256_of
from contract.classes import CLASS_COUNT
from contract.parts import EmbeddingReference, Precision
from training.data import manifest
from training.data.manifest import ManifestError
from training.evaluation.onnx_inference import Outputs, onnx_outputs
from training.export import model_card

FILE_NAME: Final = "reference.npz"
CELLS_OF_A_CLASS: Final = 40
"""Whose embeddings the bundle carries, 4 kB each, so that an adapted bundle can be measured without their images."""


def write_reference(
    folder: Path,
    outputs: Outputs,
    labels: NDArray[np.int64],
    suppressed: NDArray[np.bool_],
    precision: Precision,
    data: str,
) -> EmbeddingReference:
    """Write the reference's file into a bundle's folder and describe it for ``bundle.json``.

    ``outputs`` are those of the file of ``precision``; ``data`` says which images, for people.
    """
    embeddings = outputs.embeddings.astype(np.float64)
    predicted = np.where(suppressed, -np.inf, outputs.logits).argmax(axis=1)
    mean = embeddings.mean(axis=0)
    class_means = np.tile(mean, (CLASS_COUNT, 1))
    for index in np.unique(predicted):
        class_means[index] = embeddings[predicted == index].mean(axis=0)
    kept = _evenly(labels, CELLS_OF_A_CLASS)
    path = folder / FILE_NAME
    np.savez_compressed(
        path,
        mean=mean.astype(np.float32),
        class_means=class_means.astype(np.float32),
        cells=outputs.embeddings[kept].astype(np.float16),
        cell_labels=labels[kept],
    )
    return EmbeddingReference(
        path=path.name,
        sha256=sha256_of(path),
        precision=precision,
        images=len(embeddings),
        data=data,
        spread=_root_mean_square(embeddings - mean),
        spread_within=_root_mean_square(embeddings - class_means[predicted]),
    )


def add_reference(folder: Path, data: Path, split: str) -> EmbeddingReference:
    """Give a bundle that was exported without one its reference, or another; its weights stay as they are.

    ``split`` is to be one that the network was not trained on.

    Raises:
        BundleError: the bundle cannot be loaded.
        ManifestError: the manifest cannot be read, or has no image of that split.
    """
    loaded = bundle.load(folder)
    file, description = loaded.file(), loaded.description
    images = [image for image in manifest.read(data) if image.split == split]
    if not images:
        raise ManifestError(f"{data} has no image of the split {split!r}", ["a reference needs some"])
    outputs = onnx_outputs(loaded.path(file), [image.path for image in images], f"{split} images, {file.precision}")
    labels = np.array([image.class_index for image in images], dtype=np.int64)
    told = f"{split} images of {data.name}"
    reference = write_reference(folder, outputs, labels, description.suppressed, file.precision, told)
    model_card.rewrite(folder, description.model_copy(update={"reference": reference}))
    return reference


def _evenly(labels: NDArray[np.int64], most: int) -> NDArray[np.int64]:
    """Positions of at most ``most`` images of each class, evenly spread over their order."""
    chosen = [np.flatnonzero(labels == index) for index in np.unique(labels)]
    return np.concatenate([of[np.linspace(0, len(of) - 1, min(most, len(of))).round().astype(int)] for of in chosen])


def _root_mean_square(differences: NDArray[np.float64]) -> float:
    """Of the lengths of the rows; never quite 0, so that it can be divided by."""
    return max(float(np.sqrt((differences**2).sum(axis=1).mean())), 1e-6)
