"""The report of the shipped bundle on the page and in the README is the one whose figures are kept."""

import json
from typing import Any

import pytest

from tests.bench.loadtest.shipped_report import BEGIN, END, SHARES, section, sentence, with_report
from tests.paths import ROOT

KEPT = ROOT / "docs/load-test/figures.json"
PAGE = (ROOT / "docs/load-test.md").read_text(encoding="utf-8")


def step(images_s: float, **latency: float | None) -> dict[str, Any]:
    return {
        "offered": images_s,
        "requests_s": images_s,
        "images_s": images_s,
        "latency_ms": {"p50": 1.0, "p90": 2.0, "p99": None} | latency,
        "outcomes": {"ok": 9, "429": 2, "timeout": 1},
        "batches": {"mean": 3.25},
        "concurrency": 32,
        "duration_s": 30.0,
    }


FIGURES = {
    "machine": "x86_64, 2 cores, Linux, Python 3.11.7",
    "began": "2026-01-02T03:04:05+00:00",
    "model": {"name": "hal-c", "version": "2.0.0", "precision": "int8", "device": "cpu"},
    "images": {"origin": "25 images of cells"},
    "warnings": ["batches stayed small"],
    "saturation": step(40.04),
    "steps": [step(float(share), p50=90.4, p99=210.6) for share in SHARES],
}


def test_the_sentence_has_three_figures() -> None:
    assert sentence(FIGURES) == (
        "On one machine (x86_64, 2 cores, Linux), load generator included, hal-c 2.0.0 (int8, cpu) answers "
        "**40.0 images/s** at saturation; at 80 % of that half of the requests are answered within **90 ms** and 99 of "
        "100 within **211 ms**."
    )


def test_each_load_is_a_row_and_nothing_is_hidden() -> None:
    lines = section(FIGURES).splitlines()
    assert "| closed loop, 32 clients | 40.0 | 40.0 | 1 | 2 | - | 3.2 | 3 |" in lines
    assert "| 80 % of it | 80.0 | 80.0 | 90 | 2 | 211 | 3.2 | 3 |" in lines
    assert "- batches stayed small" in lines


def test_a_new_report_takes_the_place_of_the_old_one() -> None:
    once = with_report(f"before\n{BEGIN}old\n{END}after\n", FIGURES)
    assert once == f"before\n{BEGIN}{section(FIGURES)}{END}after\n"
    assert with_report(once, FIGURES) == once
    with pytest.raises(SystemExit, match="has no lines"):
        with_report("no marks\n", FIGURES)


def test_page_and_readme_show_the_report_that_is_kept() -> None:
    if not KEPT.exists():
        assert "images/load-test.png" not in PAGE
        pytest.skip("no report is kept yet: python -m tests.loadtest.shipped_report")
    figures = json.loads(KEPT.read_text(encoding="utf-8"))
    assert with_report(PAGE, figures) == PAGE
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    if "images/load-test.png" in readme:
        assert sentence(figures) in " ".join(readme.split())
