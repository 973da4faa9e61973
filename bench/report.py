"""What is kept of a measurement: figures as JSON, a load test as one HTML file, ``hal bench service`` as Markdown."""

import base64
import json
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any, Final

from jinja2 import Environment, PackageLoader, StrictUndefined

from bench import plots
from bench.load_test import SWEEP, LoadTest, Step
from bench.plots import KINDS
from bench.statistics import BUSY_SHARE, LATE_MS
from contract.bundle import Bundle

LARGEST_GROWTH: Final = 0.02
"""Of memory in a soak, that still counts as steady."""


def write_load_test(outcome: LoadTest, folder: Path) -> Path:
    """Write ``report.html`` and ``figures.json`` into ``folder``; returns the first."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "figures.json").write_text(json.dumps(as_json(outcome), indent=2) + "\n", encoding="utf-8")
    path = folder / "report.html"
    path.write_text(as_html(outcome), encoding="utf-8")
    return path


def as_json(outcome: LoadTest) -> dict[str, Any]:
    """The figures of a load test, and what was done."""
    return {
        "target": outcome.target,
        "command": outcome.command,
        "machine": outcome.machine,
        "began": outcome.began.isoformat(timespec="seconds"),
        "model": dict(outcome.service.model),
        "images": {
            "origin": outcome.service.origin,
            "used": len(outcome.service.files),
            "refused": dict(outcome.service.refused),
            "per_request": outcome.bulk,
        },
        "warnings": outcome.warnings,
        "saturation": outcome.saturation and _step_as_json(outcome.saturation),
        "steps": [_step_as_json(step) for step in outcome.steps],
    }


def _step_as_json(step: Step) -> dict[str, Any]:
    batches = step.batches and {
        "count": step.batches.count,
        "mean": step.batches.mean,
        "shares": step.batches.shares(),
    }
    return asdict(step.load) | asdict(step.figures) | {"batches": batches}


def as_html(outcome: LoadTest) -> str:
    """The report of a load test; nothing is loaded from elsewhere."""
    environment = Environment(
        loader=PackageLoader("bench", "."), autoescape=True, undefined=StrictUndefined, trim_blocks=True,
        lstrip_blocks=True,
    )  # fmt: skip
    environment.filters |= {"inline": _inline, "ms": _ms}
    return environment.get_template("report.html.jinja").render(
        outcome=outcome,
        headline=_headline(outcome),
        pictures=[(picture, caption) for picture, caption in _pictures(outcome) if picture is not None],
        busy_share=BUSY_SHARE,
        late_ms=LATE_MS,
    )


def _headline(outcome: LoadTest) -> list[tuple[str, str, str]]:
    def latency(label: str, step: Step) -> tuple[str, str, str]:
        known = step.figures.latency_ms
        return label, f"{_ms(known['p50'])} ms", f"median; p99 {_ms(known['p99'])} ms"

    first = outcome.all_steps[0]
    rates = f"{first.figures.images_s:.1f} images/s", f"{first.figures.requests_s:.1f} requests/s"
    errors = sum(step.figures.errors for step in outcome.steps)
    end = ("Errors", str(errors), f"in {len(outcome.steps)} load{'s' if len(outcome.steps) > 1 else ''}")
    if outcome.saturation is None:
        return [("Answered", *rates), latency("Latency", first), end]
    shares = dict(zip(SWEEP, outcome.steps, strict=True))
    lower = [latency(f"At {100 * share:.0f} % of saturation", shares[share]) for share in (0.1, 0.8)]
    return [("At saturation", *rates), *lower, end]


def _pictures(outcome: LoadTest) -> list[tuple[str | None, str]]:
    if outcome.saturation is not None:
        return [
            (
                plots.latency_against_load(outcome.steps, outcome.saturation),
                "Latency against offered load, from when each request was due. The dotted line is the rate at "
                "which the closed loop saturated the service.",
            ),
            (plots.rate_against_load(outcome.steps), "Answered requests and errors against offered requests."),
            (plots.batch_against_load(outcome.steps), "Mean size of the service's batches against offered load."),
            (plots.latency_histogram(outcome.saturation), "Latencies at saturation (closed loop)."),
        ]
    (step,) = outcome.steps
    return [
        (plots.latency_histogram(step), f"Latencies: {step.figures.load}."),
        (plots.latency_over_time(step), "Latency in each second, warm-up included."),
        (plots.batch_sizes(step.batches), "Sizes of the service's batches."),
    ]


def _inline(svg: str) -> str:
    return "data:image/svg+xml;base64," + base64.b64encode(svg.encode()).decode()


def table(header: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """A Markdown table whose first column is text and whose others are numbers."""
    lines = [header, ["---", *["---:"] * (len(header) - 1)], *rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines) + "\n"


def null_table(rows: Sequence[dict[str, Any]]) -> str:
    """Images a second of every candidate, and how many times as many HAL answered."""
    ours = {row["kind"]: row["images_s"] for row in rows if row["candidate"] == "HAL" and "note" not in row}
    cells = []
    for row in rows:
        name = f"{row['candidate']}, {KINDS[row['kind']]}"
        if "note" in row:
            cells.append([name, "did not start", "", "", "", "", "", ""])
            continue
        images = row["images_s"]
        cells.append(
            [
                name,
                f"{images:.0f}",
                _ratio(ours.get(row["kind"]), images),
                _ms(row["latency_ms"]["p50"]),
                _ms(row["latency_ms"]["p99"]),
                _ratio(1e6 * row["server_busy_cores"], images, 0),
                f"{row['other_busy_cores']:.2f}",
                str(sum(count for outcome, count in row["outcomes"].items() if outcome != "ok")),
            ]
        )
    header = ["images/s", "HAL is x times this", "p50 ms", "p99 ms", "CPU µs an image", "others' cores", "errors"]
    return table(["null bundle", *header], cells)


def real_table(figures: dict[str, Any]) -> str:
    """The real bundle: each figure with what it is compared with."""
    bare, saturated, busy, plain = (figures[name] for name in ("bare", "saturated", "busy", "plain"))
    idle_ms, rested_ms = figures["idle"]["latency_ms"]["p50"], bare["one_image_after_a_pause_ms"]
    loop, rate, busy_p99 = bare["images_per_second"], saturated["requests_s"], busy["latency_ms"]["p99"]
    added = "-" if idle_ms is None else f"{idle_ms - rested_ms:+.1f}"
    rows = [
        ["decoding and ONNX Runtime in a loop, images/s", f"{loop:.2f}", ""],
        ["HAL saturated, images/s; share of the loop", f"{rate:.2f}", _ratio(rate, loop, 3)],
        ["HAL saturated, p99 ms", _ms(saturated["latency_ms"]["p99"]), ""],
        ["plain FastAPI saturated, images/s; HAL is x times this", f"{plain['requests_s']:.2f}",
         _ratio(rate, plain["requests_s"])],
        ["plain FastAPI saturated, p99 ms", _ms(plain["latency_ms"]["p99"]), ""],
        [f"HAL at 80 % of saturation, p99 ms; in batches of the mean size then, {busy['batch']:.1f}", _ms(busy_p99),
         _ratio(busy_p99, figures["batch_ms"])],
        ["a greedy batcher that costs nothing, the same arrivals, p99 ms; HAL is x times this",
         _ms(figures["ideal_same_ms"]), _ratio(busy_p99, figures["ideal_same_ms"])],
        ["the same with 50,000 arrivals, p99 ms; HAL is x times this", _ms(figures["ideal_ms"]),
         _ratio(busy_p99, figures["ideal_ms"])],
        ["one image in a loop without HTTP, ms; after half a second's pause", _ms(bare["one_image_ms"]),
         _ms(rested_ms)],
        ["HAL idle, p50 ms of one image; ms above the loop after a pause", _ms(idle_ms), added],
        ["HAL idle without requests, cores", f"{figures['idle_busy_cores']:.4f}", ""],
    ]  # fmt: skip
    return table(["real bundle", "value", "against"], rows)


def device_table(rows: Sequence[dict[str, Any]]) -> str:
    """Latency and batches by offered load."""
    cells = [
        [
            row["way"],
            "saturated" if row["rate"] is None else f"{row['rate']:.0f}",
            f"{row['images_s']:.0f}",
            _ms(row["latency_ms"]["p50"]),
            _ms(row["latency_ms"]["p99"]),
            f"{row['batch']:.1f}" if "batch" in row else "",
            f"{row['busy']:.3f}" if "busy" in row else "",
        ]
        for row in rows
    ]
    return table(["simulated device", "offered/s", "images/s", "p50 ms", "p99 ms", "batch", "device busy"], cells)


def soak_table(figures: dict[str, Any], bundle: Bundle) -> str:
    """Memory of a bundle's service at saturation, and whether it grew."""
    held = [held / 2**20 for _, held in figures["memory"]]
    grown = figures["growth"]
    verdict = "not read" if grown is None else f"{grown:+.2%}, {'steady' if grown < LARGEST_GROWTH else 'grows'}"
    outcomes = ", ".join(f"{outcome}: {count}" for outcome, count in sorted(figures["outcomes"].items()))
    described = bundle.description
    rows = [
        [f"{described.name} {described.version} ({bundle.file().precision}), seconds", f"{figures['seconds']:.0f}"],
        ["images/s; requests by outcome", f"{figures['images_s']:.1f}; {outcomes}"],
        ["memory at first, at last, at most, MiB", f"{held[0]:.1f} {held[-1]:.1f} {max(held):.1f}" if held else ""],
        [f"growth, less than {LARGEST_GROWTH:.0%} is steady", verdict],
    ]
    return table(["soak at saturation", "value"], rows)


def _ms(value: float | None) -> str:
    return "-" if value is None else f"{value:.1f}"


def _ratio(value: float | None, of: float | None, digits: int = 2) -> str:
    return f"{value / of:.{digits}f}" if value is not None and of else "-"
