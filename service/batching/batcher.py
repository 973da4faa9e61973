"""The greedy batcher.

The device is either busy or free. Free: what is waiting is taken at once, up to ``max_batch``; no timer. Busy: the
queue fills, and the next batch is formed at the moment the device frees, by the rule of :mod:`service.batching.queue`. So an
idle service adds no delay and a loaded one fills its batches. On a fast device that moment is a millisecond or two
early if a full batch waits: it is prepared while the one before it ends (see :class:`service.batching.rate.Pace`). The queue
belongs to the event loop. How many images may be in it is for :mod:`service.batching.admission` to say.
"""

import asyncio
import contextlib
import logging
import time
from collections.abc import Callable, Sequence
from typing import NamedTuple

from service.batching.admission import Seats
from service.batching.counts import Counts
from service.batching.errors import ModelFailedError
from service.batching.outcomes import fail, hand_out
from service.batching.queue import Image, Lines, Logits, Network, Priority, Ticket
from service.batching.rate import MemoryCaution, Pace

logger = logging.getLogger("hal.batching")


class _UnderWay(NamedTuple):
    """A batch on the device, and when it has left it; its answers are handed out after that."""

    task: asyncio.Task[None]
    ended: asyncio.Event


class _Done(NamedTuple):
    logits: Logits
    begin: float
    end: float


class Batcher:
    """Feeds a network with batches. To be made, used and drained in one event loop.

    Args:
        network: what images are given to unless they ask for another.
        queue_limit: most images accepted and not yet answered.
        bulk_limit: most of them that may be bulk; ``None`` for all.
        deadline_s: seconds in which an image must be answered once it has a seat, preparation included.

    Attributes:
        network: may be replaced at any time; images that were accepted before keep the one that they were given.
        seats: through which requests come.
        counts: what happened so far.
        on_batch: called with each batch that the device finished, when it began and when it ended
            (``time.perf_counter``), once its images have their answers; what it raises is logged.
    """

    def __init__(self, network: Network, *, queue_limit: int, deadline_s: float, bulk_limit: int | None = None) -> None:
        self.network = network
        self.counts = Counts()
        self.on_batch: Callable[[Sequence[Ticket], float, float], None] = lambda *_: None
        self._loop = asyncio.get_running_loop()
        self._lines = Lines()
        self._arrived = asyncio.Event()
        self._pace = Pace()
        self.seats = Seats(
            queue_limit,
            queue_limit if bulk_limit is None else bulk_limit,
            deadline_s=deadline_s,
            batch=lambda: self.network.max_batch,
            pace=self._pace,
            counts=self.counts,
        )
        self._caution = MemoryCaution()
        self._busy_since: float | None = None
        self._in_flight = 0
        self._last_end = 0.0
        self._worker = self._loop.create_task(self._work(), name="hal-batcher")
        self._worker.add_done_callback(self._ended)

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
        try:
            await self.seats.drain()
        finally:
            self._worker.cancel()
            await asyncio.wait([self._worker])

    async def _work(self) -> None:
        under_way: _UnderWay | None = None
        try:
            while True:
                await self._arrived.wait()
                if under_way is not None:
                    await self._until_nearly_free(under_way.ended)
                batch = self._lines.next_batch(self.batch_limit)
                if not self._lines:
                    self._arrived.clear()
                begun = self._begin(batch) if batch else None
                # Or the last batch would keep its images, and a network that was replaced, until the next one comes.
                del batch
                if under_way is not None:
                    await under_way.ended.wait()
                under_way = begun
        finally:
            # Once it has ended only its answers are missing, and they are sure to come.
            if under_way is not None and not under_way.ended.is_set():
                under_way.task.cancel()

    def _begin(self, batch: Sequence[Ticket]) -> "_UnderWay":
        ended = asyncio.Event()
        return _UnderWay(self._loop.create_task(self._settle(batch, ended)), ended)

    async def _until_nearly_free(self, ended: asyncio.Event) -> None:
        """Wait until the device is free, or nearly so and its next batch is certain to be full."""
        remaining = self._pace.remaining_s(self.busy_s)
        if remaining is not None:
            if remaining > 0:
                with contextlib.suppress(TimeoutError):
                    async with asyncio.timeout(remaining):
                        await ended.wait()
            if len(self._lines) >= self.batch_limit:
                return
        await ended.wait()

    async def _settle(self, batch: Sequence[Ticket], ended: asyncio.Event) -> None:
        try:
            await self._answer(batch, ended)
        except Exception:
            logger.exception("a batch could not be answered")
            fail(batch, self.counts)
        finally:
            ended.set()

    def _ended(self, worker: asyncio.Task[None]) -> None:
        if worker.cancelled():
            return
        logger.critical("the batcher broke; nothing is answered any more", exc_info=worker.exception())
        for ticket in [*self._lines]:
            self._lines.remove(ticket)
            fail([ticket], self.counts)

    async def _answer(self, batch: Sequence[Ticket], ended: asyncio.Event | None = None) -> None:
        try:
            done = await self._compute(batch)
        except Exception as error:
            await self._answer_in_parts(batch, self._size_of_parts(batch, error))
            return
        if ended is not None:
            # Answers wake as many requests, which keep the loop for milliseconds. The device has its next batch first:
            # whoever waits for it to be free is woken here and starts it before they are.
            ended.set()
            await asyncio.sleep(0)
        hand_out(batch, done.logits, self.counts)
        try:
            self.on_batch(batch, done.begin, done.end)
        except Exception:
            logger.exception("what watches the batches failed on a batch of %d; its answers are given", len(batch))

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
            fail(batch, self.counts)
            return
        self.counts.retried_batches += 1
        rest = list(batch)
        while rest := [ticket for ticket in rest if not ticket.answer.done()]:
            # A part may find no memory either, which makes the parts after it smaller.
            size = min(size, self.batch_limit)
            await self._answer(rest[:size])
            rest = rest[size:]

    async def _compute(self, batch: Sequence[Ticket]) -> _Done:
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
        self.counts.batches += 1
        return _Done(logits, begin, end)
