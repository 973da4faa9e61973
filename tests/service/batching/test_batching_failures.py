"""What a batch that fails costs: its culprit alone."""

import asyncio
from collections.abc import Sequence

import numpy as np
import pytest
from numpy.typing import NDArray

from service.batching.errors import ModelFailedError
from service.batching.queue import QueuedImage
from tests.service.batchers import ask, asking, batching, begun, in_event_loop, settled
from tests.service.slow_device import POISON, SlowDevice, image


@in_event_loop
async def test_a_poisoned_image_fails_alone() -> None:
    device = SlowDevice(held=True)
    async with batching(device) as batcher:
        blocking = asking(batcher, 0)
        await begun(device)
        answers = [asking(batcher, first) for first in (1, POISON, 2)]
        await settled()
        device.let_go()
        one, poisoned, two = await asyncio.gather(*answers, return_exceptions=True)
        assert (one, two) == ([1], [2])
        assert isinstance(poisoned, ModelFailedError)
        await blocking
    assert device.batches == [[0], [1, POISON, 2], [1], [POISON], [2]]
    assert batcher.statistics.failed == 1


@in_event_loop
async def test_an_observer_that_fails_costs_no_answer_and_no_second_run() -> None:
    device = SlowDevice(held=True)
    told: list[int] = []

    def observe(batch: Sequence[QueuedImage], _begin: float, _end: float) -> None:
        assert all(queued.answer.done() for queued in batch), "the answers come first"
        told.append(len(batch))
        raise RuntimeError("no memory for another metric")

    async with batching(device, on_batch=observe) as batcher:
        blocking = asking(batcher, 0)
        await begun(device)
        answers = [asking(batcher, first) for first in (1, 2, 3)]
        await settled()
        device.let_go()
        assert await asyncio.gather(blocking, *answers) == [[0], [1], [2], [3]]
        assert told == [1, 3]
    assert device.batches == [[0], [1, 2, 3]]
    counts = batcher.statistics
    assert (counts.answered, counts.batches, counts.retried_batches, counts.failed) == (4, 2, 0, 0)


@in_event_loop
async def test_an_image_that_is_withdrawn_while_its_failed_batch_is_tried_again_is_left_out() -> None:
    device = SlowDevice(held=True)
    async with batching(device) as batcher:
        blocking = asking(batcher, 0)
        await begun(device)
        one, poisoned, leaving = (asking(batcher, first) for first in (1, POISON, 2))
        await settled()
        device.release(2)
        await begun(device)
        await begun(device)
        leaving.cancel()
        await settled()
        device.let_go()
        assert await asyncio.gather(blocking, one) == [[0], [1]]
        with pytest.raises(ModelFailedError):
            await poisoned
    assert device.batches == [[0], [1, POISON, 2], [1], [POISON]]


@in_event_loop
async def test_the_batcher_survives_an_engine_that_always_fails() -> None:
    device = SlowDevice()
    async with batching(device) as batcher:
        for _ in range(3):
            with pytest.raises(ModelFailedError):
                await ask(batcher, POISON)
        assert await ask(batcher, 5) == [5]


@pytest.mark.parametrize("broken", ["nan", "rows"])
def test_logits_that_are_not_logits_are_a_failure(broken: str) -> None:
    class Broken(SlowDevice):
        def run(self, images: NDArray[np.uint8]) -> NDArray[np.float32]:
            logits = super().run(images)
            if broken == "rows":
                return logits[:, :-1]
            logits[0, 3] = np.nan
            return logits

    async def test() -> None:
        async with batching(Broken()) as batcher:
            with pytest.raises(ModelFailedError):
                await ask(batcher, 1)

    asyncio.run(test())


@in_event_loop
async def test_work_that_fails_withdraws_the_rest_of_its_request() -> None:
    device = SlowDevice(held=True)
    async with batching(device) as batcher:

        async def classify(first: int) -> None:
            if first == 1:
                raise LookupError
            await batcher.infer(image(first))

        with pytest.raises(LookupError):
            await batcher.admission.run_all([0, 1, 2], classify)
        assert (batcher.waiting, batcher.admission.taken) == (0, 0)


class Small(SlowDevice):
    """A device that has memory for few images at once."""

    def __init__(self, room: int) -> None:
        super().__init__(held=True)
        self.room = room

    def run(self, images: NDArray[np.uint8]) -> NDArray[np.float32]:
        logits = super().run(images)
        if len(images) > self.room:
            raise MemoryError("no room for this batch")
        return logits


@in_event_loop
async def test_a_batch_that_finds_no_memory_is_answered_in_halves_and_the_next_ones_are_smaller() -> None:
    device = Small(room=2)
    async with batching(device, max_batch=8) as batcher:
        blocking = asking(batcher, 0)
        await begun(device)
        answers = [asking(batcher, first) for first in range(1, 17)]
        await settled()
        device.let_go()
        assert await asyncio.gather(*answers) == [[first] for first in range(1, 17)]
        await blocking
        assert batcher.batch_limit == 2
    sizes = [len(batch) for batch in device.batches]
    assert sizes[:2] == [1, 8]
    assert sizes.count(8) <= 2, "one may have been prepared ahead"
    assert sizes.count(4) <= 2
    assert sizes.count(2) == 8
    counts = batcher.statistics
    failed = sizes.count(8) + sizes.count(4)
    assert (counts.out_of_memory, counts.retried_batches, counts.failed, counts.answered) == (failed, failed, 0, 17)


@in_event_loop
async def test_an_image_for_which_there_is_no_memory_at_all_fails_alone() -> None:
    device = Small(room=0)
    async with batching(device, max_batch=4) as batcher:
        device.let_go()
        with pytest.raises(ModelFailedError):
            await ask(batcher, 1)
        device.room = 4
        assert await ask(batcher, 2) == [2]
    assert (batcher.statistics.out_of_memory, batcher.statistics.failed) == (1, 1)
