"""A batcher in front of a slow device, and requests to it."""

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator, Callable, Coroutine
from typing import Any

import numpy as np
from numpy.typing import NDArray

from service.batching.batcher import Batcher, OnBatch
from service.batching.queue import Priority, Rows
from service.batching.rate import Statistics
from service.engine.onnx import Outputs
from service.engine.thread import EngineThread
from tests.service.slow_device import SlowDevice, image

Test = Callable[[], Coroutine[Any, Any, None]]


def in_event_loop(test: Test) -> Callable[[], None]:
    def run() -> None:
        asyncio.run(test())

    run.__name__ = test.__name__
    return run


class RowByRow:
    """An engine as a network that gives each image its row."""

    def __init__(self, engine: EngineThread) -> None:
        self.run = engine.run
        self.max_batch = engine.max_batch

    def results(self, rows: Rows) -> list[Rows | None]:
        return [row if np.isfinite(row).all() else None for row in rows]


@contextlib.asynccontextmanager
async def batching(
    device: SlowDevice,
    *,
    max_batch: int = 4,
    queue_limit: int = 64,
    bulk_limit: int | None = None,
    deadline_s: float = 60,
    on_batch: OnBatch = lambda *_: None,
) -> AsyncIterator[Batcher]:
    network = EngineThread(max_batch)
    await network.open(lambda: device)
    batcher = Batcher(
        RowByRow(network),
        queue_limit=queue_limit,
        bulk_limit=queue_limit if bulk_limit is None else bulk_limit,
        deadline_s=deadline_s,
        statistics=Statistics(),
        on_batch=on_batch,
    )
    try:
        yield batcher
    finally:
        device.let_go()
        await batcher.drain()
        await network.until_free()
        network.close()


async def begun(device: SlowDevice) -> None:
    await asyncio.to_thread(device.wait_until_busy)


async def settled() -> None:
    """Every task that can go on has gone on."""
    for _ in range(20):
        await asyncio.sleep(0)


async def ask(batcher: Batcher, *firsts: int, priority: Priority = Priority.ROUTINE) -> list[int]:
    async def classify(first: int) -> int:
        return int((await batcher.infer(image(first), priority=priority)).argmax())

    return await batcher.admission.run_all(firsts, classify, priority=priority)


def asking(batcher: Batcher, *firsts: int, priority: Priority = Priority.ROUTINE) -> asyncio.Task[list[int]]:
    return asyncio.create_task(ask(batcher, *firsts, priority=priority))


class Metered(SlowDevice):
    """A device that takes the same time for every batch."""

    BATCH_S = 0.02

    def run(self, images: NDArray[np.uint8]) -> Outputs:
        outputs = super().run(images)
        time.sleep(self.BATCH_S)
        return outputs
