"""The load test of the shipped bundle that the README shows: ``python -m tests.loadtest.shipped_report``.

Serves the shipped bundle on this machine, sweeps it with ``hal load-test`` on the sample cells, and writes
``docs/load-test/`` (report.html, figures.json), ``docs/images/load-test.png`` (the head of the report, in the local
Chromium) and the table in ``docs/load-test.md``; prints the sentence for the README. It takes some five minutes, in
which nothing else may be at work.
"""

import argparse
import io
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

from PIL import Image

from bench.loadtest.trial import SWEEP
from tests.service.page.browser import chromium
from tests.service.process import ROOT, environment, running

BEGIN, END = "<!-- report -->\n", "<!-- end of report -->\n"
WIDTH, HEIGHT = 1160, 1225
SHARES = tuple(f"{100 * share:.0f}" for share in SWEEP)
"""Of saturation, in per cent."""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--duration", type=float, default=30, help="seconds of each load")
    parser.add_argument("--bundle", type=Path, default=Path("models/hal-c/2"))
    parser.add_argument("--docs", type=Path, default=ROOT / "docs")
    parser.add_argument("--again", action="store_true", help="no load test: the picture and table of the last one")
    given = parser.parse_args()
    results = given.docs / "load-test"
    if not given.again:
        measure(given.bundle, results, given.duration)
    picture(results / "report.html", given.docs / "images/load-test.png")
    figures = json.loads((results / "figures.json").read_text(encoding="utf-8"))
    page = given.docs / "load-test.md"
    page.write_text(with_report(page.read_text(encoding="utf-8"), figures), encoding="utf-8")
    print(f"\nFor the README:\n\n{sentence(figures)}")  # noqa: T201


def measure(bundle: Path, results: Path, duration: float) -> None:
    """Serve with the service's own choice of threads, and put the loads on it."""
    with running(ROOT / bundle, HAL_ENGINE_THREADS="0") as served:
        # Relative, since the report says how to make it again, and no machine's folders belong into the repository.
        out = os.path.relpath(results, ROOT)
        arguments = ["--url", served.url, "--sweep", "--duration", f"{duration:g}", "--out", out]
        subprocess.run([sys.executable, "-m", "hal", "load-test", *arguments], cwd=ROOT, env=environment(), check=True)


def picture(report: Path, out: Path) -> None:
    """The head of the report: figures and the first plot."""
    with chromium() as browser:
        page = browser.new_page(viewport={"width": WIDTH, "height": HEIGHT})
        page.goto(report.resolve().as_uri())
        page.evaluate("Promise.all([...document.images].map((image) => image.decode()))")
        taken = Image.open(io.BytesIO(page.screenshot())).convert("RGB")
    out.parent.mkdir(parents=True, exist_ok=True)
    taken.quantize(128, dither=Image.Dither.NONE).save(out, optimize=True)


def sentence(figures: dict[str, Any]) -> str:
    """Three figures in words."""
    busy = at(figures, "80")
    cells, latency = figures["saturation"]["images_s"], busy["latency_ms"]
    return (
        f"On one machine ({figures['machine'].split(', Python')[0]}), load generator included, {name(figures)} answers "
        f"**{cells:.1f} images/s** at saturation; at 80 % of that half of the requests are answered within "
        f"**{milliseconds(latency['p50'])}** and 99 of 100 within **{milliseconds(latency['p99'])}**."
    )


def with_report(page: str, figures: dict[str, Any]) -> str:
    """The page with this report between its marks."""
    head, _, rest = page.partition(BEGIN)
    _, mark, tail = rest.partition(END)
    if not mark:
        raise SystemExit(f"load-test.md has no lines {BEGIN.strip()!r} and {END.strip()!r}")
    return head + BEGIN + section(figures) + END + tail


def section(figures: dict[str, Any]) -> str:
    """The report as a part of the page."""
    load = figures["saturation"]
    rows = [row(f"closed loop, {load['concurrency']} clients", load)]
    rows += [row(f"{share} % of it", step) for share, step in zip(SHARES, figures["steps"], strict=True)]
    return (
        f"{sentence(figures)}\n\n"
        "| Load | Offered /s | Answered /s | p50 ms | p90 ms | p99 ms | Batch, mean | Errors |\n"
        "|---|---:|---:|---:|---:|---:|---:|---:|\n"
        + "\n".join(rows)
        + f"\n\n{figures['began'][:10]}, {name(figures)}, {figures['images']['origin']}, one in a request, "
        f"{load['duration_s']:g} s each load; `python -m tests.loadtest.shipped_report` does it again. "
        "[Figures](load-test/figures.json), [the whole report](load-test/report.html).\n\n"
        "![The report: figures of each load, and latency against offered load](images/load-test.png)\n\n"
        + "".join(f"- {warning}\n" for warning in figures["warnings"])
    )


def row(load: str, step: dict[str, Any]) -> str:
    latency = step["latency_ms"]
    batches = step["batches"]
    mean = batches["mean"] if isinstance(batches, dict) else None
    errors = sum(count for outcome, count in step["outcomes"].items() if outcome != "ok")
    cells = [
        load,
        f"{step['offered']:.1f}",
        f"{step['requests_s']:.1f}",
        *("-" if latency[p] is None else f"{latency[p]:.0f}" for p in ("p50", "p90", "p99")),
        "-" if mean is None else f"{mean:.1f}",
        str(errors),
    ]
    return f"| {' | '.join(cells)} |"


def at(figures: dict[str, Any], share: str) -> dict[str, Any]:
    """The step at a share of saturation, in per cent."""
    found: dict[str, Any] = figures["steps"][SHARES.index(share)]
    return found


def name(figures: dict[str, Any]) -> str:
    model = figures["model"]
    return f"{model['name']} {model['version']} ({model['precision']}, {model['device']})"


def milliseconds(value: float | None) -> str:
    return "(too few requests)" if value is None else f"{value:.0f} ms"


if __name__ == "__main__":
    main()
