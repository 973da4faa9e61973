"""All figures of an evaluation as one typed object, written to ``metrics.json``."""

from collections.abc import Iterable, Sequence

import numpy as np
from numpy.typing import NDArray

from contract.classes import CELL_CLASSES, HAIRY_CELL, CellClass
from contract.description import ClassEvidence, Evidence
from training.evaluation.metrics import expert_labelled
from training.evaluation.predictions import Predictions
from training.evaluation.results import Proportion, Record, share


class ClassMeasures(Record):
    """Figures of one class; ``recall`` is ``None`` without images of it, ``precision`` where it was never predicted."""

    name: str
    evidence: Evidence
    training_images: int
    images: int
    predicted: int
    recall: Proportion | None
    precision: Proportion | None


class HairyMeasures(Record):
    """How well hairy cells are told from other cells, with exact intervals.

    Attributes:
        rule: what counts as called hairy: the largest probability of the 20, or a probability from the flag's
            threshold on, which is what a user of the service sees.
        recall: of all hairy cells.
        precision: of all cells called hairy, the negatives being all other classes.
        false_calls: share of all other cells that are called hairy.
        precision_on_hairy_slides: the same with the negatives of set C only: other cells from the sources of the
            hairy cells. A network that names the source and not the cell has a high precision over all negatives and
            a low one here.
        false_calls_on_hairy_slides: share of set C that is called hairy.
    """

    rule: str
    recall: Proportion | None
    precision: Proportion | None
    false_calls: Proportion | None
    precision_on_hairy_slides: Proportion | None
    false_calls_on_hairy_slides: Proportion | None


class Measures(Record):
    """The figures of a network on the images of a split.

    Attributes:
        trained_on: images that the network was trained on.
        validated_with: images that temperature and thresholds were fitted on.
        loss: cross-entropy in nats of the softmax as it is, as in the thesis.
        calibrated_loss: the same after temperature scaling.
        macro_f1: mean over the classes that occur.
        calibration_error: expected calibration error after temperature scaling, 15 bins.
        calibration_error_before: the same at temperature 1.
        hairy: empty where the network was never trained on hairy cells.
        by_source: accuracy on the images of each source.
        unfamiliar: share of unfamiliar images of each source; empty where the network does not tell.
        by_set: accuracy on each of the sets A, B, C and D.
        expert_labelled: accuracy on the Barcelona images (source ``pbc``) of the ten classes that experts labelled.
        confusions: (true, predicted, images), the commonest first.
    """

    network: str
    network_sha256: str
    split: str
    images: int
    left_out: dict[str, int]
    trained_on: int
    validated_with: int
    accuracy: Proportion
    loss: float
    calibrated_loss: float
    macro_f1: float
    calibration_error: float
    calibration_error_before: float
    temperature: float
    hairy_threshold: float | None
    fitted_on: str
    classes: tuple[ClassMeasures, ...]
    hairy: tuple[HairyMeasures, ...]
    by_source: dict[str, Proportion]
    unfamiliar: dict[str, Proportion]
    by_set: dict[str, Proportion]
    expert_labelled: Proportion | None
    confusions: tuple[tuple[str, str, int], ...]


def measure(predictions: Predictions, classes: Sequence[ClassEvidence]) -> Measures:
    calibrated, raw, fitted = predictions.evaluation, predictions.uncalibrated, predictions.fitted
    hits, sources = calibrated.predicted == calibrated.labels, [image.source for image in predictions.images]
    return Measures(
        network=predictions.network,
        network_sha256=predictions.network_sha256,
        split=predictions.split,
        images=len(predictions.images),
        left_out=dict(predictions.left_out),
        trained_on=predictions.seen_as.count("train"),
        validated_with=predictions.seen_as.count("val"),
        accuracy=calibrated.accuracy,
        loss=raw.loss,
        calibrated_loss=calibrated.loss,
        macro_f1=calibrated.macro_f1,
        calibration_error=calibrated.calibration_error,
        calibration_error_before=raw.calibration_error,
        temperature=fitted.temperature,
        hairy_threshold=fitted.hairy_threshold,
        fitted_on=fitted.basis,
        classes=tuple(_of_class(predictions, cell, classes[cell.index]) for cell in CELL_CLASSES),
        hairy=tuple(_hairy(predictions)),
        by_source=_by(sources, hits),
        unfamiliar={} if predictions.novelty is None else _by(sources, predictions.novelty > 1),
        by_set=_by(predictions.sets, hits),
        expert_labelled=share(hits[expert_labelled(predictions.images)]),
        confusions=tuple(calibrated.commonest_confusions()),
    )


def _by(names: Sequence[str], hits: NDArray[np.bool_]) -> dict[str, Proportion]:
    chosen = {name: hits[np.array(names) == name] for name in sorted(set(names))}
    return {name: Proportion.of(int(own.sum()), len(own)) for name, own in chosen.items()}


def _of_class(predictions: Predictions, cell: CellClass, evidence: ClassEvidence) -> ClassMeasures:
    true, named = predictions.labels == cell.index, predictions.evaluation.predicted == cell.index
    return ClassMeasures(
        name=cell.name,
        evidence=evidence.evidence,
        training_images=evidence.training_images,
        images=int(true.sum()),
        predicted=int(named.sum()),
        recall=share(named[true]),
        precision=share(true[named]),
    )


def _hairy(predictions: Predictions) -> Iterable[HairyMeasures]:
    if predictions.suppressed[HAIRY_CELL.index]:
        return
    evaluation = predictions.evaluation
    yield _hairy_by("largest probability", evaluation.predicted == HAIRY_CELL.index, predictions)
    if (threshold := predictions.fitted.hairy_threshold) is not None:
        called = evaluation.probabilities[:, HAIRY_CELL.index] >= threshold
        yield _hairy_by(f"flag, probability from {threshold:.4g} on", called, predictions)


def _hairy_by(rule: str, called: NDArray[np.bool_], predictions: Predictions) -> HairyMeasures:
    hairy = predictions.labels == HAIRY_CELL.index
    # A look-alike of set D may be a hairy cell: it is neither right nor wrong to call it one.
    same_slides = predictions.of_set("C")
    others = ~hairy & (predictions.of_set("B") | same_slides)

    def exact(hits: NDArray[np.bool_]) -> Proportion | None:
        return share(hits, "Clopper-Pearson")

    return HairyMeasures(
        rule=rule,
        recall=exact(called[hairy]),
        precision=exact(hairy[called & (hairy | others)]),
        false_calls=exact(called[others]),
        precision_on_hairy_slides=exact(hairy[called & (hairy | same_slides)]) if same_slides.any() else None,
        false_calls_on_hairy_slides=exact(called[same_slides]),
    )
