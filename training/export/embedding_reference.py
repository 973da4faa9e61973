"""What a service compares its embeddings with, from the validation images of a bundle."""

from pathlib import Path
from typing import Final

import numpy as np
from numpy.typing import NDArray

from contract import bundle
from contract.bundle import sha256_of
from contract.classes import CLASS_COUNT
from contract.description import EmbeddingReference, Precision
from training.data import manifest
from training.data.manifest import ManifestError
from training.evaluation.onnx_inference import onnx_outputs
from training.evaluation.outputs import Outputs
from training.export import triton

FILE_NAME: Final = "reference.npz"


def write_reference(
    folder: Path, outputs: Outputs, suppressed: NDArray[np.bool_], precision: Precision, data: str
) -> EmbeddingReference:
    """Write the reference's file into a bundle's folder.

    Args:
        folder: of the bundle.
        outputs: of the file of ``precision`` on the images.
        suppressed: ``[20]`` bool; classes that are never predicted.
        precision: of the file.
        data: which images, for people.

    Returns:
        The part of ``bundle.json`` that describes it.
    """
    embeddings = outputs.embeddings.astype(np.float64)
    predicted = np.where(suppressed, -np.inf, outputs.logits).argmax(axis=1)
    mean = embeddings.mean(axis=0)
    class_means = np.tile(mean, (CLASS_COUNT, 1))
    for index in np.unique(predicted):
        class_means[index] = embeddings[predicted == index].mean(axis=0)
    path = folder / FILE_NAME
    np.savez_compressed(path, mean=mean.astype(np.float32), class_means=class_means.astype(np.float32))
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

    Args:
        folder: of the bundle.
        data: manifest with the images.
        split: which of them; not those that the network was trained on.

    Raises:
        BundleError: the bundle cannot be loaded.
        ManifestError: the manifest cannot be read, or has no image of that split.
    """
    loaded = bundle.load(folder)
    file = loaded.file()
    images = [image for image in manifest.read(data) if image.split == split]
    if not images:
        raise ManifestError(f"{data} has no image of the split {split!r}", ["a reference needs some"])
    outputs = onnx_outputs(loaded.path(file), [image.path for image in images], f"{split} images, {file.precision}")
    described = f"{split} images of {data.name}"
    reference = write_reference(folder, outputs, loaded.description.suppressed, file.precision, described)
    description = loaded.description.model_copy(update={"reference": reference})
    bundle.write(folder, description)
    triton.write(folder, description)
    return reference


def _root_mean_square(differences: NDArray[np.float64]) -> float:
    """Of the lengths of the rows; never quite 0, so that it can be divided by."""
    return max(float(np.sqrt((differences**2).sum(axis=1).mean())), 1e-6)
