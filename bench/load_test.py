"""``hal load-test``: look at the service, put one load or a sweep on it, and keep what its clients and itself saw."""

import ipaddress
import json
import shlex
import sys
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import Any, Final
from urllib.parse import urlsplit

from bench import BenchError
from bench.load import MOST_CONNECTIONS, Load, Samples, send
from bench.processes import machine
from bench.requests import Request, Target, code_of, fetch, form, forms
from bench.statistics import BUSY_SHARE, LATE_MS, Batches, Figures, MetricsError, batches, figures_of

SWEEP: Final = (0.1, 0.25, 0.5, 0.7, 0.8, 0.9, 1.0, 1.2)
"""Offered loads as shares of the rate at saturation."""
_SATURATING: Final = 32
"""Clients of the closed loop that finds saturation."""
_PROBED_AT_ONCE: Final = 16


@dataclass(frozen=True, slots=True)
class TestedService:
    """What is known of the service before the test; ``refused`` counts images by code that it refuses, not sent."""

    model: Mapping[str, str]
    files: Sequence[bytes]
    origin: str
    refused: Mapping[str, int]


@dataclass(frozen=True, slots=True)
class Step:
    """One load with its figures and the batches that the service formed; ``None`` where it does not tell."""

    load: Load
    samples: Samples
    figures: Figures
    batches: Batches | None

    @property
    def warning(self) -> str | None:
        """Why the figures may not be the service's."""
        figures = self.figures
        if figures.late_ms > LATE_MS:
            return (
                f"{figures.load}: the generator fell behind its schedule; 1 % of the requests were sent more than "
                f"{figures.late_ms:.0f} ms late, which counts as latency. Run it on another machine."
            )
        if figures.cpu_share > BUSY_SHARE:
            return (
                f"{figures.load}: the generator used {figures.cpu_share:.0%} of a core and may be the limit that was "
                "measured. Run several generators."
            )
        return None


@dataclass(frozen=True, slots=True)
class LoadTest:
    """All that a report tells.

    Attributes:
        bulk: images in a request.
        saturation: the closed loop that a sweep begins with; ``None`` without a sweep.
        no_batches: why batch sizes are not known, or ``None``.
        machine: where the generator ran.
    """

    target: str
    service: TestedService
    bulk: int
    saturation: Step | None
    steps: Sequence[Step]
    no_batches: str | None
    command: str
    machine: str
    began: datetime

    @property
    def all_steps(self) -> list[Step]:
        return [*([self.saturation] if self.saturation else []), *self.steps]

    @property
    def warnings(self) -> list[str]:
        return [step.warning for step in self.all_steps if step.warning]

    @property
    def same_machine(self) -> bool:
        host = urlsplit(self.target).hostname or ""
        try:
            return ipaddress.ip_address(host).is_loopback
        except ValueError:
            return host == "localhost"


def load_test(
    target: Target,
    files: Sequence[bytes],
    origin: str,
    load: Load,
    *,
    bulk: int,
    sweep: bool,
    say: Callable[[str], None],
) -> LoadTest:
    """Measure; ``say`` is given a line for each load.

    Args:
        files: encoded images, each sent once before the test: answers to images that are refused are worth nothing.
        origin: of the images, in words.
        load: the load; in a sweep a closed loop, to find saturation.
        bulk: images in a request.
        sweep: put open loops of 10 to 120 % of saturation on the service.

    Raises:
        BenchError: there is no service to test, or it answers nothing.
    """
    began = datetime.now(UTC)
    service = inspect(target, files, origin)
    requests = forms(service.files, bulk)
    no_batches, saturation, loads = None, None, [load]
    try:
        batches(target)
    except MetricsError as error:
        no_batches = str(error)

    def step(load: Load) -> Step:
        before = None if no_batches else batches(target)
        samples = send(target, requests, load)
        seen = batches(target).since(before) if before else None
        return Step(load, samples, figures_of(samples, load, bulk), seen)

    if sweep:
        saturation = step(load)
        full = saturation.figures.requests_s
        if not full:
            raise BenchError(
                f"no request was answered within {load.duration_s:g} s ({saturation.figures.errors_in_words}); give a "
                "longer --duration"
            )
        say(f"saturation: {full:.1f} requests/s")
        loads = [replace(load, connections=MOST_CONNECTIONS, rate=share * full) for share in SWEEP]
    steps = []
    for each in loads:
        steps.append(step(each))
        say(line(steps[-1]))
    return LoadTest(
        target=target.url,
        service=service,
        bulk=bulk,
        saturation=saturation,
        steps=steps,
        no_batches=no_batches,
        command=shlex.join(["hal", *sys.argv[1:]]),
        machine="{processor}, {cores} cores, {system}, Python {python}".format(**machine()),
        began=began,
    )


def load_of(rate: float | None, concurrency: int | None, *, sweep: bool, **options: Any) -> Load:
    if rate is not None:
        return Load(rate=rate, **options)
    return Load(connections=concurrency or (_SATURATING if sweep else 8), **options)


def inspect(target: Target, files: Sequence[bytes], origin: str) -> TestedService:
    """Ask what is served, and send each image once.

    Raises:
        BenchError: no service answers there, it refuses the key, or it refuses every image.
    """
    accepted: list[bytes] = []
    refused: Counter[str] = Counter()
    try:
        model = _json(target, "/model")
        for start in range(0, len(files), _PROBED_AT_ONCE):
            part = files[start : start + _PROBED_AT_ONCE]
            for file, result in zip(part, _json(target, "/classify", form(part))["results"], strict=True):
                if "error" in result:
                    refused[result["error"]["code"]] += 1
                else:
                    accepted.append(file)
    except (OSError, ValueError, KeyError) as error:
        raise BenchError(
            f"no HAL service answers at {target.url} ({error}); start one with 'hal serve' or correct --url"
        ) from error
    if not accepted:
        codes = ", ".join(f"{code} ({count})" for code, count in refused.items())
        raise BenchError(f"the service refuses all of the {origin}: {codes}; give others with --images")
    described = {name: str(model.get(name)) for name in ("name", "version", "precision", "device")}
    return TestedService(described, accepted, origin, dict(refused))


def _json(target: Target, path: str, request: Request | None = None) -> dict[str, Any]:
    status, body = fetch(target, path, request)
    if status not in (200, 422):  # 422: every image was refused.
        hint = "; give a key with --api-key-file" if status in (401, 403) else ""
        raise BenchError(
            f"{'POST' if request else 'GET'} {path} at {target.url} was answered {code_of(status, body)}{hint}"
        )
    document: dict[str, Any] = json.loads(body)
    return document


def line(step: Step) -> str:
    figures = step.figures
    latency = ", ".join(f"{name} {'-' if ms is None else f'{ms:.1f}'}" for name, ms in figures.latency_ms.items())
    size = f"; {step.batches.mean:.1f} images in a batch (mean)" if step.batches and step.batches.mean else ""
    errors = f"; errors: {figures.errors_in_words}" if figures.errors else ""
    rates = f"{figures.requests_s:.1f} requests/s, {figures.images_s:.1f} images/s"
    return f"{figures.load}: {rates}; ms: {latency}{size}{errors}"
