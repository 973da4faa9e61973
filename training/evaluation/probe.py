"""The shortcut probe: can the source of a cell be told from its embedding, among cells of one class?

The thesis's first networks had learned to tell databases apart and not cells (section 4.4). Cells of one class
differ between sources by what is not the cell: stain, camera, compression. If a linear classifier names the source from
the embedding, that information reaches the classifier head, which can use it as a shortcut wherever class and source go
together in the training images.
"""

from collections import Counter
from collections.abc import Iterable, Sequence
from typing import Final

import numpy as np
from numpy.typing import NDArray
from scipy.stats import t as student
from sklearn import config_context
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import balanced_accuracy_score, roc_auc_score
from sklearn.model_selection import StratifiedGroupKFold, StratifiedKFold

from contract.classes import CLASS_NAMES
from training.data.manifest import LabelledImage
from training.evaluation.results import Record
from training.progress import track

FEWEST: Final = 10
"""Images of a source below which it is not probed."""
MOST: Final = 200
"""Images of a source and class that are probed, drawn by the seed."""
FOLDS: Final = 5
REPEATS: Final = 5
PENALTY: Final = 10.0
"""Inverse of the strength of the l2 penalty."""

APART: Final = "told apart well"
PARTLY_APART: Final = "told apart in part"
NOT_APART: Final = "not told apart"


class ClassProbe(Record):
    """What the probe found in one class.

    Attributes:
        outcome: "told apart well", "told apart in part", "not told apart", "one source only" or "too few images".
        balanced_accuracy: mean recall of the sources, by images that the probe was not fitted on; ``None`` where
            nothing could be probed, as the fields below.
        area_under_curve: of the ROC curve (mean of one against the rest for more than two sources), 0.5 by chance.
    """

    name: str
    sources: dict[str, int]
    outcome: str
    verdict: str
    balanced_accuracy: float | None = None
    interval95: tuple[float, float] | None = None
    chance: float | None = None
    area_under_curve: float | None = None
    grouped_by_slide: bool | None = None


class ProbeReport(Record):
    """The probe of every class that occurs, and the verdict of all."""

    classes: tuple[ClassProbe, ...]
    verdict: str


def probe(embeddings: NDArray[np.float32], images: Sequence[LabelledImage], seed: int = 2022) -> ProbeReport:
    """Probe every class by l2-normalised embeddings.

    The interval is that of repeated cross-validation, corrected for the overlap of its training parts (Nadeau and
    Bengio 2003, "Inference for the Generalization Error").
    """
    labels = np.array([image.class_index for image in images])
    everywhere = sorted({image.source for image in images})
    classes = []
    with track("shortcut probe", len(images)) as advance:
        for index in np.unique(labels):
            chosen = np.flatnonzero(labels == index)
            of_class = [images[i] for i in chosen.tolist()]
            classes.append(_probe_class(CLASS_NAMES[index], embeddings[chosen], of_class, len(everywhere) > 1, seed))
            advance(len(chosen))
    return ProbeReport(classes=tuple(classes), verdict=" ".join(_verdict(classes, everywhere)))


def _probe_class(
    name: str, embeddings: NDArray[np.float32], images: Sequence[LabelledImage], other_sources: bool, seed: int
) -> ClassProbe:
    counts = dict(sorted(Counter(image.source for image in images).items()))
    probed = [source for source, count in counts.items() if count >= FEWEST]
    if len(counts) == 1:
        (source,) = counts
        warning = "; other classes have other sources, so the source may name the class" if other_sources else ""
        verdict = f"Cannot be told: class {name} comes from one source only ({source}){warning}."
        return ClassProbe(name=name, sources=counts, outcome="one source only", verdict=verdict)
    if len(probed) < 2:
        verdict = f"Cannot be told: {name} has fewer than two sources with at least {FEWEST} images each."
        return ClassProbe(name=name, sources=counts, outcome="too few images", verdict=verdict)

    generator = np.random.default_rng(seed)
    of_source = np.array([image.source for image in images])
    drawn = np.concatenate([generator.permutation(np.flatnonzero(of_source == source))[:MOST] for source in probed])
    target = np.searchsorted(probed, of_source[drawn])
    groups = _slides([images[i] for i in drawn.tolist()], target)
    with config_context(assume_finite=True, skip_parameter_validation=True):
        scores, areas = _cross_validate(_rotated(embeddings[drawn]), target, groups, seed)
    mean, interval = _corrected_interval(scores)
    chance = 1 / len(probed)
    if interval[0] <= chance:
        outcome, words = NOT_APART, "not told apart beyond chance"
    elif mean >= chance + (1 - chance) / 2:
        outcome, words = APART, "told apart well, so a shortcut by the source is open"
    else:
        outcome, words = PARTLY_APART, "told apart in part, so a shortcut by the source is possible"
    among = f"{', '.join(probed[:-1])} and {probed[-1]}"
    return ClassProbe(
        name=name,
        sources=counts,
        outcome=outcome,
        verdict=f"{name}: {among} are {words} (balanced accuracy {mean:.2f}, chance {chance:.2f}).",
        balanced_accuracy=mean,
        interval95=interval,
        chance=chance,
        area_under_curve=float(np.mean(areas)),
        grouped_by_slide=groups is not None,
    )


def _slides(images: Sequence[LabelledImage], target: NDArray[np.int64]) -> NDArray[np.str_] | None:
    """Slide of each image, where all are known and each source has at least two to hold out in turn."""
    slides = np.array([f"{image.source}/{image.slide_id}" for image in images])
    enough = all(len(np.unique(slides[target == source])) >= 2 for source in np.unique(target))
    return slides if enough and all(image.slide_id for image in images) else None


def _rotated(embeddings: NDArray[np.float32]) -> NDArray[np.float64]:
    """Centred, scaled and turned into as few dimensions as there are images, which changes no distance."""
    centred = embeddings.astype(np.float64) - embeddings.mean(axis=0, dtype=np.float64)
    variances, axes = np.linalg.eigh(centred @ centred.T)
    turned = axes * np.sqrt(variances.clip(0))
    scale = np.sqrt((turned**2).sum(axis=1).mean())
    return np.asarray(turned / scale if scale > 1e-9 else np.zeros_like(turned))


def _cross_validate(
    features: NDArray[np.float64], target: NDArray[np.int64], groups: NDArray[np.str_] | None, seed: int
) -> tuple[list[float], list[float]]:
    """Balanced accuracy and area under the ROC curve of every fold of every repetition."""
    splitter, folds = StratifiedKFold, FOLDS
    if groups is not None:
        of_source = (len(np.unique(groups[target == source])) for source in np.unique(target))
        splitter, folds = StratifiedGroupKFold, min(FOLDS, *of_source)
    scores, areas = [], []
    for repeat in range(REPEATS):
        parts = splitter(folds, shuffle=True, random_state=seed + repeat)
        for fitted, tested in parts.split(features, target, groups):
            if len(np.unique(target[tested])) == len(np.unique(target)):
                model = classifier().fit(features[fitted], target[fitted])
                probabilities = model.predict_proba(features[tested])
                scores.append(float(balanced_accuracy_score(target[tested], probabilities.argmax(axis=1))))
                by_source = probabilities[:, 1] if probabilities.shape[1] == 2 else probabilities
                areas.append(float(roc_auc_score(target[tested], by_source, multi_class="ovr")))
    return scores, areas


def classifier() -> LogisticRegression:
    """The linear classifier of every probe, for embeddings whose mean squared distance to their mean is 1."""
    return LogisticRegression(C=PENALTY, class_weight="balanced", max_iter=500)


def _corrected_interval(scores: Sequence[float]) -> tuple[float, tuple[float, float]]:
    mean, spread = float(np.mean(scores)), float(np.var(scores, ddof=1))
    error = np.sqrt((1 / len(scores) + 1 / (FOLDS - 1)) * spread)
    reach = float(student.ppf(0.975, len(scores) - 1) * error)
    return mean, (max(mean - reach, 0.0), min(mean + reach, 1.0))


def _verdict(classes: Sequence[ClassProbe], sources: Sequence[str]) -> Iterable[str]:
    if len(sources) == 1:
        yield (
            f"All images come from one source ({sources[0]}), so the probe has nothing to tell apart. These figures "
            "say nothing about images of another laboratory."
        )
        return
    told = [each.name for each in classes if each.outcome in (APART, PARTLY_APART)]
    single = [each.name for each in classes if each.outcome == "one source only"]
    probed = sum(each.chance is not None for each in classes)
    if told:
        yield (
            f"In {len(told)} of {probed} probed classes the source of a cell can be told from its embedding alone "
            f"({', '.join(told)}): the network sees which laboratory an image comes from."
        )
    elif probed:
        yield f"In none of {probed} probed classes could the source be told from the embedding beyond chance."
    else:
        yield "No class has two sources with enough images to be probed."
    if single:
        danger = "may be recognised by that source and not by the cell" if told or not probed else "cannot be probed"
        yield f"Classes of one source only {danger}: {', '.join(single)}."
    if told or (single and not probed):
        yield "Test on images of these classes from a source that was not trained on before believing their figures."
