"""What one process has counted, as bytes on the board; and the sum of what all have."""

from collections import Counter
from dataclasses import dataclass, field, fields
from typing import Final, Self

from msgspec import msgpack

from service.batching.counts import Counts
from service.observe.metrics import HISTOGRAMS, Metrics
from service.observe.readings import EngineReading
from service.workers.board import Board

_encoder: Final = msgpack.Encoder()


@dataclass(frozen=True, slots=True)
class Account:
    """What one process has counted since the service began, whatever process was in its place before.

    Attributes:
        pid: of the process.
        requests: route, status, count.
        images, predicted, flagged, top_probability: see :class:`service.observe.metrics.Metrics`.
        histograms: counts and total, by name.
        counts: what happened to images.
        lost_lines: log lines that could not be written.
        engine: only of the engine process.
    """

    pid: int = 0
    requests: list[tuple[str, int, int]] = field(default_factory=list)
    images: dict[str, int] = field(default_factory=dict)
    predicted: list[int] = field(default_factory=list)
    flagged: int = 0
    top_probability: float = 0.0
    histograms: dict[str, tuple[list[int], float]] = field(default_factory=dict)
    counts: Counts = field(default_factory=Counts)
    lost_lines: int = 0
    engine: EngineReading | None = None

    @classmethod
    def of(
        cls, metrics: Metrics, counts: Counts, *, pid: int, lost_lines: int, engine: EngineReading | None = None
    ) -> Self:
        """The account of a process."""
        now = Metrics()
        now.add(metrics)
        return cls(
            pid,
            [(route, status, count) for (route, status), count in now.requests.items()],
            dict(now.images),
            now.predicted,
            now.flagged,
            now.top_probability,
            {name: (getattr(now, name).counts, getattr(now, name).total) for name in HISTOGRAMS},
            counts,
            lost_lines,
            engine,
        )

    @classmethod
    def read(cls, board: Board, place: int) -> Self:
        """The last account of the process in ``place``, or an empty one."""
        written = board.read_account(place)
        return msgpack.decode(written, type=cls) if written else cls()

    def write(self, board: Board, place: int) -> None:
        """Replace the account in ``place``."""
        board.write_account(place, _encoder.encode(self))

    def metrics(self) -> Metrics:
        """What was counted."""
        counted = Metrics()
        counted.requests = Counter({(route, status): count for route, status, count in self.requests})
        counted.images = Counter(self.images)
        counted.predicted = self.predicted or counted.predicted
        counted.flagged = self.flagged
        counted.top_probability = self.top_probability
        for name, (counts, total) in self.histograms.items():
            histogram = getattr(counted, name)
            histogram.counts, histogram.total = counts, total
        return counted


def sum_of(*parts: Counts) -> Counts:
    """What happened in all of them together."""
    return Counts(**{one.name: sum(getattr(part, one.name) for part in parts) for one in fields(Counts)})
