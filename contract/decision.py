"""From logits to an answer about one cell: one definition for evaluation and for service.

What the cells of a slide say together is in :mod:`contract.slide`.
"""

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
    LOW_PROBABILITY = "low_probability"
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

    ``probability``, ``flag`` and ``threshold`` are ``None`` when the bundle has no evidence for the hairy class:
    the question was not answered, which is not the same as "no".
    """

    probability: float | None
    flag: bool | None
    threshold: float | None
    advice: str


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
    """What is said about one cell."""

    predicted_class: CellClass
    probabilities: tuple[float, ...]
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
    predicted = CELL_CLASSES[probabilities.index(max(probabilities))]
    hairy = _hairy(probabilities[HAIRY_CELL.index], description)
    reasons = _review(probabilities, predicted, hairy, description)
    if novelty is not None and novelty.unfamiliar:
        reasons.insert(0, _UNFAMILIAR)
    return Decision(predicted, tuple(probabilities), hairy, novelty, tuple(reasons))


_UNFAMILIAR: Final = ReviewReason(
    ReviewCode.UNFAMILIAR_IMAGE,
    "This image looks unlike those that the network learned from: stain, camera or scale differ, or it shows something "
    "else.",
)


def _hairy(probability: float, description: BundleDescription) -> HairyDecision:
    threshold = description.policy.hairy_threshold
    if threshold is None:
        return HairyDecision(None, None, None, description.policy.hairy_advice)
    return HairyDecision(probability, probability >= threshold, threshold, description.policy.hairy_advice)


def _review(
    probabilities: list[float], predicted: CellClass, hairy: HairyDecision, description: BundleDescription
) -> list[ReviewReason]:
    policy = description.policy
    evidence = description.classes[predicted.index].evidence
    top = predicted.index
    others = probabilities.copy()
    others[top] = -1.0
    margin = probabilities[top] - max(others)
    reasons = []
    if hairy.flag:
        reasons.append(ReviewReason(ReviewCode.HAIRY_CELL, "Possible hairy cell: confirm by flow cytometry."))
    if predicted.slug in policy.always_review:
        reasons.append(
            ReviewReason(ReviewCode.MUST_CONFIRM, f"{predicted.name} must be confirmed by a qualified technologist.")
        )
    if probabilities[top] < policy.review_below_probability:
        reasons.append(
            ReviewReason(
                ReviewCode.LOW_PROBABILITY,
                f"Top probability {probabilities[top]:.2f} is below {policy.review_below_probability:.2f}.",
            )
        )
    if margin < policy.review_below_margin:
        runner_up = others.index(max(others))
        reasons.append(
            ReviewReason(
                ReviewCode.CLOSE_RUNNER_UP,
                f"{CELL_CLASSES[runner_up].name} is only {margin:.2f} behind (limit {policy.review_below_margin:.2f}).",
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
