"""The seats: how many images the service has accepted and not yet answered, and what a request may do with them.

A *seat* is the right of one request to have one image in the service. There are ``limit`` seats, of which bulk may hold
``bulk_limit``. A request takes as many as it has images and as are free, at most two batches' worth, and feeds its
other images through them: a request of any length is accepted when a single image would be, and refused when a single
image would be.
"""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from typing import TypeVar

from service.batching.counts import Counts
from service.batching.errors import DeadlineExceededError, DrainingError, QueueFullError
from service.batching.queue import Priority
from service.batching.rate import Pace

Item = TypeVar("Item")
Result = TypeVar("Result")


class Seats:
    """The seats of one device, all free at first. To be used in one event loop.

    Args:
        limit: seats in all.
        bulk_limit: most of them that bulk may hold.
        deadline_s: seconds in which an image must be answered once it has a seat, preparation included.
        batch: most images that the next batch may have; a request holds at most twice as many seats.
        pace: how fast seats come free.
        counts: where refused requests and expired images are counted.
    """

    def __init__(
        self,
        limit: int,
        bulk_limit: int,
        *,
        deadline_s: float,
        batch: Callable[[], int],
        pace: Pace,
        counts: Counts,
    ) -> None:
        self._limits = {Priority.ROUTINE: limit, Priority.BULK: bulk_limit}
        self._taken = dict.fromkeys(Priority, 0)
        self._deadline_s = deadline_s
        self._batch = batch
        self._pace = pace
        self._counts = counts
        self._draining = False
        self._all_free = asyncio.Event()
        self._all_free.set()

    @property
    def taken(self) -> int:
        """Seats taken, by either priority."""
        return sum(self._taken.values())

    def taken_by(self, priority: Priority) -> int:
        """Seats taken by one priority."""
        return self._taken[priority]

    def free(self, priority: Priority) -> bool:
        """Whether an image of this priority finds a seat."""
        return self.taken < self._limits[Priority.ROUTINE] and self._taken[priority] < self._limits[priority]

    def check_room(self, priority: Priority = Priority.ROUTINE) -> None:
        """Find out whether a request would be accepted now.

        Raises:
            DrainingError: :meth:`drain` was called.
            QueueFullError: no seat is free for this priority.
        """
        if self._draining:
            raise DrainingError
        if not self.free(priority):
            self._counts.refused += 1
            # Only its own share can be full for bulk while seats are free.
            taken = self.taken_by(priority) if self.free(Priority.ROUTINE) else self.taken
            raise QueueFullError(taken, priority, self.retry_after_s(priority))

    async def spread(
        self,
        items: Sequence[Item],
        work: Callable[[Item], Awaitable[Result]],
        *,
        priority: Priority = Priority.ROUTINE,
        due: float | None = None,
    ) -> list[Result]:
        """``await work(item)`` for each item, each in a seat of its own.

        Args:
            items: what to work on.
            work: what to do with each.
            priority: whose seats.
            due: when, in the event loop's time, the request as a whole must be answered; ``None``: only the deadline of
                each item counts.

        Returns:
            The results in the order of the items.

        Raises:
            DrainingError, QueueFullError: see :meth:`check_room`; nothing was started.
            DeadlineExceededError: an item took longer than its deadline or ``due`` passed; the others were withdrawn.
            Exception: whatever ``work`` raises; the others were withdrawn.
        """
        self.check_room(priority)
        if len(items) == 1:
            self._take(priority)
            try:
                return [await self._in_time(work(items[0]), due)]
            finally:
                self._leave(priority)
        most_seats = min(len(items), 2 * self._batch())
        pending = iter(enumerate(items))
        results: dict[int, Result] = {}
        sitters = 0

        def leave_seat(_: asyncio.Task[None]) -> None:
            self._leave(priority)

        def take_free_seats(group: asyncio.TaskGroup) -> None:
            nonlocal sitters
            while sitters < most_seats and self.free(priority):
                sitters += 1
                self._take(priority)
                # A callback, since a task that is cancelled before its first step never reaches a `finally`.
                group.create_task(sit(group)).add_done_callback(leave_seat)

        async def sit(group: asyncio.TaskGroup) -> None:
            for index, item in pending:
                results[index] = await self._in_time(work(item), due)
                take_free_seats(group)

        try:
            async with asyncio.TaskGroup() as group:
                take_free_seats(group)
        except ExceptionGroup as failures:
            raise failures.exceptions[0] from None
        return [results[index] for index in range(len(items))]

    async def drain(self) -> None:
        """Accept nothing more, and return when all seats are free."""
        self._draining = True
        await self._all_free.wait()

    def _take(self, priority: Priority) -> None:
        self._taken[priority] += 1
        self._all_free.clear()

    def _leave(self, priority: Priority) -> None:
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
            self._counts.expired += 1
            own = due is None or deadline < due
            raise DeadlineExceededError(f"{self._deadline_s:g} s (HAL_DEADLINE_MS)" if own else None) from None

    def retry_after_s(self, priority: Priority) -> int:
        """Seconds, by the measured rate, after which a request that finds no seat now should come back."""
        if priority is Priority.ROUTINE:
            return self._pace.seconds_for(self.taken / 2)
        # Half of its own line, and all of the line that goes first.
        return self._pace.seconds_for(self.taken_by(Priority.ROUTINE) + self.taken_by(Priority.BULK) / 2)
