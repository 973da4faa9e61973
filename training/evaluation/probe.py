"""The shortcut probe: can the source of a cell be told from its embedding, among cells of one class?

The thesis's first networks had learned to tell databases apart and not cells (section 4.4). Cells of one class
differ between sources by what is not the cell: stain, camera, compression. If a linear classifier names the source from
the embedding, that information reaches the classifier head, which can use it as a shortcut wherever class and source go
together in the training images.
"""

from collections import Counter
from collections.abc import Iterable, Sequence
from typing import Any, Final, Literal

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
"""Inverse of the strength of the l2 penalty, for embeddings whose mean squared distance to their mean is 1."""

Outcome = Literal["told apart well", "told apart in part", "not told apart", "one source only", "too few images"]


class ClassProbe(Record):
    """What the probe found in one class.

    Attributes:
        balanced_accuracy: mean recall of the sources, by images that the probe was not fitted on; ``None`` where
            nothing could be probed, as the fields below.
        area_under_curve: of the ROC curve (mean of one against the rest for more than two sources), 0.5 by chance.
    """

    name: str
    sources: dict[str, int]
    outcome: Outcome
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
    """Probe every class.

    The interval is that of repeated cross-validation, corrected for the overlap of its training parts (Nadeau and
    Bengio 2003, "Inference for the Generalization Error").

    Args:
        embeddings: l2-normalised encoder output. Shape: ``(len(images), 2048)``.
    """
    labels = [image.class_index for image in images]
    everywhere = {image.source for image in images}
    classes = []
    with track("shortcut probe", len(images)) as advance:
        for index in sorted(set(labels)):
            chosen = [position for position, label in enumerate(labels) if label == index]
            of_class = [images[i] for i in chosen]
            classes.append(_probe_class(CLASS_NAMES[index], embeddings[chosen], of_class, len(everywhere) > 1, seed))
            advance(len(chosen))
    return ProbeReport(classes=tuple(classes), verdict=_verdict(classes, sorted(everywhere)))


def _probe_class(
    name: str, embeddings: NDArray[np.float32], images: Sequence[LabelledImage], other_sources: bool, seed: int
) -> ClassProbe:
    counts = dict(sorted(Counter(image.source for image in images).items()))
    probed = [source for source, count in counts.items() if count >= FEWEST]
    if len(counts) == 1:
        source = next(iter(counts))
        warning = "; other classes have other sources, so the source may name the class" if other_sources else ""
        verdict = f"Cannot be told: class {name} comes from one source only ({source}){warning}."
        return ClassProbe(name=name, sources=counts, outcome="one source only", verdict=verdict)
    if len(probed) < 2:
        verdict = f"Cannot be told: {name} has fewer than two sources with at least {FEWEST} images each."
        return ClassProbe(name=name, sources=counts, outcome="too few images", verdict=verdict)

    generator = np.random.default_rng(seed)
    of_source = np.array([image.source for image in images])
    drawn = np.concatenate(
        [np.sort(generator.permutation(np.flatnonzero(of_source == source))[:MOST]) for source in probed]
    )
    target = np.searchsorted(probed, of_source[drawn])
    groups = _slides([images[i] for i in drawn], target)
    with config_context(assume_finite=True, skip_parameter_validation=True):
        scores, areas = _cross_validate(_rotated(embeddings[drawn]), target, groups, seed)
    mean, interval = _corrected_interval(scores)
    chance = 1 / len(probed)
    outcome, words = _judge(mean, interval, chance)
    among = " and ".join(probed) if len(probed) == 2 else f"{', '.join(probed[:-1])} and {probed[-1]}"
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


def _slides(images: Sequence[LabelledImage], target: NDArray[np.int64]) -> NDArray[Any] | None:
    """Slide of each image, where all are known and each source has at least two to hold out in turn."""
    slides = [f"{image.source}/{image.slide_id}" for image in images]
    if not all(image.slide_id for image in images):
        return None
    by_source = [len({slide for slide, t in zip(slides, target, strict=True) if t == s}) for s in np.unique(target)]
    return np.array(slides) if min(by_source) >= 2 else None


def _rotated(embeddings: NDArray[np.float32]) -> NDArray[np.float64]:
    """Centred, scaled and turned into as few dimensions as there are images, which changes no distance."""
    centred = embeddings.astype(np.float64) - embeddings.mean(axis=0, dtype=np.float64)
    variances, axes = np.linalg.eigh(centred @ centred.T)
    turned = axes * np.sqrt(variances.clip(0))
    scale = np.sqrt((turned**2).sum(axis=1).mean())
    return np.asarray(turned / scale if scale > 1e-9 else np.zeros_like(turned))


def _cross_validate(
    features: NDArray[np.float64], target: NDArray[np.int64], groups: NDArray[Any] | None, seed: int
) -> tuple[list[float], list[float]]:
    """Balanced accuracy and area under the ROC curve of every fold of every repetition."""
    splitter = StratifiedKFold if groups is None else StratifiedGroupKFold
    folds = FOLDS
    if groups is not None:
        folds = min(FOLDS, *(len(np.unique(groups[target == source])) for source in np.unique(target)))
    scores, areas = [], []
    for repeat in range(REPEATS):
        parts = splitter(folds, shuffle=True, random_state=seed + repeat)
        for fitted, tested in parts.split(features, target, groups):
            if len(np.unique(target[tested])) < len(np.unique(target)):
                continue
            model = LogisticRegression(C=PENALTY, class_weight="balanced", max_iter=500)
            model.fit(features[fitted], target[fitted])
            scores.append(float(balanced_accuracy_score(target[tested], model.predict(features[tested]))))
            areas.append(_area(target[tested], model.predict_proba(features[tested])))
    return scores, areas


def _area(target: NDArray[np.int64], probabilities: NDArray[np.float64]) -> float:
    scores = probabilities[:, 1] if probabilities.shape[1] == 2 else probabilities
    return float(roc_auc_score(target, scores, multi_class="ovr"))


def _corrected_interval(scores: Sequence[float]) -> tuple[float, tuple[float, float]]:
    mean, spread = float(np.mean(scores)), float(np.var(scores, ddof=1))
    error = np.sqrt((1 / len(scores) + 1 / (FOLDS - 1)) * spread)
    reach = float(student.ppf(0.975, len(scores) - 1) * error)
    return mean, (max(mean - reach, 0.0), min(mean + reach, 1.0))


def _judge(mean: float, interval: tuple[float, float], chance: float) -> tuple[Outcome, str]:
    if interval[0] <= chance:
        return "not told apart", "not told apart beyond chance"
    if mean >= chance + (1 - chance) / 2:
        return "told apart well", "told apart well, so a shortcut by the source is open"
    return "told apart in part", "told apart in part, so a shortcut by the source is possible"


def _verdict(classes: Sequence[ClassProbe], sources: Sequence[str]) -> str:
    if len(sources) == 1:
        return (
            f"All images come from one source ({sources[0]}), so the probe has nothing to tell apart. These figures "
            "say nothing about images of another laboratory."
        )
    return " ".join(_sentences(classes))


def _sentences(classes: Sequence[ClassProbe]) -> Iterable[str]:
    def names(*outcomes: Outcome) -> list[str]:
        return [each.name for each in classes if each.outcome in outcomes]

    told, probed = names("told apart well", "told apart in part"), [each for each in classes if each.chance is not None]
    single = names("one source only")
    if told:
        yield (
            f"In {len(told)} of {len(probed)} probed classes the source of a cell can be told from its embedding alone "
            f"({', '.join(told)}): the network sees which laboratory an image comes from."
        )
    elif probed:
        yield f"In none of {len(probed)} probed classes could the source be told from the embedding beyond chance."
    else:
        yield "No class has two sources with enough images to be probed."
    if single:
        danger = "may be recognised by that source and not by the cell" if told or not probed else "cannot be probed"
        yield f"Classes of one source only {danger}: {', '.join(single)}."
    if told or (single and not probed):
        yield "Test on images of these classes from a source that was not trained on before believing their figures."
