"""An engine in a thread of its own, which an event loop hands batches to."""

import asyncio
import contextlib
from collections.abc import Callable, Sequence
from queue import SimpleQueue
from typing import Any, TypeAlias, TypeVar

import numpy as np
from numpy.typing import NDArray

from contract.classes import CLASS_COUNT
from contract.parts import EMBEDDING_SIZE
from service.batching.queue import Image, Rows, deliver
from service.engine.onnx import Engine
from service.threads import start_thread

Result = TypeVar("Result")
Opened = TypeVar("Opened", bound=Engine)

_Job: TypeAlias = tuple[Callable[[], Any], asyncio.Future[Any], asyncio.AbstractEventLoop]


class WorkThreads:
    """Threads that do one piece of work after the other: one queue there, one callback back.

    ``loop.run_in_executor`` does the same at three times the cost, and starts a thread when it is needed first.
    """

    def __init__(self, name: str, count: int = 1) -> None:
        self._jobs: SimpleQueue[_Job | None] = SimpleQueue()
        self._name = name
        self._count = count
        self._running = 0

    @property
    def started(self) -> bool:
        return self._running == self._count

    def start(self) -> None:
        """Start those that do not run; after NoThreadError to be called again."""
        while self._running < self._count:
            start_thread(self._work, self._name)
            self._running += 1

    async def call(self, work: Callable[[], Result]) -> Result:
        """The result of ``work()``. If the caller is cancelled before it has begun it is left out."""
        loop = asyncio.get_running_loop()
        answer: asyncio.Future[Result] = loop.create_future()
        self._jobs.put((work, answer, loop))
        return await answer

    def close(self) -> None:
        for _ in range(self._running):
            self._jobs.put(None)

    def _work(self) -> None:
        while (job := self._jobs.get()) is not None:
            work, answer, loop = job
            if not answer.cancelled():
                _do(work, answer, loop)
            # Or the last batch would keep its images until the next one comes.
            del job, work, answer


def _do(work: Callable[[], Any], answer: asyncio.Future[Any], loop: asyncio.AbstractEventLoop) -> None:
    try:
        outcome = work()
    except BaseException as error:
        outcome = error
    with contextlib.suppress(RuntimeError):  # The loop was closed: nobody waits any more.
        loop.call_soon_threadsafe(deliver, answer, outcome)


class Stacks:
    """Blocks of memory, each for the batch of one run, that are used again.

    Fresh memory of several megabytes costs a page fault for every 4 KiB, 48 for an image: as much processor time as
    half of its decoding. May be used by several threads, each block by one at a time.
    """

    def __init__(self) -> None:
        self._free: list[NDArray[np.uint8]] = []

    def take(self, images: Sequence[NDArray[np.uint8]], most: int) -> NDArray[np.uint8]:
        """Images of one shape as ``[n, ...]``, the caller's until it gives them back by :meth:`give_back`.

        A new block has room for ``most`` images.
        """
        shape = images[0].shape
        try:
            block = self._free.pop()
        except IndexError:
            block = np.empty((max(most, len(images)), *shape), np.uint8)
        if len(block) < len(images) or block.shape[1:] != shape:
            block = np.empty((len(images), *shape), np.uint8)
        # np.stack lets go of the interpreter's lock for each image, and gets it back after longer than a copy takes.
        target, size = block.data.cast("B"), images[0].nbytes
        for begin, image in zip(range(0, len(target), size), images, strict=False):
            target[begin : begin + size] = np.ascontiguousarray(image).data.cast("B")
        return block[: len(images)]

    def give_back(self, stack: NDArray[np.uint8]) -> None:
        """Say that nobody reads ``stack`` any more."""
        block = stack.base
        if isinstance(block, np.ndarray):
            self._free.append(block)


class EngineThread:
    """Opens an engine and runs it, all in one thread, which CUDA graphs ask for.

    Attributes:
        max_batch: most images that :meth:`run` takes.
        watch: given logits and embeddings of each batch, in the thread.
    """

    def __init__(self, max_batch: int = 1) -> None:
        self.max_batch = max_batch
        self.watch: Callable[[NDArray[np.float32], NDArray[np.float32]], None] | None = None
        self.closed = False
        self._thread = WorkThreads("hal-engine")
        self._stacking = WorkThreads("hal-stack")
        self._stacks = Stacks()
        self._engine: Engine | None = None
        self._at_work = 0

    async def open(self, make: Callable[[], Opened]) -> Opened:
        """Start the threads, call ``make`` in one, keep the engine that it gives, and return it.

        Raises:
            NoThreadError: there is no thread for it.
        """
        self._thread.start()
        self._stacking.start()
        self._engine = engine = await self._thread.call(make)
        return engine

    async def run(self, images: Sequence[Image]) -> Rows:
        """Rows for ``n`` images ``[256, 256, 3]``: 20 logits, 2048 numbers of the embedding, and what else there is.

        Raises:
            Exception: whatever the engine raises, or it gave something else than logits.
        """

        def stack() -> NDArray[np.uint8]:
            return self._stacks.take(images, self.max_batch)

        ahead = await self._stacking.call(stack) if self._at_work else None

        def stack_and_run() -> Rows:
            stacked = stack() if ahead is None else ahead
            try:
                return self._run(stacked)
            finally:
                self._stacks.give_back(stacked)

        self._at_work += 1
        try:
            return await self._thread.call(stack_and_run)
        finally:
            self._at_work -= 1

    async def until_free(self) -> None:
        await self._thread.call(lambda: None)

    def close(self) -> None:
        """Let go of the engine; what the thread is doing now is not waited for."""
        self.closed = True
        self._engine = None
        self._thread.close()
        self._stacking.close()

    def _run(self, images: NDArray[np.uint8]) -> Rows:
        if self._engine is None:
            raise RuntimeError("the engine is not open")
        logits, features = self._engine.run(images)
        if logits.shape != (len(images), CLASS_COUNT):
            raise ValueError(f"the engine gave {logits.shape} for {len(images)} images")
        if self.watch is not None:
            self.watch(logits, features[:, :EMBEDDING_SIZE])
        rows: Rows = np.concatenate((logits, features), axis=1)
        return rows
