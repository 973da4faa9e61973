"""All figures of an evaluation as one typed object, written to ``metrics.json``."""

from collections import Counter
from collections.abc import Iterable, Sequence
from typing import Final, Literal

import numpy as np
from numpy.typing import NDArray

from contract.classes import CELL_CLASSES, HAIRY_CELL, CellClass
from contract.description import ClassEvidence, Evidence
from training.evaluation.metrics import EXPERT_LABELLED
from training.evaluation.predictions import Predictions
from training.evaluation.results import Proportion, Record

FILE_NAME: Final = "metrics.json"
Method = Literal["Wilson", "Clopper-Pearson"]


class Ratio(Record):
    """``hits`` of ``images`` and the 95 % interval of their share."""

    value: float
    hits: int
    images: int
    interval95: tuple[float, float]
    method: Method

    @classmethod
    def of(cls, hits: int, images: int, method: Method = "Wilson") -> "Ratio | None":
        """``None`` of no images."""
        if images == 0:
            return None
        proportion = Proportion(hits, images)
        interval = proportion.interval95 if method == "Wilson" else proportion.exact95
        return cls(value=proportion.value, hits=hits, images=images, interval95=interval, method=method)

    def __str__(self) -> str:
        low, high = self.interval95
        return f"{self.value:.4f} [{low:.4f}, {high:.4f}] ({self.hits} of {self.images})"


class ClassMeasures(Record):
    """Figures of one class; ``recall`` is ``None`` without images of it, ``precision`` where it was never predicted."""

    name: str
    evidence: Evidence
    training_images: int
    images: int
    predicted: int
    recall: Ratio | None
    precision: Ratio | None


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
    recall: Ratio | None
    precision: Ratio | None
    false_calls: Ratio | None
    precision_on_hairy_slides: Ratio | None
    false_calls_on_hairy_slides: Ratio | None


class Measures(Record):
    """The figures of a network on the images of a split.

    Attributes:
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
        trained_on: images that the network was trained on.
        validated_with: images that temperature and thresholds were fitted on.
    """

    network: str
    network_sha256: str
    split: str
    images: int
    left_out: dict[str, int]
    trained_on: int
    validated_with: int
    accuracy: Ratio
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
    by_source: dict[str, Ratio]
    unfamiliar: dict[str, Ratio]
    by_set: dict[str, Ratio]
    expert_labelled: Ratio | None
    confusions: tuple[tuple[str, str, int], ...]


def measure(predictions: Predictions, classes: Sequence[ClassEvidence]) -> Measures:
    """Every figure of an evaluation."""
    calibrated, raw = predictions.evaluation, predictions.uncalibrated
    hits = calibrated.predicted == calibrated.labels
    accuracy, sources = _share(hits), [image.source for image in predictions.images]
    assert accuracy is not None  # noqa: S101  Evaluation refuses to be of no images
    return Measures(
        network=predictions.network,
        network_sha256=predictions.network_sha256,
        split=predictions.split,
        images=len(predictions.images),
        left_out=dict(predictions.left_out),
        trained_on=predictions.seen_as.count("train"),
        validated_with=predictions.seen_as.count("val"),
        accuracy=accuracy,
        loss=raw.loss,
        calibrated_loss=calibrated.loss,
        macro_f1=calibrated.macro_f1,
        calibration_error=calibrated.calibration_error,
        calibration_error_before=raw.calibration_error,
        temperature=predictions.fitted.temperature,
        hairy_threshold=predictions.fitted.hairy_threshold,
        fitted_on=predictions.fitted.basis,
        classes=tuple(_of_class(predictions, cell, classes[cell.index]) for cell in CELL_CLASSES),
        hairy=tuple(_hairy(predictions)),
        by_source=_by(sources, hits),
        unfamiliar={} if predictions.novelty is None else _by(sources, predictions.novelty > 1),
        by_set=_by(predictions.sets, hits),
        expert_labelled=_share(hits[[i.source == "pbc" and i.label in EXPERT_LABELLED for i in predictions.images]]),
        confusions=tuple(calibrated.commonest_confusions(12)),
    )


def _share(hits: NDArray[np.bool_], method: Method = "Wilson") -> Ratio | None:
    return Ratio.of(int(hits.sum()), len(hits), method)


def _by(names: Sequence[str], hits: NDArray[np.bool_]) -> dict[str, Ratio]:
    of_name = np.array(names)
    shares = {name: _share(hits[of_name == name]) for name in sorted(Counter(names))}
    return {name: share for name, share in shares.items() if share is not None}


def _of_class(predictions: Predictions, cell: CellClass, evidence: ClassEvidence) -> ClassMeasures:
    true, named = predictions.labels == cell.index, predictions.evaluation.predicted == cell.index
    return ClassMeasures(
        name=cell.name,
        evidence=evidence.evidence,
        training_images=evidence.training_images,
        images=int(true.sum()),
        predicted=int(named.sum()),
        recall=_share(named[true]),
        precision=_share(true[named]),
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
    others, same_slides = ~hairy & predictions.of_set("B", "C"), predictions.of_set("C")

    def precision(negatives: NDArray[np.bool_]) -> Ratio | None:
        return _share(hairy[called & (hairy | negatives)], "Clopper-Pearson")

    return HairyMeasures(
        rule=rule,
        recall=_share(called[hairy], "Clopper-Pearson"),
        precision=precision(others),
        false_calls=_share(called[others], "Clopper-Pearson"),
        precision_on_hairy_slides=precision(same_slides) if same_slides.any() else None,
        false_calls_on_hairy_slides=_share(called[same_slides], "Clopper-Pearson"),
    )
