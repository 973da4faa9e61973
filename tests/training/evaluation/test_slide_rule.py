"""The computed characteristics against slides drawn cell by cell, and what docs/slides.md claims of the rule."""

import csv
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from typer.testing import CliRunner

import hal
from contract.slide import Advice, SlideRule, advise, count_flags
from training.evaluation.figures.slide_rule import Characteristics, Setting, characteristics, fewest_hits

RULE = SlideRule()


def simulate(
    rule: SlideRule, setting: Setting, cells: int, prevalence: float, slides: int, seed: int
) -> Characteristics:
    """What :func:`characteristics` computes, by drawing slides cell by cell: slow and inexact."""
    rng = np.random.default_rng(seed)
    hairy: NDArray[np.bool_] = rng.random((slides, cells)) < prevalence
    rates = np.full(slides, setting.false_flag_rate)
    if setting.spread:
        total = 1 / setting.spread - 1
        rates = rng.beta(setting.false_flag_rate * total, (1 - setting.false_flag_rate) * total, slides)
    flagged = np.where(hairy, rng.random(hairy.shape) < setting.sensitivity, rng.random(hairy.shape) < rates[:, None])
    hits, slides_with = np.unique(flagged.sum(axis=1), return_counts=True)
    advice: Counter[Advice] = Counter()
    for number, times in zip(hits.tolist(), slides_with.tolist(), strict=True):
        advice[advise(count_flags(number, cells, setting.stated_rate, ""), rule)] += times
    return Characteristics(
        *(advice[kind] / slides for kind in (Advice.FOLLOW_UP, Advice.NO_INDICATION, Advice.TOO_FEW_CELLS))
    )


def fewest_cells(rule: SlideRule, setting: Setting, prevalence: float, power: float, most: int = 5000) -> int | None:
    """The fewest white cells from which on slides of ``prevalence`` are followed up with probability ``power``.

    ``None`` if that is more than ``most``. The probability falls a little whenever one more flag is asked for; what is
    given holds for every larger slide that was looked at.
    """
    sizes = list(range(10, most + 1, 10))
    enough = [characteristics(rule, setting, size, prevalence).follow_up >= power for size in sizes]
    last_short = max((place for place, good in enumerate(enough) if not good), default=-1)
    return sizes[last_short + 1] if last_short + 1 < len(sizes) else None


@pytest.mark.parametrize(
    ("setting", "cells", "prevalence"),
    [
        (Setting(0.002, 0.002), 200, 0.0),
        (Setting(0.002, 0.002), 200, 0.02),
        (Setting(0.002, 0.005, 0.5), 400, 0.01),
        (Setting(0.01, 0.01), 150, 0.03),
        (Setting(0.005, 0.005, spread=0.01), 300, 0.0),
        (Setting(0.005, 0.005, spread=0.01), 300, 0.02),
    ],
)
def test_computed_shares_are_those_of_drawn_slides(setting: Setting, cells: int, prevalence: float) -> None:
    slides = 4000
    computed = characteristics(RULE, setting, cells, prevalence)
    drawn = simulate(RULE, setting, cells, prevalence, slides, seed=1)
    deviation = (computed.follow_up * (1 - computed.follow_up) / slides) ** 0.5
    assert drawn.follow_up == pytest.approx(computed.follow_up, abs=4 * deviation + 0.001)
    assert drawn.no_indication == pytest.approx(computed.no_indication, abs=4 * deviation + 0.001)
    assert drawn.too_few_cells == pytest.approx(computed.too_few_cells, abs=4 * deviation + 0.001)


@pytest.mark.parametrize("rate", [0.0002, 0.002, 0.005, 0.01])
@pytest.mark.parametrize("cells", [100, 200, 400, 1000])
def test_slides_without_hairy_cells_are_followed_up_at_most_as_often_as_the_rule_says(rate: float, cells: int) -> None:
    assert characteristics(RULE, Setting(rate, rate), cells, 0).follow_up <= RULE.significance


def test_the_defaults_find_what_the_documents_say() -> None:
    """The figures of docs/slides.md, at 0.2 % false flags and 80 % sensitivity."""
    setting = Setting(0.002, 0.002)
    assert fewest_hits(RULE, 200, 0.002) == 3
    assert characteristics(RULE, setting, 200, 0.05).follow_up == pytest.approx(0.99, abs=0.01)
    assert characteristics(RULE, setting, 200, 0.01).follow_up < 0.35
    assert fewest_cells(RULE, setting, 0.05, 0.9, most=300) == 130


def test_slides_that_differ_are_followed_up_for_nothing_more_often() -> None:
    alike, different = (characteristics(RULE, Setting(0.002, 0.002, spread=spread), 400, 0) for spread in (0, 0.01))
    assert different.follow_up > 2 * alike.follow_up


def test_the_command_writes_a_figure_and_its_data(tmp_path: Path) -> None:
    done = CliRunner().invoke(hal.app, ["slides", "characteristics", "--out", str(tmp_path)])
    assert done.exit_code == 0, done.output
    assert (tmp_path / "slide-rule.png").read_bytes().startswith(b"\x89PNG")
    with (tmp_path / "slide-rule.csv").open(encoding="utf-8") as stream:
        rows = list(csv.DictReader(stream))
    assert {row["cells"] for row in rows} == {"100", "200", "400", "600", "1000"}
    assert all(0 <= float(row["followed_up"]) <= 1 for row in rows)
