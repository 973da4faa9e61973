"""Probabilities against SciPy and the rules of a softmax; flag and review reasons at their limits."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import array_shapes, arrays
from numpy.typing import NDArray
from scipy.special import softmax

from contract.classes import BY_ID, CLASS_COUNT, HAIRY_CELL
from contract.decision import Decision, ReviewCode, calibrated_probabilities, decide
from contract.description import BundleDescription
from tests.contract.examples import describe

NOTHING_SUPPRESSED = np.zeros(CLASS_COUNT, dtype=bool)
ORDER = [code.value for code in ReviewCode]

logits = arrays(np.float64, st.tuples(st.integers(1, 4), st.just(CLASS_COUNT)), elements=st.floats(-50, 50, width=16))
temperatures = st.floats(0.05, 20)
suppressions = arrays(np.bool_, CLASS_COUNT).filter(lambda mask: not mask.all())


def logits_of(**by_id: float) -> NDArray[np.float64]:
    """``[1, 20]`` log probabilities of the named classes (hyphens as underscores); the others have practically none."""
    row = np.full((1, CLASS_COUNT), -1e3)
    for name, probability in by_id.items():
        row[0, BY_ID[name.replace("_", "-")].index] = np.log(probability)
    return row


def decide_one(row: NDArray[np.float64], description: BundleDescription) -> Decision:
    (decision,) = decide(row, description)
    return decision


def codes(decision: Decision) -> list[str]:
    return [reason.code.value for reason in decision.review]


@given(logits, temperatures, suppressions)
def test_probabilities_agree_with_scipy_on_the_classes_that_are_left(
    values: NDArray[np.float64], temperature: float, suppressed: NDArray[np.bool_]
) -> None:
    found = calibrated_probabilities(values, temperature, suppressed)
    expected = softmax(values[:, ~suppressed] / temperature, axis=1)
    np.testing.assert_allclose(found[:, ~suppressed], expected, rtol=1e-9, atol=1e-300)


@given(logits, temperatures, suppressions)
def test_rows_are_probabilities_and_suppressed_classes_get_exactly_none(
    values: NDArray[np.float64], temperature: float, suppressed: NDArray[np.bool_]
) -> None:
    found = calibrated_probabilities(values, temperature, suppressed)
    np.testing.assert_allclose(found.sum(axis=1), 1, rtol=1e-12)
    assert ((found >= 0) & (found <= 1)).all()
    assert (found[:, suppressed] == 0).all()


@pytest.mark.parametrize("temperature", [1e-310, 1e-3, 1.0, 1e300])
@pytest.mark.parametrize("scale", [1e-300, 1.0, 1e30])
@pytest.mark.filterwarnings("ignore:overflow encountered in divide:RuntimeWarning")
def test_extreme_logits_and_temperatures_still_give_probabilities(scale: float, temperature: float) -> None:
    values = np.arange(CLASS_COUNT, dtype=np.float64)[None] * scale
    found = calibrated_probabilities(values, temperature, NOTHING_SUPPRESSED)
    assert found.sum() == pytest.approx(1)


def test_a_suppressed_class_with_a_huge_logit_takes_nothing_from_the_others() -> None:
    values = np.zeros((1, CLASS_COUNT))
    values[0, HAIRY_CELL.index] = 1e9
    suppressed = np.arange(CLASS_COUNT) == HAIRY_CELL.index
    found = calibrated_probabilities(values, 1.0, suppressed)
    np.testing.assert_allclose(found[0, ~suppressed], 1 / 19)


def test_no_cells_give_no_answers() -> None:
    assert decide(np.empty((0, CLASS_COUNT)), describe()) == []


@given(array_shapes(min_dims=0, max_dims=3, max_side=25).filter(lambda shape: len(shape) != 2 or shape[1] != 20))
def test_logits_of_another_shape_are_refused(shape: tuple[int, ...]) -> None:
    with pytest.raises(ValueError, match=r"expected \(n, 20\)"):
        calibrated_probabilities(np.zeros(shape), 1.0, NOTHING_SUPPRESSED)


def test_a_mask_of_another_shape_is_refused() -> None:
    with pytest.raises(ValueError, match=r"suppressed \(19,\), expected"):
        calibrated_probabilities(np.zeros((1, CLASS_COUNT)), 1.0, NOTHING_SUPPRESSED[:-1])


@pytest.mark.parametrize("broken", [np.nan, np.inf, -np.inf])
def test_a_logit_that_is_not_finite_is_refused_even_where_it_is_suppressed(broken: float) -> None:
    values = np.zeros((2, CLASS_COUNT))
    values[1, 3] = broken
    with pytest.raises(ValueError, match="NaN or infinite"):
        calibrated_probabilities(values, 1.0, np.arange(CLASS_COUNT) == 3)


@pytest.mark.parametrize("temperature", [0.0, -1.0, np.nan])
def test_a_temperature_that_is_not_above_0_is_refused(temperature: float) -> None:
    with pytest.raises(ValueError, match="above 0"):
        calibrated_probabilities(np.zeros((1, CLASS_COUNT)), temperature, NOTHING_SUPPRESSED)


def test_a_bundle_that_has_learned_nothing_gives_no_answer() -> None:
    nothing = describe(evidence=dict.fromkeys(BY_ID, "none"))
    with pytest.raises(ValueError, match="every class is suppressed"):
        decide(np.zeros((1, CLASS_COUNT)), nothing)


def test_each_cell_of_a_batch_gets_its_own_answer_in_order() -> None:
    batch = np.vstack([logits_of(monocyte=0.9), logits_of(hairy_cell=0.8), logits_of(basophil=0.7)])
    found = decide(batch, describe())
    assert [decision.predicted_class.name for decision in found] == ["Monocyte", "Hairy cell", "Basophil"]
    assert [decision.hairy_cell.flag for decision in found] == [False, True, False]


@given(logits)
def test_batch_mates_never_change_an_answer(values: NDArray[np.float64]) -> None:
    description = describe(temperature=1.7, review_below_probability=0.6, review_below_margin=0.2)
    assert decide(values, description) == [decide_one(row[None], description) for row in values]


def test_the_bundles_calibration_is_applied() -> None:
    values = np.random.default_rng(3).normal(size=(1, CLASS_COUNT))
    found = decide_one(values, describe(temperature=2.5)).probabilities
    np.testing.assert_allclose(found, softmax(values[0] / 2.5), rtol=1e-12)


def test_without_evidence_for_hairy_cells_the_question_stays_unanswered() -> None:
    description = describe(evidence={"hairy-cell": "none"}, always_review=["hairy-cell"])
    decision = decide_one(logits_of(hairy_cell=0.98, lymphocyte=0.02), description)
    assert decision.predicted_class.name == "Lymphocyte"
    assert decision.probabilities[HAIRY_CELL.index] == 0
    assert (decision.hairy_cell.probability, decision.hairy_cell.flag) == (None, None)
    assert codes(decision) == []


def test_candidates_reach_95_percent_together() -> None:
    def candidates(**by_id: float) -> list[str]:
        return [cell.id for cell in decide_one(logits_of(**by_id), describe()).candidates]

    assert candidates(monocyte=0.96, lymphocyte=0.04) == ["monocyte"]
    assert candidates(lymphocyte=0.3, monocyte=0.6, blast=0.1) == ["monocyte", "lymphocyte", "blast"]
    assert len(decide_one(np.zeros((1, CLASS_COUNT)), describe()).candidates) == 5


@given(logits)
def test_candidates_are_the_most_probable_classes_in_order(values: NDArray[np.float64]) -> None:
    for decision in decide(values, describe()):
        found = [decision.probabilities[cell.index] for cell in decision.candidates]
        assert found == sorted(decision.probabilities, reverse=True)[: len(found)]
        assert decision.candidates[0] is decision.predicted_class
        assert sum(found[:-1]) < 0.95
        assert len(found) == 5 or sum(found) >= 0.95


def test_a_confidence_just_below_the_limit_is_not_written_as_the_limit() -> None:
    decision = decide_one(logits_of(monocyte=0.90999, lymphocyte=0.09001), describe(review_below_probability=0.91))
    assert decision.review[0].message == "Confidence 90.9 %, below the review limit of 91 %."


@pytest.mark.parametrize(("threshold", "flag"), [(0.05, True), (np.nextafter(0.05, 1), False), (0.0, True), (1, False)])
def test_the_flag_is_raised_from_exactly_the_threshold_on(threshold: float, flag: bool) -> None:
    """Equal logits give every class exactly 1/20."""
    hairy = decide_one(np.zeros((1, CLASS_COUNT)), describe(hairy_threshold=threshold)).hairy_cell
    assert (hairy.probability, hairy.flag) == (0.05, flag)


@given(logits, st.floats(0, 1))
def test_flag_probability_and_threshold_agree(values: NDArray[np.float64], threshold: float) -> None:
    for decision in decide(values, describe(hairy_threshold=threshold)):
        hairy = decision.hairy_cell
        assert hairy.probability == decision.probabilities[HAIRY_CELL.index]
        assert hairy.flag is (decision.probabilities[HAIRY_CELL.index] >= threshold)


def test_a_low_threshold_flags_a_cell_that_is_predicted_as_another_class() -> None:
    decision = decide_one(logits_of(monocyte=0.7, hairy_cell=0.3), describe(hairy_threshold=0.2))
    assert decision.predicted_class.name == "Monocyte"
    assert decision.hairy_cell.flag is True
    assert codes(decision) == ["hairy_cell"]
    assert decision.review[0].message == "Possible hairy cell: confirm by flow cytometry."


def test_a_sure_answer_on_a_well_known_class_needs_no_review() -> None:
    description = describe(review_below_probability=0.9, review_below_margin=0.5, always_review=["blast"])
    assert decide_one(logits_of(eosinophil=0.99, basophil=0.01), description).review == ()


def test_a_class_that_must_be_confirmed_is_reviewed_however_sure() -> None:
    decision = decide_one(logits_of(blast=1.0), describe(always_review=["blast"]))
    assert codes(decision) == ["must_confirm"]
    assert decision.review[0].message == "Blast (no lineage spec) must be confirmed by a qualified technologist."


def test_a_top_probability_below_the_limit_is_reviewed() -> None:
    decision = decide_one(logits_of(monocyte=0.7, lymphocyte=0.3), describe(review_below_probability=0.8))
    assert codes(decision) == ["low_confidence"]
    assert decision.review[0].message == "Confidence 70 %, below the review limit of 80 %."


def test_a_close_runner_up_is_reviewed_and_named() -> None:
    decision = decide_one(logits_of(myelocyte=0.55, metamyelocyte=0.45), describe(review_below_margin=0.2))
    assert codes(decision) == ["close_runner_up"]
    assert decision.review[0].message == "Metamyelocyte is only 10 % behind, the review limit is 20 %."


@pytest.mark.parametrize(("one", "other"), [("eosinophil", "band-neutrophil"), ("lymphocyte", "large-thrombocyte")])
def test_of_two_equal_classes_the_one_that_was_not_predicted_is_the_runner_up(one: str, other: str) -> None:
    row = np.full((1, CLASS_COUNT), -1e3)
    row[0, [BY_ID[one].index, BY_ID[other].index]] = 0
    decision = decide_one(row, describe(review_below_margin=0.1))
    assert decision.predicted_class is BY_ID[one]
    assert decision.review[0].message == f"{BY_ID[other].name} is only 0 % behind, the review limit is 10 %."


@pytest.mark.parametrize(("limit", "reviewed"), [(0.05, False), (np.nextafter(0.05, 1), True)])
def test_a_top_probability_at_exactly_the_limit_is_not_reviewed(limit: float, reviewed: bool) -> None:
    decision = decide_one(np.zeros((1, CLASS_COUNT)), describe(review_below_probability=limit))
    assert codes(decision) == ["low_confidence"] * reviewed


def test_a_margin_at_exactly_the_limit_is_not_reviewed() -> None:
    """Only one class is left: it is 1 ahead of the suppressed ones, and no margin can be larger."""
    only_monocytes = dict.fromkeys(BY_ID, "none") | {"monocyte": "real"}
    decision = decide_one(np.zeros((1, CLASS_COUNT)), describe(evidence=only_monocytes, review_below_margin=1.0))
    assert decision.probabilities[BY_ID["monocyte"].index] == 1
    assert decision.review == ()


@pytest.mark.parametrize("evidence", ["size-derived", "composite"])
def test_a_class_learned_from_weak_evidence_is_reviewed(evidence: str) -> None:
    decision = decide_one(logits_of(giant_thrombocyte=0.99), describe(evidence={"giant-thrombocyte": evidence}))
    assert codes(decision) == ["weak_evidence"]
    assert decision.review[0].message == (
        f"Giant thrombocyte was learned from {evidence} images, not from expert-labelled cells."
    )


def test_weak_evidence_of_another_class_does_not_matter() -> None:
    assert decide_one(logits_of(monocyte=0.99), describe(evidence={"artefact": "composite"})).review == ()


def test_all_reasons_are_given_in_one_order() -> None:
    description = describe(
        evidence={"hairy-cell": "composite"},
        always_review=["hairy-cell"],
        hairy_threshold=0.1,
        review_below_probability=0.9,
        review_below_margin=0.5,
    )
    (decision,) = decide(logits_of(hairy_cell=0.6, lymphocyte=0.4), description, np.array([1.5], np.float32))
    assert codes(decision) == ORDER


@given(logits, st.data())
def test_an_unfamiliar_image_has_its_own_temperature_and_asks_for_review(
    values: NDArray[np.float64], data: st.DataObject
) -> None:
    scores = data.draw(arrays(np.float32, len(values), elements=st.floats(0, 5, width=32)))
    description = describe(temperature=0.8)
    softened = description.calibration.model_copy(update={"unfamiliar_temperature": 3.0})
    description = description.model_copy(update={"calibration": softened})
    for row, score, decision in zip(values, scores, decide(values, description, scores), strict=True):
        assert decision.novelty is not None
        assert decision.novelty.unfamiliar == (score > 1)
        assert ("unfamiliar_image" in codes(decision)) == decision.novelty.unfamiliar
        temperature = 3.0 if score > 1 else 0.8
        expected = calibrated_probabilities(row[None], temperature, description.suppressed)[0]
        np.testing.assert_allclose(decision.probabilities, expected)


def test_a_bundle_without_a_basis_says_nothing_of_novelty() -> None:
    assert decide_one(logits_of(monocyte=0.99), describe()).novelty is None
