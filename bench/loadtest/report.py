"""What is kept of a trial: figures as JSON, and one HTML file with everything in it."""

import base64
import json
from dataclasses import asdict
from pathlib import Path
from typing import Any, Final

from jinja2 import Environment, PackageLoader, StrictUndefined

from bench.loadtest import ceiling, plots
from bench.loadtest.figures import LATE_MS, PERCENTILES
from bench.loadtest.server_side import Batches
from bench.loadtest.trial import SWEEP, Outcome, Step, errors_in_words

REPORT: Final = "report.html"
FIGURES: Final = "figures.json"
TEMPLATE: Final = "report.html.jinja"


def write(outcome: Outcome, folder: Path) -> Path:
    """Write ``report.html`` and ``figures.json`` into ``folder``; returns the first."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / FIGURES).write_text(json.dumps(as_json(outcome), indent=2) + "\n", encoding="utf-8")
    path = folder / REPORT
    path.write_text(render(outcome), encoding="utf-8")
    return path


def as_json(outcome: Outcome) -> dict[str, Any]:
    """The figures and how they were come by."""
    return {
        "target": outcome.target,
        "command": outcome.command,
        "machine": outcome.machine,
        "began": outcome.began.isoformat(timespec="seconds"),
        "model": {name: getattr(outcome.service, name) for name in ("name", "version", "precision", "device")},
        "images": {
            "origin": outcome.service.images.origin,
            "used": len(outcome.service.images.data),
            "refused": dict(outcome.service.refused),
            "per_request": outcome.bulk,
        },
        "generator_ceiling_requests_s": outcome.ceiling.requests_s,
        "warnings": outcome.warnings(),
        "saturation": outcome.saturation and _step_as_json(outcome.saturation),
        "steps": [_step_as_json(step) for step in outcome.steps],
    }


def _step_as_json(step: Step) -> dict[str, Any]:
    figures = asdict(step.figures)
    figures["latency_ms"] = {f"p{percent:g}": value for percent, value in step.figures.latency_ms.items()}
    batches: Any = step.batches
    if isinstance(step.batches, Batches):
        batches = {"count": step.batches.count, "mean": step.batches.mean, "shares": step.batches.shares()}
    load = step.run.load
    return figures | {
        "rate": load.rate,
        "concurrency": load.concurrency,
        "duration_s": load.duration_s,
        "warmup_s": load.warmup_s,
        "batches": batches,
    }


def render(outcome: Outcome) -> str:
    """The report as HTML; nothing is loaded from elsewhere."""
    environment = Environment(
        loader=PackageLoader("bench.loadtest", "."), autoescape=True, undefined=StrictUndefined, trim_blocks=True,
        lstrip_blocks=True,
    )  # fmt: skip
    environment.filters |= {"inline": _inline, "ms": _ms, "errors": errors_in_words}
    return environment.get_template(TEMPLATE).render(
        outcome=outcome,
        steps=outcome.steps,
        all_steps=[*([outcome.saturation] if outcome.saturation else []), *outcome.steps],
        percentiles=PERCENTILES,
        headline=_headline(outcome),
        pictures=_pictures(outcome),
        batches_unknown=next((step.batches for step in outcome.steps if isinstance(step.batches, str)), None),
        batches_type=Batches,
        near=ceiling.NEAR,
        late_ms=LATE_MS,
        clients=ceiling.CLIENTS,
    )


def _headline(outcome: Outcome) -> list[tuple[str, str, str]]:
    def latency(label: str, step: Step) -> tuple[str, str, str]:
        known = step.figures.latency_ms
        return label, f"{_ms(known[50.0])} ms", f"median; p99 {_ms(known[99.0])} ms"

    first = outcome.saturation or outcome.steps[0]
    rates = f"{first.figures.images_s:.1f} images/s", f"{first.figures.requests_s:.1f} requests/s"
    errors = sum(step.figures.errors for step in outcome.steps)
    end = ("Errors", str(errors), f"in {len(outcome.steps)} load{'s' if len(outcome.steps) > 1 else ''}")
    if outcome.saturation is None:
        return [("Answered", *rates), latency("Latency", first), end]
    shares = dict(zip(SWEEP, outcome.steps, strict=True))
    lower = [latency(f"At {100 * share:.0f} % of it", shares[share]) for share in (0.1, 0.8)]
    return [("At saturation", *rates), *lower, end]


def _pictures(outcome: Outcome) -> list[tuple[str, str]]:
    steps = outcome.steps
    found: list[tuple[str | None, str]] = []
    if outcome.saturation is not None and steps:
        found += [
            (plots.latency_against_load(steps, outcome.saturation), "Latency against offered load, from when each "
             "request was due. The dotted line is the rate at which the closed loop saturated the service."),
            (plots.rate_against_load(steps), "Answered requests against offered ones."),
            (plots.batch_against_load(steps), "Mean size of the batches that the service formed against offered load."),
        ]  # fmt: skip
        found.append((plots.latency_histogram(outcome.saturation), "Latencies at saturation (closed loop)."))
    for step in steps if outcome.saturation is None else ():
        found += [
            (plots.latency_histogram(step), f"Latencies: {step.figures.load}."),
            (plots.latency_over_time(step), "Latency in each second, warm-up included."),
        ]
        if isinstance(step.batches, Batches) and step.batches.count:
            found.append((plots.batch_sizes(step.batches), "Sizes of the batches that the service formed."))
    return [(picture, caption) for picture, caption in found if picture is not None]


def _inline(svg: str) -> str:
    return "data:image/svg+xml;base64," + base64.b64encode(svg.encode()).decode()


def _ms(value: float | None) -> str:
    return "-" if value is None else f"{value:.1f}"
