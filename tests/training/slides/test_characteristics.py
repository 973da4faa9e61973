"""The computed characteristics against slides drawn cell by cell, and what docs/slides.md claims of the rule."""

import csv
from pathlib import Path

import pytest
from typer.testing import CliRunner

import hal
from contract.slide import SlideRule
from training.slides.characteristics import Setting, characteristics, fewest_cells, fewest_hits, simulate

RULE = SlideRule()


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
