"""An engine in a thread of its own."""

import logging
import time
from collections.abc import Callable, Sequence
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

from contract.classes import CLASS_COUNT
from service.batching.queue import Image, Logits
from service.engine.onnx import EmbeddingEngine, Engine
from service.engine.stacks import Stacks
from service.engine.threads import WorkThread
from service.engine.tuning import Hindsight, Tuning

logger = logging.getLogger("hal.engine")

Opened = TypeVar("Opened", bound=Engine)


class EngineThread:
    """Opens an engine and runs it, all in one thread, which CUDA graphs ask for; a :class:`service.batching.queue.Network`.

    Attributes:
        max_batch: most images that :meth:`run` takes.
        watch: given logits and embeddings of each batch, in the thread; embeddings are only asked for if it is set.
        gives_embeddings: whether the engine can.
        with_embedding: the same engine, giving embeddings too.
        on_revised: called, in the thread, when batches in use have shown that ``max_batch`` may be another.
        closed: whether :meth:`close` was called.
    """

    def __init__(self, max_batch: int) -> None:
        self.max_batch = self._most = max_batch
        self._thread = WorkThread("hal-engine")
        self._stacking = WorkThread("hal-stack")
        self._stacks = Stacks(max_batch)
        self._engine: Engine | None = None
        self.watch: Callable[[Logits, NDArray[np.float32]], None] | None = None
        self.with_embedding = WithEmbedding(self)
        self.gives_embeddings = False
        self.on_revised: Callable[[], None] = lambda: None
        self._hindsight: Hindsight | None = None
        self._at_work = 0
        self.closed = False

    async def open(self, make: Callable[[], Opened]) -> Opened:
        """Call ``make`` in the thread, keep the engine that it gives, and return it.

        Raises:
            Exception: whatever ``make`` raises.
        """
        engine = await self._thread.call(make)
        self._engine = engine
        self.gives_embeddings = isinstance(engine, EmbeddingEngine)
        return engine

    @property
    def tuning(self) -> Tuning | None:
        """Why ``max_batch`` is what it is, ``None`` if it is what it was made with."""
        return None if self._hindsight is None else self._hindsight.tuning

    def begin_with(self, tuning: Tuning) -> None:
        """Make batches of at most ``tuning.limit`` images, until their own times speak for another limit."""
        self._hindsight = Hindsight(tuning, self._most)
        self.max_batch = tuning.limit

    async def run(self, images: Sequence[Image]) -> Logits:
        """Logits ``[n, 20]`` of ``n`` images ``[256, 256, 3]``.

        Raises:
            Exception: whatever the engine raises, or it gave something else than logits.
        """
        return await self._after_stacking(self._run, images)

    async def run_rows(self, images: Sequence[Image]) -> NDArray[np.float32]:
        """Logits and embedding in one row, for :class:`WithEmbedding`."""
        return await self._after_stacking(self._run_rows, images)

    async def until_free(self) -> None:
        """Wait for what the thread is doing."""
        await self._thread.call(_nothing)

    def close(self) -> None:
        """Let go of the engine; what the thread is doing now is not waited for."""
        self.closed = True
        self._engine = None
        self._thread.close()
        self._stacking.close()

    async def _after_stacking(
        self, run: Callable[[NDArray[np.uint8]], NDArray[np.float32]], images: Sequence[Image]
    ) -> NDArray[np.float32]:
        ahead = await self._stacking.call(lambda: self._stacks.take(images)) if self._at_work else None

        def stack_and_run() -> NDArray[np.float32]:
            stack = self._stacks.take(images) if ahead is None else ahead
            try:
                return run(stack)
            finally:
                self._stacks.give_back(stack)

        self._at_work += 1
        try:
            return await self._thread.call(stack_and_run)
        finally:
            self._at_work -= 1

    def _run_rows(self, images: NDArray[np.uint8]) -> NDArray[np.float32]:
        if not isinstance(self._engine, EmbeddingEngine):
            raise RuntimeError("the engine is not open or gives no embeddings")
        rows: NDArray[np.float32] = np.concatenate(self._engine.run_with_embedding(images), axis=1)
        return rows

    def _run(self, images: NDArray[np.uint8]) -> Logits:
        if self._engine is None:
            raise RuntimeError("the engine is not open")
        begin = time.perf_counter()
        if self.watch is not None and isinstance(self._engine, EmbeddingEngine):
            logits, embeddings = self._engine.run_with_embedding(images)
            self._learn(len(images), time.perf_counter() - begin)
            self.watch(logits, embeddings)
        else:
            logits = self._engine.run(images)
            self._learn(len(images), time.perf_counter() - begin)
        if logits.shape != (len(images), CLASS_COUNT):
            raise ValueError(f"the engine gave {logits.shape} for {len(images)} images")
        return logits

    def _learn(self, images: int, seconds: float) -> None:
        if self._hindsight is not None and self._hindsight.saw(images, seconds):
            self.max_batch = self._hindsight.tuning.limit
            logger.info("%s", self._hindsight.tuning)
            self.on_revised()


class WithEmbedding:
    """The same engine as a network whose rows are the logits followed by the embedding, ``[n, 20 + 2048]``.

    Args:
        thread: where the engine is.
    """

    def __init__(self, thread: EngineThread) -> None:
        self._thread = thread

    @property
    def max_batch(self) -> int:
        """As the engine's."""
        return self._thread.max_batch

    async def run(self, images: Sequence[Image]) -> Logits:
        """Rows of ``n`` images ``[256, 256, 3]``.

        Raises:
            Exception: whatever the engine raises.
        """
        return await self._thread.run_rows(images)


def _nothing() -> None:
    """What a free thread does at once."""
