"""How batches are formed, what waits for them, and who leaves."""

import asyncio
import threading
from collections.abc import Sequence

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from service.batching.batcher import Batcher
from service.batching.errors import ModelFailedError, QueueFullError
from service.batching.queue import Image, Priority, Rows
from service.batching.rate import Statistics
from tests.service.batchers import Metered, ask, asking, batching, begun, in_event_loop, settled
from tests.service.slow_device import POISON, SlowDevice, image


@in_event_loop
async def test_an_idle_service_adds_no_delay() -> None:
    device = SlowDevice()
    async with batching(device) as batcher:
        loop = asyncio.get_running_loop()
        delays = []
        for first in range(50):
            start = loop.time()
            await ask(batcher, first)
            delays.append(loop.time() - start)
        assert min(delays) < 0.005, "a batching timer, of 5 ms or more in other servers, would show in every one"
    assert device.batches == [[first] for first in range(50)]


@in_event_loop
async def test_the_queue_fills_while_the_device_is_busy_and_leaves_in_full_batches() -> None:
    device = SlowDevice(held=True)
    async with batching(device, max_batch=4) as batcher:
        answers = [asking(batcher, 0)]
        await begun(device)
        answers += [asking(batcher, first) for first in range(1, 7)]
        await settled()
        assert batcher.waiting == 6
        device.let_go()
        assert await asyncio.gather(*answers) == [[first] for first in range(7)]
    assert device.batches == [[0], [1, 2, 3, 4], [5, 6]]


@in_event_loop
async def test_a_fast_device_does_not_wait_for_its_next_full_batch() -> None:
    device = Metered()
    device.BATCH_S = 0.01
    idle: list[float] = []
    ends: list[float] = []

    def note(_: object, begin: float, end: float) -> None:
        if ends:
            idle.append(begin - ends[-1])
        ends.append(end)

    async with batching(device, max_batch=8, queue_limit=64, on_batch=note) as batcher:

        async def client(first: int) -> None:
            for _ in range(20):
                assert await ask(batcher, first) == [first]

        await asyncio.gather(*(client(first % 20) for first in range(32)))
    assert idle.count(0) >= 5, "a batch was there when the one before it ended"
    full = [batch for batch in device.batches if len(batch) == 8]
    assert len(full) > 0.9 * len(device.batches), "and none is formed before it is full"


class Recorded:
    """A network in the event loop that writes down when it begins."""

    max_batch = 4

    def __init__(self) -> None:
        self.events: list[str] = []

    async def run(self, images: Sequence[Image]) -> Rows:
        self.events.append(f"begins {len(images)}")
        await asyncio.sleep(0.06)
        return np.zeros((len(images), 20), np.float32)

    def results(self, rows: Rows) -> Sequence[Rows]:
        return [*rows]


@in_event_loop
async def test_the_device_has_its_next_batch_before_the_answers_of_the_last_one_keep_the_loop_busy() -> None:
    network = Recorded()
    batcher = Batcher(
        network, queue_limit=64, bulk_limit=64, deadline_s=60, statistics=Statistics(), on_batch=lambda *_: None
    )

    async def client() -> None:
        await batcher.infer(image(0))
        network.events.append("answer")

    await asyncio.gather(*(client() for _ in range(12)))
    await batcher.drain()
    fours = ["begins 4", "begins 4", *["answer"] * 4, "begins 4", *["answer"] * 8]
    assert network.events == fours


@in_event_loop
async def test_a_slow_device_takes_what_is_waiting_when_it_is_free_and_not_before() -> None:
    device = SlowDevice(held=True)
    async with batching(device, max_batch=2, queue_limit=64, bulk_limit=32) as batcher:
        archive = asking(batcher, *[1] * 12, priority=Priority.BULK)
        await begun(device)
        await asyncio.sleep(0.1)  # from which the device is known to be slow
        device.release()
        await begun(device)
        await asyncio.sleep(0.1)  # the second batch is about to end, for all that is known
        routine = asking(batcher, 7)
        await settled()
        device.let_go()
        assert await routine == [7]
        await archive
    assert 7 in device.batches[2], "the third batch was not formed before the second one ended"


@in_event_loop
async def test_the_engine_runs_in_one_thread_that_is_not_the_event_loops() -> None:
    device = SlowDevice()
    async with batching(device) as batcher:
        await asyncio.gather(*(ask(batcher, first) for first in range(20)))
    assert len(device.threads) == 1
    assert threading.get_ident() not in device.threads


@in_event_loop
async def test_a_cancelled_request_leaves_the_queue_and_its_batch_mates_are_answered() -> None:
    device = SlowDevice(held=True)
    async with batching(device) as batcher:
        first = asking(batcher, 0)
        await begun(device)
        leaving, staying = asking(batcher, 1), asking(batcher, 2)
        await settled()
        leaving.cancel()
        await settled()
        assert (batcher.waiting, batcher.admission.taken) == (1, 2)
        device.let_go()
        assert await asyncio.gather(first, staying) == [[0], [2]]
    assert device.batches == [[0], [2]]
    assert (batcher.statistics.withdrawn, batcher.statistics.expired) == (1, 0)


@in_event_loop
async def test_a_request_that_is_cancelled_inside_a_running_batch_does_not_hurt_it() -> None:
    """Elsewhere it ended the batching task, and every later request waited for ever (Ray #41057, #21425)."""
    device = SlowDevice(held=True)
    async with batching(device) as batcher:
        blocking = asking(batcher, 0)
        await begun(device)
        leaving, staying = asking(batcher, 1), asking(batcher, 2)
        await settled()
        device.release()
        await begun(device)
        leaving.cancel()
        await settled()
        device.let_go()
        assert await asyncio.gather(blocking, staying) == [[0], [2]]
        assert await ask(batcher, 3) == [3]
    assert device.batches[1] == [1, 2]


@in_event_loop
async def test_a_bulk_request_larger_than_the_queue_is_fed_in_slices() -> None:
    device = SlowDevice()
    async with batching(device, max_batch=4, queue_limit=5) as batcher:
        numbers = [first % 20 for first in range(100)]
        assert await ask(batcher, *numbers) == numbers
        assert batcher.admission.taken == 0
    assert max(len(batch) for batch in device.batches) <= 4


@in_event_loop
async def test_a_bulk_request_leaves_seats_for_others() -> None:
    device = SlowDevice(held=True)
    async with batching(device, max_batch=2, queue_limit=16) as batcher:
        bulk = asking(batcher, *range(100))
        await begun(device)
        await settled()
        assert batcher.admission.taken == 4, "two batches' worth"
        single = asking(batcher, 9)
        device.let_go()
        assert await single == [9]
        assert not bulk.done()
        assert await bulk == [first % 20 for first in range(100)]


@in_event_loop
async def test_a_bulk_request_that_found_one_free_seat_takes_more_as_they_come_free() -> None:
    device = SlowDevice(held=True)
    async with batching(device, max_batch=4, queue_limit=8) as batcher:
        others = asking(batcher, *range(7))
        await settled()
        bulk = asking(batcher, *range(60))
        await settled()
        assert batcher.admission.taken == 8
        device.let_go()
        assert await others == list(range(7))
        assert await bulk == [first % 20 for first in range(60)]
    assert [len(batch) for batch in device.batches].count(4) >= 10, "its later batches are full"


REQUESTS = st.lists(
    st.tuples(
        st.lists(st.integers(0, 19) | st.just(POISON), min_size=1, max_size=12),
        st.booleans(),
        st.sampled_from(Priority),
    ),
    max_size=12,
)


@settings(deadline=None, max_examples=60)
@given(requests=REQUESTS, max_batch=st.integers(1, 5), spare=st.integers(0, 20))
def test_nothing_is_lost_swapped_or_left_over(
    requests: list[tuple[list[int], bool, Priority]], max_batch: int, spare: int
) -> None:
    async def one(batcher: Batcher, firsts: list[int], priority: Priority) -> list[int | None]:
        async def classify(first: int) -> int | None:
            try:
                return int((await batcher.infer(image(first), priority=priority)).argmax())
            except ModelFailedError:
                return None

        return await batcher.admission.run_all(firsts, classify, priority=priority)

    async def test() -> None:
        device = SlowDevice()
        limits = {"queue_limit": max_batch + spare, "bulk_limit": 1 + spare // 2}
        async with batching(device, max_batch=max_batch, **limits) as batcher:
            tasks = [asyncio.create_task(one(batcher, firsts, priority)) for firsts, _, priority in requests]
            await asyncio.sleep(0)
            for task, (_, leaves, _) in zip(tasks, requests, strict=True):
                if leaves:
                    task.cancel()
                    await asyncio.sleep(0)
            answers = await asyncio.gather(*tasks, return_exceptions=True)
            for (firsts, leaves, _), answer in zip(requests, answers, strict=True):
                if isinstance(answer, QueueFullError):
                    continue
                if isinstance(answer, asyncio.CancelledError):
                    assert leaves
                    continue
                assert answer == [None if first == POISON else first for first in firsts]
            assert (batcher.waiting, batcher.admission.taken) == (0, 0)
        assert all(1 <= len(batch) <= max_batch for batch in device.batches)

    asyncio.run(test())
