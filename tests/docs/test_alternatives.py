"""docs/alternatives.md: its figures are those of docs/performance.md, and it says where others are better."""

import re

from tests.docs.pages import text

PAGE = text("docs/alternatives.md")


def ratio(candidate: str) -> float:
    """How many times a candidate's requests HAL answers, by the table of the null bundle."""
    (found,) = re.findall(
        rf"^\| {candidate}, form, 1 image \| \d+ \| ([\d.]+) \|", text("docs/performance.md"), re.MULTILINE
    )
    return float(found)


def test_the_ratios_are_those_that_were_measured() -> None:
    said = re.findall(r"HAL answers ([\d.]+) times as many", PAGE)
    assert [float(times) for times in said] == [round(ratio("BentoML"), 1), round(ratio("LitServe"), 1)]


def test_what_others_do_better_is_said() -> None:
    rows = [line.strip("| ").split(" | ") for line in PAGE.splitlines() if line.startswith("| ")]
    assert any(row[1] == "**no**" and "**yes**" in row[2:] for row in rows)
    assert {line.count("|") for line in PAGE.splitlines() if line.startswith("|")} == {6}
