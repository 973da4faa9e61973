"""The whole trial: the service looked at, the generator's ceiling, one load or a sweep, and what the service saw."""

import os
import platform
import shlex
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import Final

from bench.loadtest import ceiling, server_side
from bench.loadtest.errors import LoadTestError
from bench.loadtest.figures import Figures, figures_of
from bench.loadtest.generator import Run, run
from bench.loadtest.plan import Load, Target
from bench.loadtest.requests import Form, Images, forms
from bench.loadtest.server_side import Batches, Service

SWEEP: Final = (0.1, 0.25, 0.5, 0.7, 0.8, 0.9, 1.0, 1.2)
"""Offered loads as shares of the rate at saturation."""
_CEILING_S: Final = 2.0


@dataclass(frozen=True, slots=True)
class Step:
    """One load with its figures and the batches that the service formed, or why they are not known."""

    run: Run
    figures: Figures
    batches: Batches | str


@dataclass(frozen=True, slots=True)
class Outcome:
    """All that a report tells.

    Attributes:
        target: the service's address.
        service: what it serves.
        bulk: images in a request.
        ceiling: the generator against a server that does nothing.
        saturation: the closed loop that a sweep begins with; ``None`` without a sweep.
        steps: the loads in their order.
        command: how to do it again.
        machine: where the generator ran.
        began: when.
    """

    target: str
    service: Service
    bulk: int
    ceiling: Figures
    saturation: Step | None
    steps: tuple[Step, ...]
    command: str
    machine: str
    began: datetime

    def warnings(self) -> list[str]:
        """Why the figures may not be the service's."""
        found = []
        for step in (*([self.saturation] if self.saturation else ()), *self.steps):
            figures = step.figures
            if figures.not_sent:
                found.append(f"{figures.load}: {figures.not_sent} requests were not sent, too many were under way.")
            elif figures.fell_behind:
                found.append(
                    f"{figures.load}: the generator fell behind its schedule, 1 % of the requests were sent more than "
                    f"{figures.late_ms:.0f} ms late (their latency counts from when they were due)."
                )
            if figures.requests_s > ceiling.NEAR * self.ceiling.requests_s:
                found.append(
                    f"{figures.load}: {figures.requests_s:.0f} requests/s is near the generator's own ceiling of "
                    f"{self.ceiling.requests_s:.0f}; run several generators, or this one on another machine."
                )
        return found


async def perform(
    target: Target, images: Images, load: Load, *, bulk: int, sweep: bool, say: Callable[[str], None]
) -> Outcome:
    """Run it.

    Raises:
        LoadTestError: there is no service to test, or it answers nothing.
    """
    began = datetime.now(UTC)
    service = await server_side.inspect(target, images)
    prepared = forms(service.images.data, bulk)
    own = await ceiling.measure(prepared, min(_CEILING_S, load.duration_s))
    say(f"generator alone: {own.requests_s:.0f} requests/s against a server that does nothing")
    saturation = None
    loads = [load]
    if sweep:
        saturation = await _step(target, prepared, replace(load, rate=None, concurrency=load.concurrency or 32))
        full = saturation.figures.requests_s
        if not full:
            raise LoadTestError(
                f"no request was answered within {load.duration_s:g} s ({errors_in_words(saturation.figures)}); give a "
                "longer --duration"
            )
        say(f"saturation: {full:.1f} requests/s")
        loads = [replace(load, concurrency=None, rate=share * full) for share in SWEEP]
    steps = []
    for each in loads:
        steps.append(await _step(target, prepared, each))
        say(line(steps[-1].figures))
    return Outcome(
        target=target.url,
        service=service,
        bulk=bulk,
        ceiling=own,
        saturation=saturation,
        steps=tuple(steps),
        command=shlex.join(["hal", *sys.argv[1:]]),
        machine=f"{platform.processor() or platform.machine()}, {cores()} cores, {platform.system()}, "
        f"Python {platform.python_version()}",
        began=began,
    )


async def _step(target: Target, prepared: Sequence[Form], load: Load) -> Step:
    before = await server_side.batches(target)
    found = await run(target, prepared, load)
    after = await server_side.batches(target)
    seen = after.since(before) if isinstance(after, Batches) and isinstance(before, Batches) else after
    return Step(found, figures_of(found), seen)


def line(figures: Figures) -> str:
    """Figures in one line."""
    latency = ", ".join(
        f"p{percent:g} {value:.1f}" if value is not None else f"p{percent:g} -"
        for percent, value in figures.latency_ms.items()
    )
    errors = f"; errors: {errors_in_words(figures)}" if figures.errors else ""
    return (
        f"{figures.load}: {figures.requests_s:.1f} requests/s, {figures.images_s:.1f} images/s; ms: {latency}{errors}"
    )


def errors_in_words(figures: Figures) -> str:
    """Errors by code."""
    return ", ".join(f"{outcome} {count}" for outcome, count in figures.outcomes.items() if outcome != "ok") or "none"


def cores() -> int:
    """Cores that this process may run on."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
