"""From samples to figures."""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from bench.loadtest.generator import NOT_SENT, OK, Run, Sample

PERCENTILES: Final = (50.0, 90.0, 95.0, 99.0, 99.9)
LATE_MS: Final = 10.0
"""A generator whose 99th percentile of lateness is above this did not keep its schedule."""


@dataclass(frozen=True, slots=True)
class Figures:
    """One load's figures over the measured time.

    Attributes:
        load: in words.
        offered: requests a second that were due; in a closed loop those that were sent.
        requests_s: answered requests a second.
        images_s: answered images a second.
        latency_ms: by percentile, from when a request was due; ``None`` where fewer than one sample is beyond it.
        mean_ms: mean latency, ``None`` without an answer.
        slowest_ms: the longest, ``None`` without an answer.
        outcomes: requests by outcome.
        late_ms: by how much requests were sent too late, the 99th percentile.
        not_sent: requests that were not sent, because too many were under way.
        cpu_share: of one core, used by the generator.
    """

    load: str
    offered: float
    requests_s: float
    images_s: float
    latency_ms: Mapping[float, float | None]
    mean_ms: float | None
    slowest_ms: float | None
    outcomes: Mapping[str, int]
    late_ms: float
    not_sent: int
    cpu_share: float

    @property
    def fell_behind(self) -> bool:
        """Whether the generator did not put on the load that was asked for."""
        return self.not_sent > 0 or self.late_ms > LATE_MS

    @property
    def errors(self) -> int:
        """Requests that were not answered."""
        return sum(count for outcome, count in self.outcomes.items() if outcome != OK)


def measured(run: Run) -> list[Sample]:
    """The samples of the measured time: by when they were due."""
    return [sample for sample in run.samples if 0 <= sample.due < run.load.duration_s]


def latencies_ms(run: Run) -> NDArray[np.float64]:
    """Of the answered requests of the measured time, from when they were due."""
    return 1000 * np.array([sample.ended - sample.due for sample in measured(run) if sample.outcome == OK])


def figures_of(run: Run) -> Figures:
    """The figures of a run."""
    seconds = run.load.duration_s
    samples = measured(run)
    answered = [sample for sample in run.samples if sample.outcome == OK and 0 <= sample.ended < seconds]
    latencies = latencies_ms(run)
    late = [sample.sent - sample.due for sample in samples if sample.outcome != NOT_SENT]
    outcomes = Counter(sample.outcome for sample in samples)
    return Figures(
        load=run.load.describe(),
        offered=len(samples) / seconds,
        requests_s=len(answered) / seconds,
        images_s=sum(sample.images for sample in answered) / seconds,
        latency_ms={percent: percentile(latencies, percent) for percent in PERCENTILES},
        mean_ms=float(latencies.mean()) if len(latencies) else None,
        slowest_ms=float(latencies.max()) if len(latencies) else None,
        outcomes=dict(outcomes.most_common()),
        late_ms=1000 * float(np.percentile(late, 99)) if late else 0.0,
        not_sent=outcomes[NOT_SENT],
        cpu_share=run.cpu_share,
    )


def percentile(values: Sequence[float] | NDArray[np.float64], percent: float) -> float | None:
    """The smallest value that at least ``percent`` of the values do not exceed; ``None`` if it is but the largest."""
    if len(values) * (1 - percent / 100) < 1:
        return None
    return float(np.percentile(values, percent, method="inverted_cdf"))
