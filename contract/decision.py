"""From logits to an answer about one cell: one definition for evaluation and for service.

What the cells of a slide say together is in :mod:`contract.slide`.
"""

import math
from dataclasses import dataclass
from enum import StrEnum
from typing import Final

import numpy as np
from numpy.typing import ArrayLike, NDArray

from contract.classes import CELL_CLASSES, CLASS_COUNT, HAIRY_CELL, CellClass
from contract.description import BundleDescription, Evidence


def calibrated_probabilities(
    logits: ArrayLike, temperature: float | NDArray[np.float64], suppressed: NDArray[np.bool_]
) -> NDArray[np.float64]:
    """``softmax(logits / temperature)`` over the classes that are not suppressed.

    Args:
        logits: Shape: ``(n, 20)``.
        temperature: above 0; above 1 softens (Guo et al. 2017). A number, or one for each row, shape ``(n, 1)``.
        suppressed: Shape: ``(20,)``; classes without evidence, which get probability exactly 0.

    Returns:
        Shape: ``(n, 20)``; each row sums to 1.

    Raises:
        ValueError: wrong shape, a logit that is not finite, a temperature that is not above 0, or no class left.
    """
    values = np.asarray(logits, dtype=np.float64)
    if values.ndim != 2 or values.shape[1] != CLASS_COUNT or suppressed.shape != (CLASS_COUNT,):
        raise ValueError(f"logits {values.shape} and suppressed {suppressed.shape}, expected (n, 20) and (20,)")
    # For one cell, the methods of arrays would take twice the time of what they call.
    if np.count_nonzero(np.isfinite(values)) < values.size:
        raise ValueError("a logit is NaN or infinite: the model or its file is broken")
    silent = np.count_nonzero(suppressed)
    if silent == CLASS_COUNT:
        raise ValueError("every class is suppressed: the bundle has no class with evidence")
    lowest = temperature if isinstance(temperature, float | int) else temperature.min()
    if not lowest > 0:
        raise ValueError(f"temperature {temperature}, expected a number above 0")
    kept = np.where(suppressed, -np.inf, values) if silent else values
    # The maximum goes first: after the division it could be infinite, and infinity minus itself is not a number.
    exponentials = np.exp((kept - np.maximum.reduce(kept, axis=1, keepdims=True)) / temperature)
    exponentials /= np.add.reduce(exponentials, axis=1, keepdims=True)
    return np.asarray(exponentials)


class ReviewCode(StrEnum):
    """Why a technologist should look at this cell."""

    UNFAMILIAR_IMAGE = "unfamiliar_image"
    HAIRY_CELL = "hairy_cell"
    MUST_CONFIRM = "must_confirm"
    LOW_CONFIDENCE = "low_confidence"
    CLOSE_RUNNER_UP = "close_runner_up"
    WEAK_EVIDENCE = "weak_evidence"


@dataclass(frozen=True, slots=True)
class ReviewReason:
    """A reason for review: a code for software and a sentence for people."""

    code: ReviewCode
    message: str


@dataclass(frozen=True, slots=True)
class HairyDecision:
    """The hairy-cell part of an answer.

    Both are ``None`` when the bundle has no evidence for the hairy class: the question was not answered, which is not
    the same as "no". The threshold of the flag is :attr:`contract.description.DecisionPolicy.hairy_threshold`.
    """

    probability: float | None
    flag: bool | None


@dataclass(frozen=True, slots=True)
class NoveltyDecision:
    """Whether the image looks like those that the network learned from.

    Attributes:
        score: distance from the training images in units of the threshold.
        unfamiliar: the score is above 1: probabilities say little.
    """

    score: float
    unfamiliar: bool


@dataclass(frozen=True, slots=True)
class Decision:
    """What is said about one cell.

    Attributes:
        predicted_class: the most probable.
        probabilities: of all classes, in their order; the sum is 1.
        candidates: the most probable classes, first of them ``predicted_class``: as many as reach 95 % together, at
            most five.
        hairy_cell, novelty, review: see there.
    """

    predicted_class: CellClass
    probabilities: tuple[float, ...]
    candidates: tuple[CellClass, ...]
    hairy_cell: HairyDecision
    novelty: NoveltyDecision | None
    review: tuple[ReviewReason, ...]


def decide(
    logits: ArrayLike, description: BundleDescription, novelty: NDArray[np.float32] | None = None
) -> list[Decision]:
    """Decide about each cell of a batch by the bundle's calibration and policy.

    Args:
        logits: Shape: ``(n, 20)``, as the bundle's graph gives them.
        description: the bundle's description.
        novelty: scores of :meth:`contract.novelty.NoveltyBasis.scores`, ``None`` where the bundle has no basis.
            Shape: ``(n,)``.

    Raises:
        ValueError: see :func:`calibrated_probabilities`.
    """
    calibration = description.calibration
    temperature = temperatures(novelty, calibration.temperature, calibration.unfamiliar_temperature)
    rows = calibrated_probabilities(logits, temperature, description.suppressed).tolist()
    if novelty is None:
        return [_decide_one(row, None, description) for row in rows]
    judged = [NoveltyDecision(score, score > 1) for score in novelty.tolist()]
    return [_decide_one(row, each, description) for row, each in zip(rows, judged, strict=True)]


def temperatures(
    novelty: NDArray[np.float32] | None, familiar: float, unfamiliar: float | None
) -> float | NDArray[np.float64]:
    """What logits are divided by: one number, or one for each image by its score of novelty, shape ``(n, 1)``."""
    if novelty is None or unfamiliar is None:
        return familiar
    return np.where(novelty > 1, unfamiliar, familiar)[:, np.newaxis]


def _decide_one(
    probabilities: list[float], novelty: NoveltyDecision | None, description: BundleDescription
) -> Decision:
    # Plain numbers: taking them out of an array one by one costs more than all the rest.
    order = sorted(_INDICES, key=probabilities.__getitem__, reverse=True)
    hairy = _hairy(probabilities[HAIRY_CELL.index], description)
    reasons = _review(probabilities, CELL_CLASSES[order[0]], CELL_CLASSES[order[1]], hairy, description)
    if novelty is not None and novelty.unfamiliar:
        reasons.insert(0, _UNFAMILIAR)
    candidates = _candidates(probabilities, order)
    return Decision(candidates[0], tuple(probabilities), candidates, hairy, novelty, tuple(reasons))


def _candidates(probabilities: list[float], order: list[int]) -> tuple[CellClass, ...]:
    together, count = 0.0, 0
    while together < _CANDIDATES_TOGETHER and count < _MOST_CANDIDATES:
        together += probabilities[order[count]]
        count += 1
    return tuple(CELL_CLASSES[index] for index in order[:count])


_INDICES: Final = range(CLASS_COUNT)
_CANDIDATES_TOGETHER: Final = 0.95
_MOST_CANDIDATES: Final = 5
_UNFAMILIAR: Final = ReviewReason(
    ReviewCode.UNFAMILIAR_IMAGE,
    "This image looks unlike those that the network learned from: stain, camera or scale differ, or it shows something "
    "else.",
)


def _hairy(probability: float, description: BundleDescription) -> HairyDecision:
    threshold = description.policy.hairy_threshold
    if threshold is None:
        return HairyDecision(None, None)
    return HairyDecision(probability, probability >= threshold)


def _review(
    probabilities: list[float],
    predicted: CellClass,
    runner_up: CellClass,
    hairy: HairyDecision,
    description: BundleDescription,
) -> list[ReviewReason]:
    policy = description.policy
    evidence = description.classes[predicted.index].evidence
    confidence = probabilities[predicted.index]
    margin = confidence - probabilities[runner_up.index]
    reasons = []
    if hairy.flag:
        reasons.append(ReviewReason(ReviewCode.HAIRY_CELL, "Possible hairy cell: confirm by flow cytometry."))
    if predicted.id in policy.always_review:
        reasons.append(
            ReviewReason(ReviewCode.MUST_CONFIRM, f"{predicted.name} must be confirmed by a qualified technologist.")
        )
    if confidence < policy.review_below_probability:
        reasons.append(
            ReviewReason(
                ReviewCode.LOW_CONFIDENCE,
                f"Confidence {_percent(confidence)}, below the review limit of "
                f"{_percent(policy.review_below_probability)}.",
            )
        )
    if margin < policy.review_below_margin:
        reasons.append(
            ReviewReason(
                ReviewCode.CLOSE_RUNNER_UP,
                f"{runner_up.name} is only {_percent(margin)} behind, the review limit is "
                f"{_percent(policy.review_below_margin)}.",
            )
        )
    if evidence in (Evidence.SIZE_DERIVED, Evidence.COMPOSITE):
        reasons.append(
            ReviewReason(
                ReviewCode.WEAK_EVIDENCE,
                f"{predicted.name} was learned from {evidence} images, not from expert-labelled cells.",
            )
        )
    return reasons


def _percent(share: float) -> str:
    # Rounded down to a tenth, so that what is below a limit is also written as less.
    return f"{math.floor(1000 * share + 1e-9) / 10:g} %"
