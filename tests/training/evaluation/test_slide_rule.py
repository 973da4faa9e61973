"""The computed characteristics against slides drawn cell by cell, and what docs/slides.md claims of the rule."""

import csv
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from typer.testing import CliRunner

import hal
from contract.slide import Advice, SlideRule, advise, count_flags
from training.evaluation.figures.slide_rule import Setting, fewest_hits, followed_up

RULE = SlideRule()


def simulate(setting: Setting, cells: int, prevalence: float, slides: int, seed: int) -> float:
    """What :func:`followed_up` computes, by drawing slides cell by cell: slow and inexact."""
    rng = np.random.default_rng(seed)
    hairy: NDArray[np.bool_] = rng.random((slides, cells)) < prevalence
    rates = np.full(slides, setting.false_flag_rate)
    if setting.spread:
        total = 1 / setting.spread - 1
        rates = rng.beta(setting.false_flag_rate * total, (1 - setting.false_flag_rate) * total, slides)
    flagged = np.where(hairy, rng.random(hairy.shape) < setting.sensitivity, rng.random(hairy.shape) < rates[:, None])
    hits, slides_with = np.unique(flagged.sum(axis=1), return_counts=True)
    advice = [advise(count_flags(number, cells, setting.stated_rate, ""), RULE) for number in hits.tolist()]
    return float(slides_with[[each is Advice.FOLLOW_UP for each in advice]].sum() / slides)


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
    computed = followed_up(RULE, setting, cells, prevalence)
    deviation = (computed * (1 - computed) / slides) ** 0.5
    assert simulate(setting, cells, prevalence, slides, seed=1) == pytest.approx(computed, abs=4 * deviation + 0.001)


@pytest.mark.parametrize("rate", [0.0002, 0.002, 0.005, 0.01])
@pytest.mark.parametrize("cells", [100, 200, 400, 1000])
def test_slides_without_hairy_cells_are_followed_up_at_most_as_often_as_the_rule_says(rate: float, cells: int) -> None:
    assert followed_up(RULE, Setting(rate, rate), cells, 0) <= RULE.significance


def test_the_defaults_find_what_the_documents_say() -> None:
    """The figures of docs/slides.md, at 0.2 % false flags and 80 % sensitivity."""
    setting = Setting(0.002, 0.002)
    assert fewest_hits(RULE, 200, 0.002) == 3
    assert followed_up(RULE, setting, 200, 0.05) == pytest.approx(0.99, abs=0.01)
    assert followed_up(RULE, setting, 200, 0.01) < 0.35
    enough = [size for size in range(10, 301, 10) if followed_up(RULE, setting, size, 0.05) >= 0.9]
    assert enough == list(range(130, 301, 10))


def test_slides_that_differ_are_followed_up_for_nothing_more_often() -> None:
    alike, different = (followed_up(RULE, Setting(0.002, 0.002, spread=spread), 400, 0) for spread in (0, 0.01))
    assert different > 2 * alike


def test_the_command_writes_a_figure_and_its_data(tmp_path: Path) -> None:
    done = CliRunner().invoke(hal.app, ["slides", "characteristics", "--out", str(tmp_path)])
    assert done.exit_code == 0, done.output
    assert (tmp_path / "slide-rule.png").read_bytes().startswith(b"\x89PNG")
    with (tmp_path / "slide-rule.csv").open(encoding="utf-8") as stream:
        rows = list(csv.DictReader(stream))
    assert {row["cells"] for row in rows} == {"100", "200", "400", "600", "1000"}
    assert all(0 <= float(row["followed_up"]) <= 1 for row in rows)
