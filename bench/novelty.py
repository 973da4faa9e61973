"""``hal bench novelty``: ways of telling unfamiliar images, side by side on what one network gives.

Each gives a score that rises with unfamiliarity and is fitted on training images; its threshold is the bundle's
quantile of the real validation images, each source with the same weight.
"""

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from types import MappingProxyType
from typing import Final

import numpy as np
from numpy.typing import NDArray
from rich.console import Console
from rich.table import Table
from scipy.special import logsumexp, softmax
from sklearn.covariance import LedoitWolf
from sklearn.metrics import roc_auc_score
from sklearn.neighbors import NearestNeighbors

from contract.novelty import fit_subspace
from training.data import manifest
from training.data.manifest import LabelledImage, ManifestError
from training.evaluation.evaluate import open_network
from training.evaluation.metrics import of_kind
from training.evaluation.onnx_inference import Outputs
from training.export.novelty import COMPONENTS, FAMILIAR_RATE, balanced, quantile, subspace_images

NEIGHBOURS: Final = 5

Score = Callable[[Outputs], NDArray[np.floating]]
Detector = Callable[[Outputs, NDArray[np.int64], NDArray[np.str_]], Score]
"""From outputs, class indices and sources of training images to the score of others. Shape of a score: ``(n,)``."""


def residual(learned: Outputs, _labels: NDArray[np.int64], sources: NDArray[np.str_]) -> Score:
    """Distance from the principal subspace of the training images' features: what bundles use."""
    basis = fit_subspace(learned.features, sources, min(COMPONENTS, len(sources) - 1))
    return lambda shown: basis.scores(shown.features)


def residual_of_embedding(learned: Outputs, _labels: NDArray[np.int64], sources: NDArray[np.str_]) -> Score:
    """The same without the middle flow."""
    basis = fit_subspace(learned.embeddings, sources, min(COMPONENTS, len(sources) - 1))
    return lambda shown: basis.scores(shown.embeddings)


def neighbour(learned: Outputs, _labels: NDArray[np.int64], _sources: NDArray[np.str_]) -> Score:
    """Distance from the fifth nearest training embedding (Sun et al. 2022, "Out-of-Distribution Detection with Deep
    Nearest Neighbors").
    """
    near = NearestNeighbors(n_neighbors=min(NEIGHBOURS, len(learned.embeddings))).fit(learned.embeddings)
    return lambda shown: near.kneighbors(shown.embeddings)[0][:, -1]


def mahalanobis(learned: Outputs, labels: NDArray[np.int64], _sources: NDArray[np.str_]) -> Score:
    """Smallest Mahalanobis distance from a class's mean embedding, one covariance for all classes, shrunk as Ledoit and
    Wolf do (Lee et al. 2018, "A Simple Unified Framework for Detecting Out-of-Distribution Samples").
    """
    classes, which = np.unique(labels, return_inverse=True)
    means = np.stack([learned.embeddings[which == each].mean(axis=0) for each in range(len(classes))])
    precision = LedoitWolf(assume_centered=True).fit(learned.embeddings - means[which]).precision_

    def score(shown: Outputs) -> NDArray[np.floating]:
        apart = [shown.embeddings - mean for mean in means]
        squared = [np.einsum("nd,nd->n", each @ precision, each) for each in apart]
        return np.asarray(np.sqrt(np.min(squared, axis=0)))

    return score


def energy(_learned: Outputs, _labels: NDArray[np.int64], _sources: NDArray[np.str_]) -> Score:
    """Free energy of the logits (Liu et al. 2020, "Energy-based Out-of-distribution Detection")."""
    return lambda shown: np.asarray(-logsumexp(shown.logits, axis=1))


def confidence(_learned: Outputs, _labels: NDArray[np.int64], _sources: NDArray[np.str_]) -> Score:
    """One less the largest probability (Hendrycks and Gimpel 2017)."""
    return lambda shown: 1 - softmax(shown.logits, axis=1).max(axis=1)


DETECTORS: Final[Mapping[str, Detector]] = MappingProxyType(
    {
        "residual": residual,
        "residual, embedding only": residual_of_embedding,
        f"nearest neighbour {NEIGHBOURS}": neighbour,
        "Mahalanobis": mahalanobis,
        "energy": energy,
        "largest probability": confidence,
    }
)


def bench_novelty(folder: Path, data: Path, elsewhere: Sequence[Path]) -> None:
    """Print for each detector the share of test images and of other data sets that are unfamiliar to it, and AUROC.

    Args:
        folder: of a bundle or of a run.
        data: manifest that the network was made of.
        elsewhere: manifests of data sets that were never trained on.

    Raises:
        BundleError, RunError: the network cannot be loaded.
        ManifestError: a manifest cannot be read, or lacks images of a split.
        ImageError: an image cannot be read.
    """
    network = open_network(folder)
    images = manifest.read(data)
    real = [image for image, kind in zip(images, of_kind(images), strict=True) if kind == "real"]
    trained = subspace_images(images, network.recipe["seed"])
    known = [image for image in real if image.split == "val"]
    sets = {"test": [image for image in real if image.split == "test"]}
    sets |= {path.stem: manifest.read(path) for path in elsewhere}
    if not (len(trained) > 1 and known and sets["test"]):
        counted = f"{len(trained)} training, {len(known)} real validation and {len(sets['test'])} real test images"
        raise ManifestError(f"{data} has {counted}", ["expected some of each: give the network's own manifest"])

    def outputs(of: Sequence[LabelledImage], what: str) -> Outputs:
        return network.outputs([image.path for image in of], what)

    learned, validated = outputs(trained, "training images"), outputs(known, "validation images")
    shown = {name: outputs(of, f"images of {name}") for name, of in sets.items()}
    labels = np.array([image.class_index for image in trained])
    weights = balanced(sources_of(known))
    table = Table(
        "Detector", *(f"{name}: unfamiliar{', AUROC' * (name != 'test')}" for name in sets),
        title=f"{network.name}; "
        + ", ".join(f"{name} {len(of)} images" for name, of in sets.items()),
    )  # fmt: skip
    for name, detector in DETECTORS.items():
        score = detector(learned, labels, sources_of(trained))
        threshold = quantile(score(validated), weights, 1 - FAMILIAR_RATE)
        scores = {place: score(of) for place, of in shown.items()}
        table.add_row(name, *(told(scores["test"], each, threshold) for each in scores.values()))
    Console().print(table)


def sources_of(images: Sequence[LabelledImage]) -> NDArray[np.str_]:
    return np.array([image.source for image in images])


def told(familiar: NDArray[np.floating], scores: NDArray[np.floating], threshold: float) -> str:
    """Share above the threshold in per cent; for others than the familiar images also the area under the ROC curve."""
    share = f"{100 * np.mean(scores > threshold):.1f} %"
    if scores is familiar:
        return share
    truth = np.repeat([0, 1], [len(familiar), len(scores)])
    return f"{share}, {roc_auc_score(truth, np.concatenate([familiar, scores])):.3f}"
