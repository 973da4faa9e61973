"""The differential and the advice on slides whose cells are known."""

from bisect import bisect_left
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from contract.classes import BY_ID, CELL_CLASSES, HAIRY_CELL
from contract.decision import decide
from contract.description import BundleDescription
from contract.differential import SlideCell
from contract.slide import Advice, OtherBundleError, SlideRule, SlideSummary, advise, count_flags, summarise
from tests.contract.examples import description

FALSE_FLAGS = {"flagged": 1, "cells": 1000, "data": "val split"}


def describe(evidence: dict[str, str] | None = None, **policy: Any) -> BundleDescription:
    return BundleDescription.model_validate(description(evidence, **({"false_flags": FALSE_FLAGS} | policy)))


def cells(
    count: int, class_id: str = "lymphocyte", *, flag: bool | None = False, doubtful: bool = False
) -> list[SlideCell]:
    return [SlideCell(BY_ID[class_id], flag, doubtful)] * count


def row(summary: SlideSummary, class_id: str) -> Any:
    return next(row for row in summary.differential if row.class_id == class_id)


def test_the_differential_is_per_100_white_cells_and_others_are_apart() -> None:
    slide = cells(60, "segmented-neutrophil") + cells(40, "lymphocyte") + cells(30, "erythroblast")
    summary = summarise(slide + cells(5, "large-thrombocyte") + cells(2, "artefact"), describe())
    assert (summary.images, summary.white_cells) == (137, 100)
    assert [entry.class_id for entry in summary.differential] == [cell.id for cell in CELL_CLASSES]
    assert (row(summary, "segmented-neutrophil").per_100_wbc, row(summary, "lymphocyte").per_100_wbc) == (60, 40)
    assert row(summary, "erythroblast").per_100_wbc == 30
    assert row(summary, "erythroblast").interval95 is None
    low, high = stats.binomtest(60, 100).proportion_ci(0.95, method="exact")
    assert row(summary, "segmented-neutrophil").interval95 == pytest.approx((100 * low, 100 * high))
    assert sum(entry.per_100_wbc for entry in summary.differential if entry.is_wbc) == pytest.approx(100)


def test_without_white_cells_there_is_no_differential_and_too_few_cells() -> None:
    for slide in ([], cells(20, "smudge-cell")):
        summary = summarise(slide, describe())
        assert summary.advice is Advice.TOO_FEW_CELLS
        assert summary.white_cells == 0
        assert all(entry.per_100_wbc is None for entry in summary.differential)


def test_many_flags_are_followed_up() -> None:
    summary = summarise(cells(190) + cells(10, "hairy-cell", flag=True), describe())
    assert summary.advice is Advice.FOLLOW_UP
    hairy = summary.hairy
    assert hairy is not None
    assert (hairy.flagged, hairy.cells) == (10, 200)
    rate = stats.binomtest(1, 1000).proportion_ci(0.95, method="exact").high
    assert hairy.false_flag_rate == pytest.approx(rate)
    assert hairy.p_value == pytest.approx(stats.binomtest(10, 200, rate, alternative="greater").pvalue)
    assert "10 of 200 white cells flagged as hairy (5.0 %, 95 % interval 2.4 to 9.0 %)" in summary.reason
    assert "more than false flags explain (p < 0.0001 against false flags at 0.56 %" in summary.reason
    assert "1 false flags on 1000 cells" in hairy.false_flag_basis


def test_few_flags_are_what_false_flags_explain_and_exclude_nothing() -> None:
    summary = summarise(cells(299) + cells(1, flag=True), describe())
    assert summary.advice is Advice.NO_INDICATION
    assert "does not exclude hairy cells" in summary.reason


def test_no_flags_on_few_cells_say_nothing() -> None:
    assert summarise(cells(199), describe()).advice is Advice.TOO_FEW_CELLS
    assert summarise(cells(200), describe()).advice is Advice.NO_INDICATION
    assert "200 white cells" in summarise(cells(199), describe()).reason


def test_few_cells_that_are_mostly_flagged_are_followed_up_all_the_same() -> None:
    assert summarise(cells(10) + cells(30, flag=True), describe()).advice is Advice.FOLLOW_UP


def test_one_flag_is_never_enough() -> None:
    assert summarise(cells(1, flag=True), describe(), site_rate=1e-6).advice is Advice.TOO_FEW_CELLS
    assert summarise(cells(300) + cells(1, flag=True), describe(), site_rate=1e-9).advice is Advice.NO_INDICATION


def test_the_site_s_rate_wins_over_the_bundle_s() -> None:
    slide = cells(196) + cells(4, flag=True)
    assert summarise(slide, describe(), site_rate=0.0005).advice is Advice.FOLLOW_UP
    summary = summarise(slide, describe(), site_rate=0.02)
    assert summary.advice is Advice.NO_INDICATION
    assert summary.hairy is not None
    assert "HAL_SITE_FPR" in summary.hairy.false_flag_basis


def test_a_rule_of_the_site_is_applied_and_told() -> None:
    rule = SlideRule(min_cells=50, min_hits=1, significance=0.3)
    summary = summarise(cells(59) + cells(1, flag=True), describe(), rule)
    assert summary.advice is Advice.FOLLOW_UP
    assert summary.rule == rule


def test_a_bundle_that_never_saw_a_hairy_cell_supports_no_advice() -> None:
    unseen = describe({"hairy-cell": "none"}, false_flags=None)
    summary = summarise(cells(500, flag=None), unseen)
    assert summary.advice is Advice.NOT_SUPPORTED
    assert summary.hairy is None
    assert "has never seen a hairy cell" in summary.reason
    assert row(summary, "hairy-cell").per_100_wbc is None
    assert any("cannot name: Hairy cell" in caution for caution in summary.cautions)


def test_without_a_stated_rate_of_false_flags_there_is_no_advice_unless_the_site_states_one() -> None:
    unmeasured = describe(false_flags=None)
    summary = summarise(cells(500), unmeasured)
    assert summary.advice is Advice.NOT_SUPPORTED
    assert "HAL_SITE_FPR" in summary.reason
    assert summarise(cells(500), unmeasured, site_rate=0.001).advice is Advice.NO_INDICATION


@pytest.mark.parametrize(("flag", "evidence"), [(None, None), (False, {"hairy-cell": "none"})])
def test_results_of_another_bundle_are_refused(flag: bool | None, evidence: dict[str, str] | None) -> None:
    with pytest.raises(OtherBundleError, match="classify the images again"):
        summarise(cells(3, flag=flag), describe(evidence, false_flags=None))


@pytest.mark.parametrize("flagged", [0, 5, 100])
@pytest.mark.parametrize("evidence", ["composite", "size-derived"])
def test_a_bundle_that_never_saw_a_real_hairy_cell_supports_no_advice(evidence: str, flagged: int) -> None:
    composite = describe({"hairy-cell": evidence}, hairy_advice="Train on your own cells.")
    summary = summarise(cells(300) + cells(flagged, "hairy-cell", flag=True), composite, site_rate=0.001)
    assert summary.advice is Advice.NOT_SUPPORTED
    assert f"from {evidence} images only, never from a real one" in summary.reason
    assert any("Train on your own cells." in caution for caution in summary.cautions)


def familiar(rate: float = 0.02, evidence: str = "real") -> BundleDescription:
    novelty = {
        "path": "novelty.npz",
        "sha256": "0" * 64,
        "precision": "int8",
        "components": 64,
        "images": 700,
        "threshold": 0.5,
        "familiar_rate": rate,
        "validation_images": 500,
    }
    described = description({"hairy-cell": evidence}, false_flags=FALSE_FLAGS)
    return BundleDescription.model_validate(described | {"novelty": novelty})


def seen(count: int, *, unfamiliar: bool = False) -> list[SlideCell]:
    return [SlideCell(BY_ID["lymphocyte"], flag=False, doubtful=unfamiliar, unfamiliar=unfamiliar)] * count


@given(st.integers(0, 300), st.integers(1, 300), st.sampled_from([0.005, 0.02, 0.05]))
def test_more_unfamiliar_images_than_the_rate_explains_win_over_any_other_advice(
    unfamiliar: int, others: int, rate: float
) -> None:
    summary = summarise(seen(others) + seen(unfamiliar, unfamiliar=True), familiar(rate, "composite"))
    test = stats.binomtest(unfamiliar, unfamiliar + others, rate, alternative="greater")
    assert summary.unfamiliar is not None
    assert summary.unfamiliar.p_value == pytest.approx(test.pvalue, rel=1e-6, abs=1e-12)
    unexplained = unfamiliar > 0 and test.pvalue <= SlideRule().significance
    assert summary.advice is (Advice.UNFAMILIAR_IMAGES if unexplained else Advice.NOT_SUPPORTED)
    assert (f"{unfamiliar} of {unfamiliar + others} images look unlike" in summary.reason) == unexplained


def test_a_few_unfamiliar_images_change_no_advice() -> None:
    assert summarise(seen(295) + seen(5, unfamiliar=True), familiar()).advice is Advice.NO_INDICATION


def test_a_photograph_that_occurs_twice_counts_once() -> None:
    twice = [SlideCell(HAIRY_CELL, flag=True, doubtful=True, image_sha256="a" * 64)] * 2
    summary = summarise(twice + cells(10), describe())
    assert summary.duplicates == 1
    assert summary.hairy is not None
    assert (summary.hairy.flagged, summary.hairy.cells, summary.doubtful) == (1, 11, 1)
    assert "1 images occur more than once" in summary.cautions[-1]


def test_refused_images_are_counted_apart() -> None:
    summary = summarise(cells(10), describe(), refused=3)
    assert (summary.images, summary.refused, summary.white_cells) == (13, 3, 10)
    assert any("3 images were refused" in caution for caution in summary.cautions)
    assert "3 of 13 images could not be judged." in summary.reason


def test_a_flagged_cell_of_another_class_counts_among_the_cells_that_were_tested() -> None:
    summary = summarise(cells(10) + cells(2, "smudge-cell", flag=True), describe())
    assert summary.white_cells == 10
    assert summary.hairy is not None
    assert (summary.hairy.flagged, summary.hairy.cells) == (2, 12)


def test_a_cell_is_what_was_decided_about_it() -> None:
    logits = [[0.0] * 20]
    logits[0][HAIRY_CELL.index] = 9.0
    (decision,) = decide(logits, describe())
    assert SlideCell.of(decision, "f" * 64) == SlideCell(HAIRY_CELL, flag=True, doubtful=True, image_sha256="f" * 64)


@given(st.integers(1, 2000), st.floats(1e-5, 0.05), st.data())
def test_one_more_flag_never_weakens_the_advice(of: int, rate: float, data: st.DataObject) -> None:
    flagged = data.draw(st.integers(0, of - 1))
    order = [Advice.TOO_FEW_CELLS, Advice.NO_INDICATION, Advice.FOLLOW_UP]
    fewer, more = (order.index(advise(count_flags(hits, of, rate, ""), SlideRule())) for hits in (flagged, flagged + 1))
    assert fewer <= more


@given(st.integers(1, 1500), st.floats(1e-5, 0.05))
def test_slides_without_hairy_cells_are_followed_up_no_more_often_than_the_significance(of: int, rate: float) -> None:
    rule = SlideRule()

    def followed_up(hits: int) -> bool:
        return advise(count_flags(hits, of, rate, ""), rule) is Advice.FOLLOW_UP

    least = bisect_left(range(of + 1), True, key=followed_up)
    if least <= of:
        assert stats.binom.sf(least - 1, of, rate) <= rule.significance * (1 + 1e-9)
