"""The subspace, the threshold and the second temperature by which a bundle tells unfamiliar images.

What laboratories elsewhere do to images is not known when a bundle is made. So the second temperature is fitted on
shifted validation images: the same cells at another scale and in two photometric styles
(:mod:`training.networks.styles`) at once, which is more than the network saw in training. It is the one at which all of
them together have the smallest calibration error: those that pass as familiar keep the first temperature and are
believed too much, which the unfamiliar ones make up for.
"""

import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from contract import bundle
from contract.bundle import sha256_of
from contract.decision import temperatures
from contract.description import BundleDescription, Calibration
from contract.novelty import NoveltyBasis, fit_subspace
from contract.parts import Novelty, Precision
from contract.pixels import fit
from training.data import manifest
from training.data.images import scaled
from training.data.manifest import LabelledImage, ManifestError
from training.evaluation.conditions import Change
from training.evaluation.metrics import of_kind
from training.evaluation.onnx_inference import Outputs, onnx_outputs
from training.evaluation.results import Evaluation
from training.export import model_card
from training.export.middle_flow import with_middle_flow

FILE_NAME: Final = "novelty.npz"
COMPONENTS: Final = 64
"""Of models/hal-c/3, 64 and 128 components differ by less than 0.01 in AUROC."""
FAMILIAR_RATE: Final = 0.02
IMAGES_OF_A_SOURCE: Final = 1000
FEWEST_UNFAMILIAR: Final = 50
"""With fewer unfamiliar ones among them, the second temperature is fitted as that of all shifted validation images."""
HOTTEST: Final = 8.0
"""Times the first temperature: the largest second one."""
LARGEST_SCALE: Final = 1.8
"""Shifted images are up to so many times as large, or as small."""


def subspace_images(images: Sequence[LabelledImage], seed: int) -> list[LabelledImage]:
    """Training images to fit the subspace on: at most :data:`IMAGES_OF_A_SOURCE` of each source, at random."""
    generator = np.random.default_rng(seed)
    training = [image for image in images if image.split == "train"]
    chosen = []
    for source in sorted({image.source for image in training}):
        found = [image for image in training if image.source == source]
        order = generator.permutation(len(found))[:IMAGES_OF_A_SOURCE]
        chosen += [found[index] for index in sorted(order)]
    return chosen


def write_novelty(
    folder: Path,
    training: tuple[NDArray[np.float32], NDArray[np.str_]],
    validation: tuple[NDArray[np.float32], NDArray[np.str_]],
    precision: Precision,
) -> Novelty:
    """Fit the subspace and its threshold, write the subspace into a bundle's folder and describe it.

    Args:
        training: features ``(n, d)`` of training images and the source of each, by the file of ``precision``.
        validation: the same of validation images, which set the threshold.

    Raises:
        ValueError: there are fewer training images than components.
    """
    basis = fit_subspace(*training, components=min(COMPONENTS, len(training[0]) - 1))
    path = folder / FILE_NAME
    write_basis(path, basis)
    distances = basis.scores(validation[0])
    # Images without any distance, as of features that are all the same, are familiar.
    threshold = max(quantile(distances, balanced(validation[1]), 1 - FAMILIAR_RATE), 1e-6)
    return Novelty(
        path=path.name,
        sha256=sha256_of(path),
        precision=precision,
        components=len(basis.components),
        images=len(training[0]),
        threshold=threshold,
        familiar_rate=FAMILIAR_RATE,
        validation_images=len(distances),
    )


def fit_novelty(
    folder: Path,
    graph: Path,
    precision: Precision,
    images: Sequence[LabelledImage],
    calibration: Calibration,
    suppressed: NDArray[np.bool_],
    seed: int,
) -> tuple[Novelty, Calibration]:
    """Fit all of it on a network's images and write the subspace into a bundle's folder.

    Images of split ``train`` fit the subspace, real ones of ``val`` the rest.

    Args:
        graph: the ONNX file of ``precision``.
        calibration: of the bundle, with the temperature of familiar images.
        seed: of the choice of images and of their shifts.

    Raises:
        ManifestError: there are too few images.
        ImageError: an image cannot be read.
    """
    trained = subspace_images(images, seed)
    real = of_kind(images) == "real"
    held_out = [image for image, kept in zip(images, real, strict=True) if kept and image.split == "val"]
    if len(trained) < 2 or not held_out:
        raise ManifestError(
            f"{len(trained)} training images and {len(held_out)} real validation images",
            ["unfamiliar images are told by some of both (splits 'train' and 'val')"],
        )

    def outputs(of: Sequence[LabelledImage], what: str, change: Change | None = None) -> Outputs:
        return onnx_outputs(graph, [image.path for image in of], f"{what}, {precision}", change)

    learned, familiar = outputs(trained, "training images"), outputs(held_out, "validation images")
    sources, known = (np.array([image.source for image in of]) for of in (trained, held_out))
    novelty = write_novelty(folder, (learned.features, sources), (familiar.features, known), precision)
    shifted = outputs(held_out, "shifted validation images", shift(seed))
    scores = basis_of(folder, novelty).scores
    labels = np.array([image.class_index for image in held_out], dtype=np.int64)
    calibration = with_second_temperature(calibration, shifted.logits, scores(shifted.features), labels, suppressed)
    served = temperatures(scores(familiar.features), calibration.temperature, calibration.unfamiliar_temperature)
    after = Evaluation.at(familiar.logits, labels, served, suppressed).calibration_error
    return novelty, calibration.model_copy(update={"ece_after": after})


def write_basis(path: Path, basis: NoveltyBasis) -> None:
    np.savez_compressed(path, mean=basis.mean, weights=basis.weights, components=basis.components)


def basis_of(folder: Path, novelty: Novelty) -> NoveltyBasis:
    """What was written into the folder of a bundle that is not complete yet."""
    with np.load(folder / novelty.path) as arrays:
        return NoveltyBasis(arrays["mean"], arrays["weights"], arrays["components"], novelty.threshold)


def with_second_temperature(
    calibration: Calibration,
    logits: NDArray[np.float32],
    novelty: NDArray[np.float32],
    labels: NDArray[np.int64],
    suppressed: NDArray[np.bool_],
) -> Calibration:
    """A calibration whose unfamiliar images have a temperature of their own, never below that of familiar ones.

    Args:
        logits: of shifted validation images. Shape: ``(n, 20)``.
        novelty: their scores. Shape: ``(n,)``.
        labels: their class indices. Shape: ``(n,)``.
    """
    familiar = calibration.temperature

    def error(scores: NDArray[np.float32], second: float) -> float:
        both = temperatures(scores, familiar, second)
        return Evaluation.at(logits, labels, both, suppressed).calibration_error

    few = np.count_nonzero(novelty > 1) < FEWEST_UNFAMILIAR
    fitted_on = np.full_like(novelty, np.inf) if few else novelty
    second = min(familiar * np.geomspace(1, HOTTEST, 100), key=lambda each: error(fitted_on, each)).item()
    changes = {
        "id": f"temperature-{familiar:.4f}-unfamiliar-{second:.4f}",
        "unfamiliar_temperature": second,
        "shifted_images": len(labels),
        "shifted_ece_before": error(novelty, familiar),
        "shifted_ece_after": error(novelty, second),
    }
    return calibration.model_copy(update=changes)


def shift(seed: int) -> Change:
    """Each image at the next scale and in the next two of the styles that views get in training."""
    # Imported when needed: all else here, and 'hal adapt', does without TensorFlow.
    from training.networks.styles import PhotometricStyle

    style, generator = PhotometricStyle(seed), np.random.default_rng(seed)

    def change(pixels: NDArray[np.uint8]) -> NDArray[np.uint8]:
        factor = LARGEST_SCALE ** generator.uniform(-1, 1)
        shifted = fit(scaled(pixels, factor))[np.newaxis].astype(np.float32)
        for _ in range(2):
            shifted = style(shifted, training=True)
        return np.asarray(np.clip(np.rint(shifted[0]), 0, 255), np.uint8)

    return change


def add_novelty(folder: Path, data: Path, version: str | None = None) -> BundleDescription:
    """Let a bundle tell unfamiliar images, or fit anew how it does; its weights stay as they are.

    Its files get the output ``middle_flow`` (:mod:`training.export.middle_flow`) if they lack it. All is made beside
    them and takes their place in the end: what is served meanwhile should be a copy.
    Hairy threshold, review limits and the figures of validation images stay those of the export.

    Args:
        data: manifest that it was made of.
        version: of the bundle from now on, since its answers change; ``None`` keeps the present one.

    Raises:
        BundleError: the bundle cannot be loaded.
        ManifestError: the manifest cannot be read, or has too few images.
        ImageError: an image cannot be read.
    """
    loaded = bundle.load(folder)
    before, file = loaded.description, loaded.file()
    known = {entry.name for entry in before.classes if entry.training_images}
    images = [image for image in manifest.read(data) if image.label in known]
    seed = before.provenance.seed
    with tempfile.TemporaryDirectory(dir=folder, prefix=".novelty-") as temporary:
        scratch = Path(temporary)
        description = with_middle_flow(folder, before, scratch)
        written = scratch / file.path
        graph = written if written.exists() else loaded.path(file)
        novelty, calibration = fit_novelty(
            scratch, graph, file.precision, images, before.calibration, before.suppressed, seed
        )
        for path in scratch.iterdir():
            path.replace(folder / path.name)
    changes = {"novelty": novelty, "calibration": calibration, "version": version or before.version}
    description = description.model_copy(update=changes)
    model_card.rewrite(folder, description)
    return description


def balanced(groups: NDArray[Any]) -> NDArray[np.float64]:
    """Weights that give each source, or class, the same share; their sum is 1, or 0 of nothing. Shape: ``(n,)``."""
    _, which, counts = np.unique(groups, return_inverse=True, return_counts=True)
    return np.asarray(1.0 / (counts[which] * max(len(counts), 1)))


def quantile(values: NDArray[np.float32], weights: NDArray[np.float64], share: float) -> float:
    """The smallest value that at least ``share`` of the weight does not exceed."""
    order = np.argsort(values)
    reached = np.searchsorted(np.cumsum(weights[order]), share - 1e-9)
    return float(values[order[min(int(reached), len(values) - 1)]])
