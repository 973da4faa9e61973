"""The images that wait for the device: two lines, and the rule that forms a batch of them.

``routine`` goes first: every place of a batch that a routine image can take, it takes; ``bulk`` has the places that are
left. So a routine image waits for the batch that is running and for its own, whatever an archive job sends. Bulk is
never starved either: while bulk images wait, every fourth batch at the latest carries some, a quarter of its places.
"""

import asyncio
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from itertools import chain, islice
from typing import Final, Protocol

import numpy as np
from numpy.typing import NDArray
from opentelemetry.trace import Span

from service.observe.tracing import current_span

BULK_TURN: Final = 4
"""While bulk images wait, at least one batch in so many has places for them ..."""
BULK_PART: Final = 4
"""... the whole divided by this, at least one."""

Image = NDArray[np.uint8]
Logits = NDArray[np.float32]


class Priority(StrEnum):
    """Who waits for an answer."""

    ROUTINE = "routine"
    """Somebody at the bench."""
    BULK = "bulk"
    """A job that works through an archive."""


class Network(Protocol):
    """A network on its device."""

    @property
    def max_batch(self) -> int:
        """Most images that :meth:`run` takes."""
        ...

    async def run(self, images: Sequence[Image]) -> Logits:
        """Logits ``[n, 20]`` of ``n`` images ``[256, 256, 3]``.

        It may be called once more before it has returned: that batch is prepared meanwhile, and run afterwards.

        Raises:
            MemoryError: the device has no memory for a batch of this size.
            Exception: anything else that failed.
        """
        ...


@dataclass(frozen=True, slots=True, eq=False)
class Ticket:
    """One image in a line and the answer that somebody awaits.

    ``arrived`` is a time of ``time.perf_counter``, ``span`` what traces the request, if anything does.
    """

    image: Image
    network: Network
    priority: Priority
    answer: asyncio.Future[Logits]
    arrived: float = field(default_factory=time.perf_counter)
    span: Span = field(default_factory=current_span)


class Lines:
    """The tickets that wait, first come first served within each priority."""

    def __init__(self) -> None:
        self._lines: dict[Priority, dict[Ticket, None]] = {priority: {} for priority in Priority}
        self._batches_without_bulk = 0

    def __len__(self) -> int:
        return sum(map(len, self._lines.values()))

    def __iter__(self) -> Iterator[Ticket]:
        return chain.from_iterable(self._lines.values())

    def waiting(self, priority: Priority) -> int:
        """Images in one of the lines."""
        return len(self._lines[priority])

    def add(self, ticket: Ticket) -> None:
        """Put a ticket at the end of its line."""
        self._lines[ticket.priority][ticket] = None

    def remove(self, ticket: Ticket) -> None:
        """Take a ticket out, if it is still there."""
        self._lines[ticket.priority].pop(ticket, None)

    def next_batch(self, limit: int) -> list[Ticket]:
        """Take out what the device should work on next: at most ``limit`` tickets, all of one network."""
        routine, bulk = self._lines[Priority.ROUTINE], self._lines[Priority.BULK]
        bulks_turn = bool(bulk) and self._batches_without_bulk >= BULK_TURN - 1
        first = next(chain(bulk, routine) if bulks_turn else iter(self), None)
        if first is None:
            return []
        limit = min(limit, first.network.max_batch)
        kept_for_bulk = max(1, limit // BULK_PART) if bulks_turn else 0

        def take(line: dict[Ticket, None], count: int) -> list[Ticket]:
            # Two networks wait at once only while a new one takes over.
            taken = list(islice((ticket for ticket in line if ticket.network is first.network), count))
            for ticket in taken:
                del line[ticket]
            return taken

        batch = take(bulk, kept_for_bulk)
        batch += take(routine, limit - len(batch))
        batch += take(bulk, limit - len(batch))
        carries_bulk = any(ticket.priority is Priority.BULK for ticket in batch)
        self._batches_without_bulk = self._batches_without_bulk + 1 if bulk and not carries_bulk else 0
        return batch
