"""What is counted, and how Prometheus is told.

Counting is plain integers and one lock, so that it costs the way of an image a microsecond; names, labels and text are
made when ``/metrics`` is read. Every label has few values that are known beforehand: routes, outcomes, classes. Nothing
that a client sends becomes a label.
"""

import threading
from bisect import bisect_left
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Final

from prometheus_client.metrics_core import CounterMetricFamily, HistogramMetricFamily, Metric, SummaryMetricFamily

from contract.classes import CELL_CLASSES

OTHER_ROUTE: Final = "other"
"""The route of a request that none of ours answers."""

_OUTCOMES: Final = {
    401: "unauthorized",
    403: "forbidden",
    404: "not_found",
    408: "upload_timeout",
    413: "too_large",
    415: "unsupported_type",
    422: "nothing_classified",
    429: "queue_full",
    431: "head_too_large",
    499: "client_gone",
    503: "unavailable",
    504: "deadline_exceeded",
}
_SHORT_S: Final = (0.0001, 0.00025, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 1.0)
_LONG_S: Final = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0)
HISTOGRAMS: Final = ("request_s", "decode_s", "queue_s", "device_s", "batch")
"""Those of :class:`Metrics`, by attribute."""
_IMAGES: Final = (1.0, 2.0, 4.0, 8.0, 16.0, 32.0, 64.0, 128.0, 256.0, 512.0, 1024.0)


def outcome_of(status: int) -> str:
    """What became of a request, from its status; one of some fifteen words."""
    if status in _OUTCOMES:
        return _OUTCOMES[status]
    if 200 <= status < 400:
        return "ok"
    return "bad_request" if 400 <= status < 500 else "failed" if status else "cancelled"


@dataclass(slots=True)
class Histogram:
    """Counts of values up to each bound, and their sum."""

    bounds: tuple[float, ...]
    counts: list[int] = field(default_factory=list)
    total: float = 0.0

    def __post_init__(self) -> None:
        self.counts = self.counts or [0] * (len(self.bounds) + 1)

    def add(self, value: float) -> None:
        """Count one value; the caller holds the lock."""
        self.counts[bisect_left(self.bounds, value)] += 1
        self.total += value

    def merge(self, other: "Histogram") -> None:
        """Count what another histogram of the same bounds has counted."""
        self.counts = [sum(pair) for pair in zip(self.counts, other.counts, strict=True)]
        self.total += other.total

    def buckets(self) -> list[tuple[str, float]]:
        """Cumulative, as Prometheus wants them."""
        pairs, below = [], 0
        for bound, count in zip([*map(str, self.bounds), "+Inf"], self.counts, strict=True):
            below += count
            pairs.append((bound, float(below)))
        return pairs


class Metrics:
    """Everything that a running service counts. Safe to call from any thread.

    Attributes:
        requests: by route and status.
        images: by outcome: ``classified``, a refusal code, ``model_failed``.
        predicted: classified cells by position of the class.
        flagged: cells with a raised hairy-cell flag.
        top_probability: sum of the top probabilities of the classified cells.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self.requests: Counter[tuple[str, int]] = Counter()
        self.images: Counter[str] = Counter()
        self.predicted = [0] * len(CELL_CLASSES)
        self.flagged = 0
        self.top_probability = 0.0
        self.request_s = Histogram(_LONG_S)
        self.decode_s = Histogram(_SHORT_S)
        self.queue_s = Histogram(_LONG_S)
        self.device_s = Histogram(_LONG_S)
        self.batch = Histogram(_IMAGES)

    def request(self, route: str, status: int, seconds: float, images: int) -> None:
        """Count a request that was answered or given up (status 0); timed if it brought images."""
        with self._lock:
            self.requests[route, status] += 1
            if images:
                self.request_s.add(seconds)

    def refused_below(self, status: int) -> None:
        """Count what was no request yet when it was refused: a head that did not arrive, did not end or is no HTTP."""
        self.request(OTHER_ROUTE, status, 0.0, 0)

    def decoded(self, seconds: float) -> None:
        """Count the decoding of one image, refused or not."""
        with self._lock:
            self.decode_s.add(seconds)

    def ran(self, device_s: float, waits_s: Sequence[float]) -> None:
        """Count one batch: how long the device took and how long each of its images had waited for it."""
        with self._lock:
            self.batch.add(len(waits_s))
            self.device_s.add(device_s)
            for wait in waits_s:
                self.queue_s.add(wait)

    def classified(self, class_index: int, top_probability: float, *, flagged: bool) -> None:
        """Count one classified cell."""
        with self._lock:
            self.images["classified"] += 1
            self.predicted[class_index] += 1
            self.top_probability += top_probability
            self.flagged += flagged

    def refused(self, code: str) -> None:
        """Count one image without an answer; ``code`` is one of ours."""
        with self._lock:
            self.images[code] += 1

    def add(self, other: "Metrics") -> None:
        """Count everything that ``other`` has counted, too."""
        with self._lock, other._lock:
            self.requests.update(other.requests)
            self.images.update(other.images)
            self.predicted = [sum(pair) for pair in zip(self.predicted, other.predicted, strict=True)]
            self.flagged += other.flagged
            self.top_probability += other.top_probability
            for name in HISTOGRAMS:
                getattr(self, name).merge(getattr(other, name))

    def families(self) -> Iterator[Metric]:
        """The counts as Prometheus's metric families."""
        with self._lock:
            yield from tuple(self._families())

    def _families(self) -> Iterator[Metric]:
        requests = CounterMetricFamily("hal_requests", "Requests by route and outcome.", labels=("route", "outcome"))
        outcomes: Counter[tuple[str, str]] = Counter()
        for (route, status), count in self.requests.items():
            outcomes[route, outcome_of(status)] += count
        for labels, count in sorted(outcomes.items()):
            requests.add_metric(labels, count)
        yield requests
        yield _counters(
            "hal_images",
            "Images by outcome: classified, or the code of the error in the image's place.",
            "outcome",
            sorted(self.images.items()),
        )
        yield _counters(
            "hal_cells_predicted",
            "Classified cells by predicted class.",
            "class",
            ((cell.slug, self.predicted[cell.index]) for cell in CELL_CLASSES),
        )
        yield CounterMetricFamily("hal_cells_flagged", "Cells flagged as possible hairy cells.", value=self.flagged)
        yield SummaryMetricFamily(
            "hal_top_probability",
            "Probability of the predicted class; sum / count is the mean, which falls when cells look unfamiliar.",
            count_value=sum(self.predicted),
            sum_value=self.top_probability,
        )
        for name, text, histogram in (
            ("hal_request_seconds", "Seconds from the head of a request with images to its answer.", self.request_s),
            ("hal_decode_seconds", "Seconds to decode one image, whether it succeeds or is refused.", self.decode_s),
            ("hal_queue_seconds", "Seconds that an image waited for the device.", self.queue_s),
            ("hal_device_seconds", "Seconds of the network on one batch.", self.device_s),
            ("hal_batch_images", "Images in a batch.", self.batch),
        ):
            yield HistogramMetricFamily(name, text, buckets=histogram.buckets(), sum_value=histogram.total)


def _counters(name: str, text: str, label: str, values: Iterable[tuple[str, int]]) -> CounterMetricFamily:
    family = CounterMetricFamily(name, text, labels=(label,))
    for value, count in values:
        family.add_metric((value,), count)
    return family
