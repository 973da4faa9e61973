"""The figures of the load test on the page and in the README are the ones that are kept."""

import json
import re
from typing import Any

import pytest

from bench.load_test import SWEEP
from tests.paths import ROOT

FIGURES = json.loads((ROOT / "docs/load-test/figures.json").read_text(encoding="utf-8"))
PAGE = (ROOT / "docs/load-test.md").read_text(encoding="utf-8")
README = (ROOT / "README.md").read_text(encoding="utf-8")


def row(load: str, step: dict[str, Any]) -> str:
    errors = sum(count for outcome, count in step["outcomes"].items() if outcome != "ok")
    rates = [f"{step[name]:.1f}" for name in ("offered", "requests_s")]
    latencies = [f"{step['latency_ms'][name]:.0f}" for name in ("p50", "p90", "p99")]
    cells = [load, *rates, *latencies, f"{step['batches']['mean']:.1f}", str(errors)]
    return f"| {' | '.join(cells)} |"


def test_the_page_has_a_row_for_each_load() -> None:
    rows = [row("closed loop, 32 clients", FIGURES["saturation"])]
    rows += [row(f"{100 * share:.0f} % of it", step) for share, step in zip(SWEEP, FIGURES["steps"], strict=True)]
    assert [line for line in PAGE.splitlines() if re.match(r"\| (closed loop|\d+ %)", line)] == rows


@pytest.mark.parametrize("page", [PAGE, README], ids=["load-test.md", "README.md"])
def test_throughput_and_latency_at_80_percent_are_those_of_the_figures(page: str) -> None:
    busy = FIGURES["steps"][SWEEP.index(0.8)]["latency_ms"]
    if "images/load-test.png" in page:
        shown = f"{FIGURES['saturation']['images_s']:.1f} images/s", f"{busy['p50']:.0f} ms", f"{busy['p99']:.0f} ms"
        assert [figure for figure in shown if figure not in page] == []
