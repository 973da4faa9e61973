"""Admission: how many images the service has accepted and not yet answered.

A *permit* is the right of one request to have one image in the service. There are ``limit`` permits, of which bulk may
hold ``bulk_limit``. A request takes as many as it has images and as are free, at most two batches' worth, and feeds its
other images through them: a request of any length is accepted when a single image would be, and refused when a single
image would be.
"""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from typing import TypeVar

from service.batching.errors import DeadlineExceededError, DrainingError, QueueFullError
from service.batching.queue import Priority
from service.batching.rate import Rate, Statistics

Item = TypeVar("Item")
Result = TypeVar("Result")


@dataclass(frozen=True, slots=True)
class RequestOptions:
    """How a request wants to be served.

    Attributes:
        priority: ``None`` if the client did not say.
        due: when, in the event loop's time, its answer is of no use any more; ``None``: never. It bounds the request as
            a whole; the service's own deadline still bounds each image.
    """

    priority: Priority | None = None
    due: float | None = None


class Admission:
    """The permits of one device, all free at first. To be used in one event loop.

    Args:
        limit: permits in all, of which bulk may hold ``bulk_limit``.
        deadline_s: seconds in which an image must be answered once it has a permit, preparation included.
        max_batch: most images that the next batch may have; a request holds at most twice as many permits.
        rate: how fast permits come free.
    """

    def __init__(
        self,
        limit: int,
        bulk_limit: int,
        *,
        deadline_s: float,
        max_batch: Callable[[], int],
        rate: Rate,
        statistics: Statistics,
    ) -> None:
        self._limits = {Priority.ROUTINE: limit, Priority.BULK: bulk_limit}
        self._taken = dict.fromkeys(Priority, 0)
        self._deadline_s = deadline_s
        self._max_batch = max_batch
        self._rate = rate
        self._statistics = statistics
        self._draining = False
        self._all_free = asyncio.Event()
        self._all_free.set()

    @property
    def taken(self) -> int:
        return sum(self._taken.values())

    def taken_by(self, priority: Priority) -> int:
        return self._taken[priority]

    def free(self, priority: Priority) -> bool:
        """Whether an image of this priority finds a permit."""
        return self.taken < self._limits[Priority.ROUTINE] and self._taken[priority] < self._limits[priority]

    def check(self, priority: Priority = Priority.ROUTINE) -> None:
        """Raise :class:`DrainingError` or :class:`QueueFullError` if a request would be refused now."""
        if self._draining:
            raise DrainingError
        if not self.free(priority):
            self._statistics.refused += 1
            # Only its own part can be full for bulk while permits are free.
            taken = self.taken_by(priority) if self.free(Priority.ROUTINE) else self.taken
            raise QueueFullError(taken, self.retry_after_s(priority), bulk=priority is Priority.BULK)

    async def run_all(
        self,
        items: Sequence[Item],
        work: Callable[[Item], Awaitable[Result]],
        *,
        priority: Priority = Priority.ROUTINE,
        due: float | None = None,
    ) -> list[Result]:
        """The results of ``work`` for items, at least one, in their order; each has a permit of its own meanwhile.

        Raises:
            DrainingError, QueueFullError: see :meth:`check`; nothing was started.
            DeadlineExceededError: an item took longer than its deadline or :attr:`RequestOptions.due` passed; the
                others were withdrawn.
            Exception: whatever ``work`` raises; the others were withdrawn.
        """
        self.check(priority)
        if len(items) == 1:
            self._acquire(priority)
            try:
                return [await self._in_time(work(items[0]), due)]
            finally:
                self._release(priority)
        most_permits = min(len(items), 2 * self._max_batch())
        pending = iter(enumerate(items))
        results: dict[int, Result] = {}
        permits = 0

        def release(_: asyncio.Task[None]) -> None:
            self._release(priority)

        def acquire_free(group: asyncio.TaskGroup) -> None:
            nonlocal permits
            while permits < most_permits and self.free(priority):
                permits += 1
                self._acquire(priority)
                # A callback, since a task that is cancelled before its first step never reaches a `finally`.
                group.create_task(run_pending(group)).add_done_callback(release)

        async def run_pending(group: asyncio.TaskGroup) -> None:
            for index, item in pending:
                results[index] = await self._in_time(work(item), due)
                acquire_free(group)

        try:
            async with asyncio.TaskGroup() as group:
                acquire_free(group)
        except ExceptionGroup as failures:
            raise failures.exceptions[0] from None
        return [results[index] for index in range(len(items))]

    async def drain(self) -> None:
        """Accept nothing more, and return when all permits are free."""
        self._draining = True
        await self._all_free.wait()

    def _acquire(self, priority: Priority) -> None:
        self._taken[priority] += 1
        self._all_free.clear()

    def _release(self, priority: Priority) -> None:
        self._taken[priority] -= 1
        if self.taken == 0:
            self._all_free.set()

    async def _in_time(self, work: Awaitable[Result], due: float | None) -> Result:
        deadline = asyncio.get_running_loop().time() + self._deadline_s
        try:
            async with asyncio.timeout_at(deadline if due is None else min(due, deadline)) as limit:
                return await work
        except TimeoutError:
            if not limit.expired():
                raise
            self._statistics.expired += 1
            own = due is None or deadline < due
            raise DeadlineExceededError(f"{self._deadline_s:g} s (HAL_DEADLINE_MS)" if own else None) from None

    def retry_after_s(self, priority: Priority) -> int:
        """Seconds, by the measured rate, after which a request that finds no permit now should come back."""
        if priority is Priority.ROUTINE:
            return self._rate.seconds_for(self.taken / 2)
        # Half of the bulk images, and all routine ones, which go first.
        return self._rate.seconds_for(self.taken_by(Priority.ROUTINE) + self.taken_by(Priority.BULK) / 2)
