"""The decision rule of a bundle, chosen on its validation images and never on test images."""

from collections.abc import Sequence
from typing import Final

import numpy as np
from numpy.typing import NDArray

from contract.binomial import clopper_pearson
from contract.classes import HAIRY_CELL
from contract.description import ClassEvidence, DecisionPolicy, Evidence, FalseFlags
from training.errors import TrainingError
from training.evaluation.calibration import require_validation
from training.evaluation.results import Evaluation

CONFIDENT_ACCURACY: Final = 0.98
REVIEW_MARGIN: Final = 0.2
FALSE_FLAG_RATE: Final = 0.002
EDGE: Final = 1e-6
"""Probabilities nearer to 0 or 1 count as that near, since their log-odds mean nothing."""
ADVICE: Final = {
    Evidence.NONE: "Not answered: this bundle has never seen a hairy cell and cannot flag one. Have a qualified "
    "technologist look, and train on your own confirmed hairy cells.",
    Evidence.COMPOSITE: "This bundle learned hairy cells from composites (edited photographs of other cells), never "
    "from a real one: before any use beyond demonstration train it on your own confirmed hairy cells, for example with "
    "those of MLL23, and confirm every flag by flow cytometry.",
}


def decision_policy(
    validation: Evaluation, real: NDArray[np.bool_], classes: Sequence[ClassEvidence], split: str
) -> DecisionPolicy:
    """Threshold of the hairy flag and limits below which a technologist is asked to look.

    ``real`` tells which images are photographs as they were taken; the limits of review are chosen on these. A
    ``split`` other than ``val`` is refused.

    Raises:
        FittedOnTestError: the images are not validation images.
        PolicyError: hairy cells were trained on, but none was held out to choose the threshold by.
    """
    require_validation(split, "the decision policy")
    evidence, photographs = classes[HAIRY_CELL.index].evidence, validation.of_images(real)
    threshold, basis, false = None, "none: no hairy cell among the training images", None
    if evidence is not Evidence.NONE:
        threshold, basis = hairy_threshold(validation, split)
        data = f"real images of split {split}, which the threshold was chosen on"
        false = false_flags(photographs, threshold, data)
    return DecisionPolicy(
        version="1",
        hairy_threshold=threshold,
        hairy_threshold_basis=basis,
        hairy_advice=ADVICE.get(evidence, "A flag suggests, it does not diagnose: confirm by flow cytometry."),
        false_flags=false,
        review_below_probability=confident_from(photographs),
        review_below_margin=REVIEW_MARGIN,
    )


class PolicyError(TrainingError):
    """A rule cannot be chosen on these images."""


def hairy_threshold(validation: Evaluation, split: str) -> tuple[float, str]:
    """The threshold that finds most hairy cells while it flags at most 0.2 % of the others, and what it stands on.

    Such thresholds are an interval, from the other cell to the hairy cell that are nearest to each other; its middle,
    in log-odds, keeps the same distance from both kinds of error on cells not seen yet.

    Raises PolicyError: no hairy or no other cell among the images, or no threshold keeps within the limit.
    """
    require_validation(split, "the threshold of the hairy flag")
    hairy = validation.labels == HAIRY_CELL.index
    scores = validation.probabilities[:, HAIRY_CELL.index]
    positives, negatives = scores[hairy], np.sort(scores[~hairy])[::-1]
    if len(positives) == 0 or len(negatives) == 0:
        raise PolicyError(
            f"{len(positives)} hairy and {len(negatives)} other validation images; the threshold of the hairy flag "
            "needs both: hold some of each out in the manifest's split column"
        )
    allowed = int(FALSE_FLAG_RATE * len(negatives))
    if negatives[allowed] >= 1.0:
        raise PolicyError(
            f"{int((negatives >= 1.0).sum())} of {len(negatives)} other validation images have a probability of 1 to "
            "be hairy, so no threshold leaves them unflagged; see what was learned with 'hal evaluate RUN'"
        )
    lowest = float(np.nextafter(negatives[allowed], 1.0))
    found = positives[positives >= lowest]
    threshold = _middle(negatives, float(found.min())) if len(found) else lowest
    recall, flagged = int((positives >= threshold).sum()), int((negatives >= threshold).sum())
    return threshold, (
        f"finds most hairy validation cells while it flags at most {FALSE_FLAG_RATE:.1%} of the others: "
        f"recall {_told(recall, len(positives))}, false flags {_told(flagged, len(negatives))}"
    )


def _middle(negatives: NDArray[np.float64], hairy: float) -> float:
    """Between a hairy cell's score and that of the other cell next below it, in log-odds."""
    below = negatives[negatives < hairy]
    lower = float(below.max()) if len(below) else 0.0
    ends = np.clip([hairy, lower], EDGE, 1 - EDGE)
    odds = np.log(ends) - np.log1p(-ends)
    # The odds are clipped, so the middle of two scores near an edge may lie outside of both.
    return float(np.clip(1 / (1 + np.exp(-odds.mean())), np.nextafter(lower, 1.0), hairy))


def false_flags(evaluation: Evaluation, threshold: float, data: str) -> FalseFlags | None:
    """How many of the images that are not hairy cells ``threshold`` flags; ``None`` where all are hairy.

    ``data`` says which images they are.
    """
    others = evaluation.labels != HAIRY_CELL.index
    if not others.any():
        return None
    flagged = others & (evaluation.probabilities[:, HAIRY_CELL.index] >= threshold)
    return FalseFlags(flagged=int(flagged.sum()), cells=int(others.sum()), data=data)


def confident_from(validation: Evaluation) -> float:
    """The lowest top probability from which on at least 98 % of the validation cells are right."""
    top = validation.probabilities.max(axis=1)
    order = np.argsort(top)[::-1]
    correct = (validation.predicted == validation.labels)[order]
    accuracy = np.cumsum(correct) / np.arange(1, len(order) + 1)
    confident = np.flatnonzero(accuracy >= CONFIDENT_ACCURACY)
    return round(float(top[order[confident[-1]]]), 3) if len(confident) else 1.0


def _told(hits: int, images: int) -> str:
    """A proportion with its Clopper-Pearson 95 % interval."""
    low, high = clopper_pearson(hits, images)
    return f"{hits} of {images} (95 % interval {low:.4f} to {high:.4f})"
