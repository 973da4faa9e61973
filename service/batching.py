"""The greedy batcher.

The device is either busy or free. Free: what is waiting is taken at once, up to ``max_batch``; no timer. Busy: the
queue fills, and the next batch is formed at the moment the device frees, by the rule of :mod:`service.waiting`. So an
idle service adds no delay and a loaded one fills its batches. On a fast device that moment is a millisecond or two
early if a full batch waits: it is prepared while the one before it ends (see :class:`service.pace.Pace`). The queue
belongs to the event loop.

A *seat* is the right of one request to have one image in the queue. There are ``queue_limit`` seats, of which bulk may
hold ``bulk_limit``. A request takes as many as it has images and as are free, at most two batches' worth, and feeds its
other images through them: a request of any length is accepted when a single image would be, and refused when a single
image would be.
"""

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from typing import TypeVar

import numpy as np

from service.pace import MemoryCaution, Pace
from service.refusals import DeadlineExceededError, DrainingError, ModelFailedError, QueueFullError
from service.waiting import Image, Lines, Logits, Network, Priority, Seats, Ticket

logger = logging.getLogger("hal.batching")

Item = TypeVar("Item")
Result = TypeVar("Result")


@dataclass(slots=True)
class Counts:
    """What happened so far, in images unless said otherwise."""

    answered: int = 0
    failed: int = 0
    withdrawn: int = 0
    """Left the queue before they were answered: their client went away or a deadline passed."""
    expired: int = 0
    """Not answered before their deadline, whether they were in the queue already or still being prepared."""
    refused: int = 0
    """Requests that found no free seat."""
    disconnected: int = 0
    """Requests whose client went away, while it sent or while it waited."""
    batches: int = 0
    """Batches that the device finished."""
    retried_batches: int = 0
    """Batches that failed and were tried again in parts."""
    out_of_memory: int = 0
    """Batches, of any size, that found no memory."""


class Batcher:
    """Feeds a network with batches. To be made, used and drained in one event loop.

    Args:
        network: what images are given to unless they ask for another.
        queue_limit: most images accepted and not yet answered.
        bulk_limit: most of them that may be bulk; ``None`` for all.
        deadline_s: seconds in which an image must be answered once it has a seat, preparation included.

    Attributes:
        network: may be replaced at any time; images that were accepted before keep the one that they were given.
        counts: what happened so far.
        on_batch: called with each batch that the device finished, when it began and when it ended
            (``time.perf_counter``).
    """

    def __init__(self, network: Network, *, queue_limit: int, deadline_s: float, bulk_limit: int | None = None) -> None:
        self.network = network
        self.counts = Counts()
        self.on_batch: Callable[[Sequence[Ticket], float, float], None] = lambda *_: None
        self._loop = asyncio.get_running_loop()
        self._deadline_s = deadline_s
        self._lines = Lines()
        self._seats = Seats(queue_limit, queue_limit if bulk_limit is None else bulk_limit)
        self._arrived = asyncio.Event()
        self._draining = False
        self._pace = Pace()
        self._caution = MemoryCaution()
        self._busy_since: float | None = None
        self._in_flight = 0
        self._last_end = 0.0
        self._worker = self._loop.create_task(self._work(), name="hal-batcher")
        self._worker.add_done_callback(self._ended)

    @property
    def seats_taken(self) -> int:
        """Images accepted and not yet answered."""
        return self._seats.taken

    def seats_taken_by(self, priority: Priority) -> int:
        """Those of one priority."""
        return self._seats.taken_by(priority)

    @property
    def waiting(self) -> int:
        """Images that wait for the device."""
        return len(self._lines)

    def waiting_of(self, priority: Priority) -> int:
        """Those of one priority."""
        return self._lines.waiting(priority)

    @property
    def batch_limit(self) -> int:
        """Most images that the next batch may have: the network's limit, less for a while after memory failed."""
        return self._caution.limit(self.network.max_batch, self._loop.time())

    @property
    def busy_s(self) -> float:
        """Seconds that the device has been working on its present batch, 0 if it is free."""
        since = self._busy_since
        return 0.0 if since is None else self._loop.time() - since

    @property
    def broken(self) -> bool:
        """Whether a mistake of ours ended the batcher: no image will be answered any more."""
        return self._worker.done() and not self._worker.cancelled()

    def check_room(self, priority: Priority = Priority.ROUTINE) -> None:
        """Find out whether a request would be accepted now.

        Raises:
            DrainingError: :meth:`drain` was called.
            QueueFullError: no seat is free for this priority.
        """
        if self._draining:
            raise DrainingError
        if not self._seats.free(priority):
            self.counts.refused += 1
            own = self._seats.taken_by(priority)
            # Only its own share can be full for bulk while seats are free.
            taken = own if self._seats.free(Priority.ROUTINE) else self._seats.taken
            raise QueueFullError(taken, priority, self._retry_after_s(priority))

    async def spread(
        self,
        items: Sequence[Item],
        work: Callable[[Item], Awaitable[Result]],
        *,
        priority: Priority = Priority.ROUTINE,
        due: float | None = None,
    ) -> list[Result]:
        """``await work(item)`` for each item, each in a seat of its own; ``work`` calls :meth:`infer`.

        Args:
            items: what to work on.
            work: what to do with each.
            priority: whose seats and whose line.
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
            self._seats.take(priority)
            try:
                return [await self._in_time(work(items[0]), due)]
            finally:
                self._seats.leave(priority)
        most_seats = min(len(items), 2 * self.network.max_batch)
        pending = iter(enumerate(items))
        results: dict[int, Result] = {}
        sitters = 0

        def leave_seat(_: asyncio.Task[None]) -> None:
            self._seats.leave(priority)

        def take_free_seats(group: asyncio.TaskGroup) -> None:
            nonlocal sitters
            while sitters < most_seats and self._seats.free(priority):
                sitters += 1
                self._seats.take(priority)
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

    async def infer(
        self, image: Image, *, network: Network | None = None, priority: Priority = Priority.ROUTINE
    ) -> Logits:
        """Logits ``[20]`` of one image ``[256, 256, 3]``. A caller that is cancelled leaves the queue at once.

        Raises:
            ModelFailedError: the network failed on this image.
        """
        if self._worker.done():
            raise ModelFailedError
        answer: asyncio.Future[Logits] = self._loop.create_future()
        ticket = Ticket(image, network or self.network, priority, answer)
        self._lines.add(ticket)
        self._arrived.set()
        try:
            return await answer
        except asyncio.CancelledError:
            self._lines.remove(ticket)
            self.counts.withdrawn += 1
            raise

    async def drain(self) -> None:
        """Accept nothing more, finish what was accepted and stop."""
        self._draining = True
        try:
            await self._seats.all_free.wait()
        finally:
            self._worker.cancel()
            await asyncio.wait([self._worker])

    async def _in_time(self, work: Awaitable[Result], due: float | None) -> Result:
        deadline = self._loop.time() + self._deadline_s
        try:
            async with asyncio.timeout_at(deadline if due is None else min(due, deadline)) as limit:
                return await work
        except TimeoutError:
            if not limit.expired():
                raise
            self.counts.expired += 1
            own = due is None or deadline < due
            raise DeadlineExceededError(f"{self._deadline_s:g} s (HAL_DEADLINE_MS)" if own else None) from None

    async def _work(self) -> None:
        under_way: asyncio.Task[None] | None = None
        try:
            while True:
                await self._arrived.wait()
                if under_way is not None:
                    await self._until_nearly_free(under_way)
                batch = self._lines.next_batch(self.batch_limit)
                if not self._lines:
                    self._arrived.clear()
                begun = self._loop.create_task(self._settle(batch)) if batch else None
                # Or the last batch would keep its images, and a network that was replaced, until the next one comes.
                del batch
                if under_way is not None:
                    await under_way
                under_way = begun
        finally:
            if under_way is not None:
                under_way.cancel()

    async def _until_nearly_free(self, under_way: asyncio.Task[None]) -> None:
        """Wait until the device is free, or nearly so and its next batch is certain to be full."""
        remaining = self._pace.remaining_s(self.busy_s)
        if remaining is not None:
            if remaining > 0:
                await asyncio.wait([under_way], timeout=remaining)
            if len(self._lines) >= self.batch_limit:
                return
        await asyncio.wait([under_way])

    async def _settle(self, batch: Sequence[Ticket]) -> None:
        try:
            await self._answer(batch)
        except Exception:
            logger.exception("a batch could not be answered")
            for ticket in batch:
                self._fail(ticket)

    def _ended(self, worker: asyncio.Task[None]) -> None:
        if worker.cancelled():
            return
        logger.critical("the batcher broke; nothing is answered any more", exc_info=worker.exception())
        for ticket in [*self._lines]:
            self._lines.remove(ticket)
            self._fail(ticket)

    async def _answer(self, batch: Sequence[Ticket]) -> None:
        try:
            rows = await self._compute(batch)
        except Exception as error:
            await self._answer_in_parts(batch, self._size_of_parts(batch, error))
            return
        finite = np.logical_and.reduce(np.isfinite(rows), axis=1).tolist()
        for ticket, row, is_finite in zip(batch, rows, finite, strict=True):
            if ticket.answer.done():
                continue
            if is_finite:
                self.counts.answered += 1
                ticket.answer.set_result(row)
            else:
                logger.error("the engine gave logits that are not finite")
                self._fail(ticket)

    def _size_of_parts(self, batch: Sequence[Ticket], error: Exception) -> int:
        """In what parts to try a failed batch again; 0: not at all."""
        size = len(batch)
        if isinstance(error, MemoryError):
            self.counts.out_of_memory += 1
            if size > 1:
                limit = self._caution.halve(size, self._loop.time())
                logger.error("no memory for a batch of %d; at most %d images a batch for a while", size, limit)
                return limit
        if size > 1:
            logger.warning("the engine failed on a batch of %d; trying each image alone", size, exc_info=error)
            return 1
        logger.error("the engine failed on one image", exc_info=error)
        return 0

    async def _answer_in_parts(self, batch: Sequence[Ticket], size: int) -> None:
        if size == 0:
            self._fail(batch[0])
            return
        self.counts.retried_batches += 1
        rest = list(batch)
        while rest := [ticket for ticket in rest if not ticket.answer.done()]:
            # A part may find no memory either, which makes the parts after it smaller.
            size = min(size, self.batch_limit)
            await self._answer(rest[:size])
            rest = rest[size:]

    def _fail(self, ticket: Ticket) -> None:
        if not ticket.answer.done():
            self.counts.failed += 1
            ticket.answer.set_exception(ModelFailedError())

    async def _compute(self, batch: Sequence[Ticket]) -> Logits:
        self._in_flight += 1
        if self._busy_since is None:
            self._busy_since = self._loop.time()
        # Not the loop's time, which uvloop keeps in whole milliseconds.
        begin = time.perf_counter()
        try:
            logits = await batch[0].network.run([ticket.image for ticket in batch])
        finally:
            end = time.perf_counter()
            # A batch that was prepared ahead began when the one before it ended.
            begin = max(begin, self._last_end)
            self._last_end = end
            self._in_flight -= 1
            self._busy_since = self._loop.time() if self._in_flight else None
        self._pace.add(len(batch), end - begin)
        self.on_batch(batch, begin, end)
        self.counts.batches += 1
        return logits

    def _retry_after_s(self, priority: Priority) -> int:
        if priority is Priority.ROUTINE:
            return self._pace.seconds_for(self._seats.taken / 2)
        # Half of its own line, and all of the line that goes first.
        taken = self._seats.taken_by
        return self._pace.seconds_for(taken(Priority.ROUTINE) + taken(Priority.BULK) / 2)
