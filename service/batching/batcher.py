"""The greedy batcher.

The device is either busy or free. Free: what is waiting is taken at once, up to ``max_batch``; no timer. Busy: the
queue fills, and the next batch is formed at the moment the device frees, by the rule of
:mod:`service.batching.queue`. So an idle service adds no delay and a loaded one fills its batches. On a fast device
that moment is a millisecond or two early if a full batch waits: it is prepared while the one before it ends (see
:class:`service.batching.rate.Rate`). The queue belongs to the event loop. How many images may be in it is for
:mod:`service.batching.admission` to say.
"""

import asyncio
import contextlib
import logging
import time
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple, TypeAlias

from service.batching.admission import Admission
from service.batching.errors import ModelFailedError
from service.batching.queue import Image, Network, Priority, Queue, QueuedImage, Rows, fail, settle
from service.batching.rate import MemoryCaution, Rate, Statistics

logger = logging.getLogger("hal.batching")

OnBatch: TypeAlias = Callable[[Sequence[QueuedImage], float, float], None]


class _Running(NamedTuple):
    """A batch on the device, and when it has left it; its answers are handed out after that."""

    task: asyncio.Task[None]
    ended: asyncio.Event


class Batcher:
    """Feeds a network with batches. To be made, used and drained in one event loop.

    Args:
        network: what images are given to unless they ask for another; may be replaced at any time, and images that
            were accepted before keep theirs.
        queue_limit, bulk_limit, deadline_s: see :class:`service.batching.admission.Admission`.
        on_batch: called with each batch that the device finished, when it began and when it ended
            (``time.perf_counter``), once its images have their answers; what it raises is logged.
    """

    def __init__(
        self,
        network: Network,
        *,
        queue_limit: int,
        bulk_limit: int,
        deadline_s: float,
        statistics: Statistics,
        on_batch: OnBatch,
    ) -> None:
        self.network = network
        self.statistics = statistics
        self._on_batch = on_batch
        self._loop = asyncio.get_running_loop()
        self._queue = Queue()
        self._arrived = asyncio.Event()
        self._rate = Rate()
        self.admission = Admission(
            queue_limit,
            bulk_limit,
            deadline_s=deadline_s,
            max_batch=lambda: self.network.max_batch,
            rate=self._rate,
            statistics=self.statistics,
        )
        self._caution = MemoryCaution()
        self._busy_since: float | None = None
        self._in_flight = 0
        self._last_end = 0.0
        self._worker = self._loop.create_task(self._work(), name="hal-batcher")
        self._worker.add_done_callback(self._ended)

    @property
    def waiting(self) -> int:
        return len(self._queue)

    def waiting_of(self, priority: Priority) -> int:
        return self._queue.waiting(priority)

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
    ) -> Any:
        """The network's result for one image ``[256, 256, 3]``, or :class:`ModelFailedError`.

        A caller that is cancelled leaves the queue at once.
        """
        if self._worker.done():
            raise ModelFailedError
        answer: asyncio.Future[Any] = self._loop.create_future()
        queued = QueuedImage(image, network or self.network, priority, answer)
        self._queue.add(queued)
        self._arrived.set()
        try:
            return await answer
        except asyncio.CancelledError:
            self._queue.remove(queued)
            self.statistics.withdrawn += 1
            raise

    async def drain(self) -> None:
        """Accept nothing more, finish what was accepted and stop."""
        try:
            await self.admission.drain()
        finally:
            self._worker.cancel()
            await asyncio.wait([self._worker])

    async def _work(self) -> None:
        running: _Running | None = None
        try:
            while True:
                await self._arrived.wait()
                if running is not None:
                    await self._until_nearly_free(running.ended)
                batch = self._queue.next_batch(self.batch_limit)
                if not self._queue:
                    self._arrived.clear()
                ended = asyncio.Event()
                begun = _Running(self._loop.create_task(self._run(batch, ended)), ended) if batch else None
                # Or the last batch would keep its images, and a network that was replaced, until the next one comes.
                del batch
                if running is not None:
                    await running.ended.wait()
                running = begun
        finally:
            # Once it has ended only its answers are missing, and they are sure to come.
            if running is not None and not running.ended.is_set():
                running.task.cancel()

    async def _until_nearly_free(self, ended: asyncio.Event) -> None:
        """Wait until the device is free, or nearly so and its next batch is certain to be full."""
        remaining = self._rate.remaining_s(self.busy_s)
        if remaining is not None:
            if remaining > 0:
                with contextlib.suppress(TimeoutError):
                    async with asyncio.timeout(remaining):
                        await ended.wait()
            if len(self._queue) >= self.batch_limit:
                return
        await ended.wait()

    async def _run(self, batch: Sequence[QueuedImage], ended: asyncio.Event) -> None:
        try:
            await self._answer(batch, ended)
        except Exception:
            logger.exception("a batch could not be answered")
            fail(batch, self.statistics)
        finally:
            ended.set()

    def _ended(self, worker: asyncio.Task[None]) -> None:
        if worker.cancelled():
            return
        logger.critical("the batcher broke; nothing is answered any more", exc_info=worker.exception())
        for queued in [*self._queue]:
            self._queue.remove(queued)
            fail([queued], self.statistics)

    async def _answer(self, batch: Sequence[QueuedImage], ended: asyncio.Event | None = None) -> None:
        try:
            rows, begin, end = await self._compute(batch)
        except Exception as error:
            await self._answer_in_parts(batch, self._size_of_parts(batch, error))
            return
        if ended is not None:
            # Answers wake as many requests, which keep the loop for milliseconds. The device has its next batch first:
            # whoever waits for it to be free is woken here and starts it before they are.
            ended.set()
            await asyncio.sleep(0)
        settle(batch, batch[0].network.results(rows), self.statistics)
        try:
            self._on_batch(batch, begin, end)
        except Exception:
            logger.exception("what watches the batches failed on a batch of %d; its answers are given", len(batch))

    def _size_of_parts(self, batch: Sequence[QueuedImage], error: Exception) -> int:
        """In what parts to try a failed batch again; 0: not at all."""
        size = len(batch)
        if isinstance(error, MemoryError):
            self.statistics.out_of_memory += 1
            if size > 1:
                limit = self._caution.halve(size, self._loop.time())
                logger.error("no memory for a batch of %d; at most %d images a batch for a while", size, limit)
                return limit
        if size > 1:
            logger.warning("the engine failed on a batch of %d; trying each image alone", size, exc_info=error)
            return 1
        logger.error("the engine failed on one image", exc_info=error)
        return 0

    async def _answer_in_parts(self, batch: Sequence[QueuedImage], size: int) -> None:
        if size == 0:
            fail(batch, self.statistics)
            return
        self.statistics.retried_batches += 1
        rest = list(batch)
        while rest := [queued for queued in rest if not queued.answer.done()]:
            # A part may find no memory either, which makes the parts after it smaller.
            size = min(size, self.batch_limit)
            await self._answer(rest[:size])
            rest = rest[size:]

    async def _compute(self, batch: Sequence[QueuedImage]) -> tuple[Rows, float, float]:
        """Rows, and when the device began and ended."""
        self._in_flight += 1
        if self._busy_since is None:
            self._busy_since = self._loop.time()
        # Not the loop's time, which uvloop keeps in whole milliseconds.
        begin = time.perf_counter()
        try:
            rows = await batch[0].network.run([queued.image for queued in batch])
        finally:
            end = time.perf_counter()
            # A batch that was prepared ahead began when the one before it ended.
            begin = max(begin, self._last_end)
            self._last_end = end
            self._in_flight -= 1
            self._busy_since = self._loop.time() if self._in_flight else None
        self._rate.add(len(batch), end - begin)
        self.statistics.batches += 1
        return rows, begin, end
