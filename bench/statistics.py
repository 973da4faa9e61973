"""From samples and a service's metrics to figures."""

import math
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final

import numpy as np
from numpy.typing import NDArray
from prometheus_client.parser import text_string_to_metric_families

from bench import BenchError
from bench.load import OK, Load, Samples, send
from bench.requests import Request, Target, fetch

PERCENTILES: Final = (50.0, 90.0, 95.0, 99.0, 99.9)
LATE_MS: Final = 10.0
"""A generator whose 99th percentile of lateness is above this did not keep its schedule."""
BUSY_SHARE: Final = 0.8
"""A generator that uses more than this share of a core may be the limit that was measured."""


@dataclass(frozen=True, slots=True)
class Figures:
    """What one load measured.

    Attributes:
        requests: answered within the measured time.
        offered: requests a second that were due.
        latency_ms: by percentile (``p50`` ...), from when a request was due; ``None`` where fewer than one lies beyond.
        mean_ms, slowest_ms: of the same latencies; ``None`` without an answer.
        late_ms: by how much requests were sent too late, the 99th percentile.
        cpu_share: of one core, used by the generator.
    """

    load: str
    requests: int
    offered: float
    requests_s: float
    images_s: float
    latency_ms: Mapping[str, float | None]
    mean_ms: float | None
    slowest_ms: float | None
    outcomes: Mapping[str, int]
    late_ms: float
    cpu_share: float

    @property
    def errors(self) -> int:
        """Requests that were not answered."""
        return sum(self.outcomes.values()) - self.outcomes.get(OK, 0)

    @property
    def errors_in_words(self) -> str:
        return ", ".join(f"{outcome} {count}" for outcome, count in self.outcomes.items() if outcome != OK) or "none"


def measure(target: Target, requests: Sequence[Request], load: Load) -> Figures:
    return figures_of(send(target, requests, load), load, requests[0].images)


def figures_of(samples: Samples, load: Load, images: int = 1) -> Figures:
    """The figures of requests of ``images`` images each."""
    due, late = np.array(samples.due), 1000 * (np.array(samples.sent) - samples.due)
    counted = (due >= 0) & (due < load.duration_s)
    latencies = latencies_ms(samples, load)
    answered = np.sort(np.array(samples.ended)[_answered(samples)])
    requests_s = _rate(answered, load)
    return Figures(
        load=str(load),
        requests=int(((answered >= 0) & (answered < load.duration_s)).sum()),
        offered=int(counted.sum()) / load.duration_s,
        requests_s=requests_s,
        images_s=images * requests_s,
        latency_ms={f"p{percent:g}": percentile(latencies, percent) for percent in PERCENTILES},
        mean_ms=float(latencies.mean()) if len(latencies) else None,
        slowest_ms=float(latencies.max()) if len(latencies) else None,
        outcomes=dict(Counter(np.array(samples.outcomes)[counted].tolist()).most_common()),
        late_ms=float(np.percentile(late[counted], 99)) if counted.any() else 0.0,
        cpu_share=samples.cpu_share,
    )


def latencies_ms(samples: Samples, load: Load) -> NDArray[np.float64]:
    """Of the requests that were due in the measured time and answered, from when they were due."""
    due, ended = np.array(samples.due), np.array(samples.ended)
    latencies: NDArray[np.float64] = 1000 * (ended - due)[_answered(samples) & (due >= 0) & (due < load.duration_s)]
    return latencies


def _answered(samples: Samples) -> NDArray[np.bool_]:
    return np.array([outcome == OK for outcome in samples.outcomes], dtype=bool)


def _rate(answered: NDArray[np.float64], load: Load) -> float:
    """Answers a second, by when they came, in order.

    In a closed loop they come in batches. What a batch more or less in the measured time would add is left out by
    counting from the last answer before it to the last one in it, unless the service then stalled until its end.
    """
    so_far = answered[answered < load.duration_s]
    within = so_far[so_far >= 0]
    if load.rate is None and 0 < len(within) < len(so_far):
        stalled = load.duration_s - within[-1] > np.diff(so_far).max()
        if not stalled:
            return len(within) / float(within[-1] - so_far[-len(within) - 1])
    return len(within) / load.duration_s


def percentile(values: NDArray[np.float64], percent: float) -> float | None:
    """The smallest value that at least ``percent`` of the values do not exceed; ``None`` if it is but the largest."""
    if len(values) * (1 - percent / 100) < 1:
        return None
    return float(np.percentile(values, percent, method="inverted_cdf"))


@dataclass(frozen=True, slots=True)
class Batches:
    """Batches that a service's device has run, by its metrics.

    Attributes:
        count: how many.
        images: in all of them.
        device_s: seconds that they took.
        up_to: how many of at most so many images: cumulative, the last one for any size.
    """

    count: float
    images: float
    device_s: float = 0.0
    up_to: Mapping[float, float] = field(default_factory=dict)

    def since(self, before: "Batches") -> "Batches":
        """Those of the time between two readings."""
        up_to = {size: number - before.up_to.get(size, 0) for size, number in self.up_to.items()}
        return Batches(self.count - before.count, self.images - before.images, self.device_s - before.device_s, up_to)

    @property
    def mean(self) -> float | None:
        """Images in a batch; ``None`` without a batch."""
        return self.images / self.count if self.count else None

    def shares(self) -> dict[str, float]:
        """Share of the batches by size."""
        found, below, last = {}, 0.0, 0.0
        for size, number in sorted(self.up_to.items()):
            if number > below:
                found[_sizes(last, size)] = (number - below) / self.count
            below, last = number, size
        return found


def _sizes(above: float, up_to: float) -> str:
    if math.isinf(up_to):
        return f"> {above:g}"
    return f"{up_to:g}" if up_to == above + 1 else f"{above + 1:g} to {up_to:g}"


class MetricsError(BenchError):
    """A service does not tell its batches."""


def batches(target: Target) -> Batches:
    """The batches so far, from ``GET /metrics``. Raises MetricsError: they are not told."""
    try:
        status, body = fetch(target, "/metrics")
    except OSError as error:
        raise MetricsError(f"GET /metrics failed: {error}") from error
    if status != 200:
        raise MetricsError(f"GET /metrics was answered {status}")
    return parse_batches(body.decode())


def parse_batches(text: str) -> Batches:
    """The batches in Prometheus's text format. Raises MetricsError: they are not there."""
    samples = [sample for family in text_string_to_metric_families(text) for sample in family.samples]
    values = {sample.name: sample.value for sample in samples}
    if "hal_batch_images_count" not in values:
        raise MetricsError("the service's metrics have no hal_batch_images")
    return Batches(
        values["hal_batch_images_count"],
        values["hal_batch_images_sum"],
        values.get("hal_device_seconds_sum", 0.0),
        {float(sample.labels["le"]): sample.value for sample in samples if sample.name == "hal_batch_images_bucket"},
    )
