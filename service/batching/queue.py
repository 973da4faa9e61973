"""The images that wait for the device, and the rule that forms a batch of them.

``routine`` goes first: every place of a batch that a routine image can take, it takes; ``bulk`` has the places that are
left. So a routine image waits for the batch that is running and for its own, whatever an archive job sends. Bulk is
never starved either: while bulk images wait, every fourth batch at the latest carries some, a quarter of its places.
"""

import asyncio
import logging
import time
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from itertools import chain, islice
from typing import Any, Final, Protocol

import numpy as np
from numpy.typing import NDArray
from opentelemetry.trace import Span

from service.batching.errors import ModelFailedError
from service.batching.rate import Statistics
from service.observe.tracing import current_span

logger = logging.getLogger("hal.batching")

BULK_TURN: Final = 4
BULK_PART: Final = 4
"""While bulk images wait, at least one batch in BULK_TURN has places for them: its size by BULK_PART, at least one."""

Image = NDArray[np.uint8]
Rows = NDArray[np.float32]


class Priority(StrEnum):
    """Who waits for an answer: somebody at the bench, or a job that works through an archive."""

    ROUTINE = "routine"
    BULK = "bulk"


class Network(Protocol):
    """A network on its device, and what its rows mean."""

    @property
    def max_batch(self) -> int: ...

    async def run(self, images: Sequence[Image]) -> Rows:
        """A row, logits first, for each of at most ``max_batch`` images ``[256, 256, 3]``.

        It may be called once more before it has returned: that batch is prepared meanwhile, and run afterwards. It
        raises MemoryError if the device has no memory for a batch of this size, and whatever else failed.
        """
        ...

    def results(self, rows: Rows) -> Sequence[Any]:
        """What whoever awaits each image of a batch gets for its row; ``None`` if the row is no logits."""
        ...


@dataclass(frozen=True, slots=True, eq=False)
class QueuedImage:
    """One image in the queue and the answer that somebody awaits.

    ``arrived`` is a time of ``time.perf_counter``, ``span`` what traces the request, if anything does.
    """

    image: Image
    network: Network
    priority: Priority
    answer: asyncio.Future[Any]
    arrived: float = field(default_factory=time.perf_counter)
    span: Span = field(default_factory=current_span)


class Queue:
    """The images that wait, first come first served within each priority."""

    def __init__(self) -> None:
        self._waiting: dict[Priority, dict[QueuedImage, None]] = {priority: {} for priority in Priority}
        self._batches_without_bulk = 0

    def __len__(self) -> int:
        return sum(map(len, self._waiting.values()))

    def __iter__(self) -> Iterator[QueuedImage]:
        return chain.from_iterable(self._waiting.values())

    def waiting(self, priority: Priority) -> int:
        return len(self._waiting[priority])

    def add(self, queued: QueuedImage) -> None:
        self._waiting[queued.priority][queued] = None

    def remove(self, queued: QueuedImage) -> None:
        self._waiting[queued.priority].pop(queued, None)

    def next_batch(self, limit: int) -> list[QueuedImage]:
        """Take out what the device should work on next: at most ``limit`` images, all for one network."""
        routine, bulk = self._waiting[Priority.ROUTINE], self._waiting[Priority.BULK]
        bulks_turn = bool(bulk) and self._batches_without_bulk >= BULK_TURN - 1
        first = next(chain(bulk, routine) if bulks_turn else iter(self), None)
        if first is None:
            return []
        limit = min(limit, first.network.max_batch)
        kept_for_bulk = max(1, limit // BULK_PART) if bulks_turn else 0

        def take(waiting: dict[QueuedImage, None], count: int) -> list[QueuedImage]:
            # Two networks wait at once only while a new one takes over.
            taken = list(islice((queued for queued in waiting if queued.network is first.network), count))
            for queued in taken:
                del waiting[queued]
            return taken

        batch = take(bulk, kept_for_bulk)
        batch += take(routine, limit - len(batch))
        batch += take(bulk, limit - len(batch))
        carries_bulk = any(queued.priority is Priority.BULK for queued in batch)
        self._batches_without_bulk = self._batches_without_bulk + 1 if bulk and not carries_bulk else 0
        return batch


def settle(batch: Sequence[QueuedImage], results: Sequence[Any], statistics: Statistics) -> None:
    """Give each image its result (see :meth:`Network.results`), unless nobody waits for it any more."""
    for queued, result in zip(batch, results, strict=True):
        if queued.answer.done():
            continue
        if result is None:
            logger.error("the engine gave logits that are not finite")
            fail([queued], statistics)
        else:
            statistics.answered += 1
            queued.answer.set_result(result)


def fail(batch: Iterable[QueuedImage], statistics: Statistics) -> None:
    """Tell those who still wait that the network failed on their images."""
    for queued in batch:
        if not queued.answer.done():
            statistics.failed += 1
            queued.answer.set_exception(ModelFailedError())


def deliver(answer: asyncio.Future[Any], outcome: Any) -> None:
    """Give who awaits it what became of work in a thread, an exception or a result, unless nobody does any more."""
    if answer.done():
        return
    if isinstance(outcome, BaseException):
        answer.set_exception(outcome)
    else:
        answer.set_result(outcome)
