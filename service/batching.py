"""The queue and the greedy batcher.

The device is either busy or free. Free: what is waiting is taken at once, up to ``max_batch``; no timer. Busy: the
queue fills, and the next batch is formed at the moment the device frees. So an idle service adds no delay and a loaded
one fills its batches. The queue belongs to the event loop; the engine runs in one thread of its own.

A *seat* is the right of one request to have one image in the queue. There are ``queue_limit`` seats. A request takes as
many as it has images and as are free, at most two batches' worth, and feeds its other images through them: a bulk
request of any length is accepted when a single image would be, and refused when a single image would be.
"""

import asyncio
import logging
import math
from collections.abc import Awaitable, Callable, Sequence
from concurrent.futures import Executor
from dataclasses import dataclass
from itertools import islice
from typing import Final, TypeVar

import numpy as np
from numpy.typing import NDArray

from contract.classes import CLASS_COUNT
from service.engine import Engine

logger = logging.getLogger("hal.batching")

_LONGEST_RETRY_S: Final = 60
_RATE_MEMORY: Final = 0.8
"""Weight of the past in the moving average of the device's rate."""

Item = TypeVar("Item")
Result = TypeVar("Result")
Image = NDArray[np.uint8]
Logits = NDArray[np.float32]


class QueueFullError(Exception):
    """Every seat is taken; ``retry_after_s`` is when half of the queue should have been worked off."""

    def __init__(self, queue_limit: int, retry_after_s: int) -> None:
        self.retry_after_s = retry_after_s
        super().__init__(f"{queue_limit} images are waiting already; send the request again in {retry_after_s} s.")


class DrainingError(Exception):
    """The service is stopping and takes no more work."""

    def __init__(self) -> None:
        super().__init__("The service is stopping; send the request again, to another instance if there is one.")


class DeadlineExceededError(Exception):
    """An image was not answered in time; it has left the queue."""

    def __init__(self, deadline_s: float) -> None:
        super().__init__(f"An image was not classified within {deadline_s:g} s (HAL_DEADLINE_MS); send it again later.")


class ModelFailedError(Exception):
    """The network failed on this image, alone as in its batch."""

    def __init__(self) -> None:
        super().__init__("The network failed on this image; report it with the request id.")


@dataclass(slots=True)
class Counts:
    """What happened so far, in images unless said otherwise."""

    answered: int = 0
    failed: int = 0
    withdrawn: int = 0
    """Left before they were answered: their client went away or their deadline passed."""
    expired: int = 0
    """Those of the withdrawn whose deadline passed."""
    refused: int = 0
    """Requests that found the queue full."""
    batches: int = 0


class Batcher:
    """Feeds an engine with batches. To be made, used and drained in one event loop.

    Args:
        engine: the network.
        thread: where the engine runs; one worker.
        max_batch: most images in a batch.
        queue_limit: most images accepted and not yet answered.
        deadline_s: seconds in which an image must be answered once it has a seat, preparation included.
    """

    def __init__(
        self, engine: Engine, thread: Executor, *, max_batch: int, queue_limit: int, deadline_s: float
    ) -> None:
        self.counts = Counts()
        self._engine = engine
        self._thread = thread
        self._max_batch = max_batch
        self._queue_limit = queue_limit
        self._deadline_s = deadline_s
        self._waiting: dict[asyncio.Future[Logits], Image] = {}
        self._arrived = asyncio.Event()
        self._seats_taken = 0
        self._empty = asyncio.Event()
        self._empty.set()
        self._draining = False
        self._images_per_s = 0.0
        self._worker = asyncio.create_task(self._work(), name="hal-batcher")

    @property
    def seats_taken(self) -> int:
        """Images accepted and not yet answered."""
        return self._seats_taken

    @property
    def waiting(self) -> int:
        """Images that wait for the device."""
        return len(self._waiting)

    def check_room(self) -> None:
        """Find out whether a request would be accepted now.

        Raises:
            DrainingError: :meth:`drain` was called.
            QueueFullError: every seat is taken.
        """
        if self._draining:
            raise DrainingError
        if self._seats_taken >= self._queue_limit:
            self.counts.refused += 1
            raise QueueFullError(self._queue_limit, self._retry_after_s())

    async def spread(self, items: Sequence[Item], work: Callable[[Item], Awaitable[Result]]) -> list[Result]:
        """``await work(item)`` for each item, each in a seat of its own; ``work`` calls :meth:`infer`.

        Returns:
            The results in the order of the items.

        Raises:
            DrainingError, QueueFullError: see :meth:`check_room`; nothing was started.
            DeadlineExceededError: an item took longer than the deadline; the others were withdrawn.
            Exception: whatever ``work`` raises; the others were withdrawn.
        """
        self.check_room()
        most_seats = min(len(items), 2 * self._max_batch)
        pending = iter(enumerate(items))
        results: dict[int, Result] = {}
        sitters = 0

        def take_free_seats(group: asyncio.TaskGroup) -> None:
            nonlocal sitters
            while sitters < most_seats and self._seats_taken < self._queue_limit:
                sitters += 1
                self._take_seat()
                # A callback, since a task that is cancelled before its first step never reaches a `finally`.
                group.create_task(sit(group)).add_done_callback(self._leave_seat)

        async def sit(group: asyncio.TaskGroup) -> None:
            for index, item in pending:
                results[index] = await self._in_time(work(item))
                take_free_seats(group)

        try:
            async with asyncio.TaskGroup() as group:
                take_free_seats(group)
        except ExceptionGroup as failures:
            raise failures.exceptions[0] from None
        return [results[index] for index in range(len(items))]

    async def infer(self, image: Image) -> Logits:
        """Logits ``[20]`` of one image ``[256, 256, 3]``. A caller that is cancelled leaves the queue at once.

        Raises:
            ModelFailedError: the engine failed on this image.
        """
        answer: asyncio.Future[Logits] = asyncio.get_running_loop().create_future()
        self._waiting[answer] = image
        self._arrived.set()
        try:
            return await answer
        except asyncio.CancelledError:
            self._waiting.pop(answer, None)
            self.counts.withdrawn += 1
            raise

    async def drain(self) -> None:
        """Accept nothing more, finish what was accepted and stop."""
        self._draining = True
        try:
            await self._empty.wait()
        finally:
            self._worker.cancel()
            await asyncio.wait([self._worker])

    def _take_seat(self) -> None:
        self._seats_taken += 1
        self._empty.clear()

    def _leave_seat(self, _: asyncio.Task[None]) -> None:
        self._seats_taken -= 1
        if self._seats_taken == 0:
            self._empty.set()

    async def _in_time(self, work: Awaitable[Result]) -> Result:
        try:
            async with asyncio.timeout(self._deadline_s) as limit:
                return await work
        except TimeoutError:
            if not limit.expired():
                raise
            self.counts.expired += 1
            raise DeadlineExceededError(self._deadline_s) from None

    async def _work(self) -> None:
        while True:
            await self._arrived.wait()
            batch = dict(islice(self._waiting.items(), self._max_batch))
            for answer in batch:
                del self._waiting[answer]
            if not self._waiting:
                self._arrived.clear()
            if batch:
                await self._answer(batch)

    async def _answer(self, batch: dict[asyncio.Future[Logits], Image]) -> None:
        try:
            rows = await self._compute(list(batch.values()))
        except Exception:
            if len(batch) == 1:
                logger.exception("the engine failed on one image")
                self._fail(*batch)
                return
            logger.warning("the engine failed on a batch of %d; trying each image alone", len(batch), exc_info=True)
            for answer, image in batch.items():
                if not answer.done():
                    await self._answer({answer: image})
            return
        for answer, row in zip(batch, rows, strict=True):
            if answer.done():
                continue
            if np.isfinite(row).all():
                self.counts.answered += 1
                answer.set_result(row)
            else:
                logger.error("the engine gave logits that are not finite")
                self._fail(answer)

    def _fail(self, answer: asyncio.Future[Logits]) -> None:
        self.counts.failed += 1
        if not answer.done():
            answer.set_exception(ModelFailedError())

    async def _compute(self, images: Sequence[Image]) -> Logits:
        loop = asyncio.get_running_loop()
        start = loop.time()
        logits = await loop.run_in_executor(self._thread, self._run, images)
        rate = len(images) / max(loop.time() - start, 1e-6)
        past = self._images_per_s or rate
        self._images_per_s = _RATE_MEMORY * past + (1 - _RATE_MEMORY) * rate
        self.counts.batches += 1
        return logits

    def _run(self, images: Sequence[Image]) -> Logits:
        logits = self._engine.run(np.stack(images))
        if logits.shape != (len(images), CLASS_COUNT):
            raise ValueError(f"the engine gave {logits.shape} for {len(images)} images")
        return logits

    def _retry_after_s(self) -> int:
        if not self._images_per_s:
            return 1
        return min(max(math.ceil(self._seats_taken / 2 / self._images_per_s), 1), _LONGEST_RETRY_S)
