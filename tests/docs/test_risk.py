"""docs/risk.md: its intervals are those of the service's own code, and it claims nothing that it leaves open."""

import re
from contextlib import redirect_stdout
from io import StringIO

from service.settings import Settings
from tests.docs.pages import blocks, text

PAGE = text("docs/risk.md")


def rows(heading: str) -> list[list[str]]:
    """The cells of the first table below a heading (or bold words), without its head."""
    lines = PAGE[PAGE.index(heading) :].splitlines()
    first = next(place for place, line in enumerate(lines) if line.startswith("|"))
    table = [line for line in lines[first:] if line.startswith("|")]
    last = next((place for place, line in enumerate(lines[first:]) if not line.startswith("|")), len(table))
    return [[cell.strip() for cell in line.strip("|").split("|")] for line in lines[first + 2 : first + last]]


def test_the_intervals_are_those_that_the_program_prints() -> None:
    (program,) = blocks("docs/risk.md", "python")
    printed = StringIO()
    with redirect_stdout(printed):
        exec(compile(program, "intervals.py", "exec"), {})  # noqa: S102
    assert len(printed.getvalue().splitlines()) > 15
    assert printed.getvalue() in PAGE


def test_the_worth_of_cells_of_few_slides_is_the_formula_s() -> None:
    prose = " ".join(PAGE.split())
    said = re.search(
        r"at r = ([\d.]+) and (\d+) cells a slide, ([\d,]+) cells of (\d+) slides are worth ([\d,]+)", prose
    )
    assert said is not None
    correlation, of_slide, cells, slides, worth = (float(number.replace(",", "")) for number in said.groups())
    assert cells == of_slide * slides
    assert round(cells / (1 + (of_slide - 1) * correlation)) == worth


def test_every_failure_says_what_remains() -> None:
    for heading, fewest in (("**Foreseeable misuse.**", 5), ("## Known failure modes", 12)):
        table = rows(heading)
        assert len(table) >= fewest
        assert [row for row in table if not (row[-1] and row[-2])] == []


def test_no_criterion_is_set_for_the_laboratory() -> None:
    criteria = [row[-1] for row in rows("## Before use on site")]
    assert len(criteria) == 9
    assert [cell for cell in criteria if re.search(r"\d", cell.replace("HAL_SITE_FPR", ""))] == []


def test_settings_that_decide_answers_are_named_as_changes() -> None:
    named = set(re.findall(r"HAL_[A-Z_]+", PAGE[PAGE.index("## Change") :]))
    deciding = {
        name for name in Settings.model_fields if name in ("fit", "precision", "device", "site_fpr") or "slide" in name
    }
    assert {f"HAL_{name.upper()}" for name in deciding} <= named
