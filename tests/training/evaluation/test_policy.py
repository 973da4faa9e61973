"""The hairy threshold and the review limit, on validation images whose truth is known."""

import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from contract.classes import CLASS_NAMES, HAIRY_CELL
from contract.description import ClassEvidence, DecisionPolicy, Evidence
from training.evaluation import policy
from training.evaluation.calibration import FittedOnTestError
from training.evaluation.policy import PolicyError, confident_from, hairy_threshold
from training.evaluation.results import Evaluation


def decided(validation: Evaluation, classes: list[ClassEvidence], split: str) -> DecisionPolicy:
    return policy.decision_policy(validation, np.ones(len(validation.labels), bool), classes, split)


def evidence(hairy: int) -> list[ClassEvidence]:
    return [
        ClassEvidence(
            name=name,
            evidence=Evidence.REAL if count else Evidence.NONE,
            training_images=count,
            validation_images=count,
        )
        for name in CLASS_NAMES
        for count in [hairy if name == HAIRY_CELL.name else 10]
    ]


def scored(hairy: list[float], others: list[float]) -> Evaluation:
    scores = np.array(hairy + others)
    probabilities = np.zeros((len(scores), 20))
    probabilities[:, HAIRY_CELL.index] = scores
    probabilities[:, 0] = 1 - scores
    labels = np.array([HAIRY_CELL.index] * len(hairy) + [0] * len(others))
    return Evaluation(labels, probabilities)


def test_at_most_two_in_a_thousand_other_cells_are_flagged() -> None:
    others = np.linspace(0, 0.9, 1000).tolist()
    threshold, basis = hairy_threshold(scored([0.95, 0.8989, 0.2], others), "val")
    assert sum(score >= threshold for score in others) == 2
    assert 0.8982 < threshold <= 0.8989, "as many hairy cells as the limit on false flags leaves"
    assert "recall 2 of 3" in basis
    assert "false flags 2 of 1000" in basis


def test_between_the_two_kinds_the_threshold_is_in_the_middle() -> None:
    threshold, basis = hairy_threshold(scored([0.99, 0.999], [0.01] * 998 + [0.02, 0.9]), "val")
    assert threshold == pytest.approx(0.968, abs=0.001), "between 0.9 and 0.99 in log-odds"
    assert "recall 2 of 2" in basis
    assert "false flags 0 of 1000" in basis
    assert hairy_threshold(scored([0.6], [0.6] * 10), "val")[0] > 0.6, "a hairy cell like all others cannot be found"
    assert 0 < hairy_threshold(scored([1.0], [0.0] * 10), "val")[0] < 1


def test_other_cells_that_are_surely_hairy_leave_no_threshold() -> None:
    with pytest.raises(PolicyError, match="1 of 10 other validation images have a probability of 1"):
        hairy_threshold(scored([0.9], [0.1] * 9 + [1.0]), "val")


@given(
    st.lists(st.floats(0, 1), min_size=1, max_size=30),
    st.lists(st.floats(0, 1, exclude_max=True), min_size=1, max_size=30),
)
@example([1.0], [0.9999995])
@example([1e-9], [1e-12])
def test_no_other_threshold_finds_more_hairy_cells_within_the_limit(hairy: list[float], others: list[float]) -> None:
    threshold, _ = hairy_threshold(scored(hairy, others), "val")

    def recall(at: float) -> int:
        return sum(score >= at for score in hairy)

    def flagged(at: float) -> int:
        return sum(score >= at for score in others)

    limit = int(0.002 * len(others))
    assert flagged(threshold) <= limit
    assert recall(threshold) == max(recall(at) for at in [*hairy, *others, 2.0] if flagged(at) <= limit)


def test_the_policy_states_how_many_other_cells_its_threshold_flags() -> None:
    chosen = decided(scored([0.95, 0.8989, 0.2], np.linspace(0, 0.9, 1000).tolist()), evidence(10), "val")
    assert chosen.false_flags is not None
    assert (chosen.false_flags.flagged, chosen.false_flags.cells) == (2, 1000)
    assert chosen.false_flags.upper95 == pytest.approx(0.00720, abs=1e-5)


def test_without_hairy_cells_there_is_no_threshold_and_the_advice_says_so() -> None:
    chosen = decided(scored([], [0.1] * 10), evidence(0), "val")
    assert chosen.hairy_threshold is None
    assert chosen.false_flags is None
    assert "never seen a hairy cell" in chosen.hairy_advice


def test_hairy_cells_to_train_on_but_none_held_out_is_an_error() -> None:
    with pytest.raises(PolicyError, match="0 hairy and 10 other"):
        decided(scored([], [0.1] * 10), evidence(10), "val")


def test_review_is_asked_for_below_the_probability_from_which_98_percent_are_right() -> None:
    probabilities = np.zeros((200, 20))
    top = np.linspace(0.3, 1, 200)
    probabilities[:, 0] = top
    probabilities[:, 1] = 1 - top
    labels = np.where(np.arange(200) < 60, 1, 0)
    limit = confident_from(Evaluation(labels, probabilities))
    kept = probabilities.max(axis=1) >= limit
    right = probabilities.argmax(axis=1) == labels
    assert right[kept].mean() >= 0.98
    assert 0.4 < limit < 0.8


@pytest.mark.parametrize("split", ["test", "train", "test+val"])
def test_threshold_and_policy_are_never_chosen_on_anything_but_validation_images(split: str) -> None:
    images = scored([0.9, 0.8], [0.1] * 10)
    with pytest.raises(FittedOnTestError, match="hairy flag"):
        hairy_threshold(images, split)
    with pytest.raises(FittedOnTestError, match="decision policy"):
        decided(images, evidence(10), split)


def test_false_flags_and_the_limit_of_review_are_of_real_images_only() -> None:
    images = scored([0.95], [0.01] * 999 + [0.9] * 2)
    real = np.array([False] + [True] * 999 + [False] * 2)
    chosen = policy.decision_policy(images, real, evidence(10), "val")
    assert chosen.false_flags is not None
    assert (chosen.false_flags.flagged, chosen.false_flags.cells) == (0, 999)
    assert "real images of split val" in chosen.false_flags.data


def test_a_hairy_class_learned_from_composites_says_so_in_every_answer() -> None:
    classes = [
        each.model_copy(update={"evidence": Evidence.COMPOSITE}) if each.name == HAIRY_CELL.name else each
        for each in evidence(10)
    ]
    chosen = decided(scored([0.95, 0.9], [0.1] * 10), classes, "val")
    assert "composites" in chosen.hairy_advice
    assert "MLL23" in chosen.hairy_advice
    assert "hal " not in chosen.hairy_advice
    assert "composites" not in decided(scored([0.95, 0.9], [0.1] * 10), evidence(10), "val").hairy_advice
