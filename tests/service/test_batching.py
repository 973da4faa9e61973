import asyncio
import contextlib
import threading
import time
from collections.abc import AsyncIterator, Callable, Coroutine, Sequence
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from service.batching import Batcher
from service.engine_thread import EngineThread
from service.refusals import DeadlineExceededError, DrainingError, ModelFailedError, QueueFullError
from service.waiting import Image, Logits, Priority, Ticket
from tests.service.slow_device import POISON, SlowDevice, image

Test = Callable[[], Coroutine[Any, Any, None]]


def in_event_loop(test: Test) -> Callable[[], None]:
    def run() -> None:
        asyncio.run(test())

    run.__name__ = test.__name__
    return run


@contextlib.asynccontextmanager
async def batching(
    device: SlowDevice,
    *,
    max_batch: int = 4,
    queue_limit: int = 64,
    bulk_limit: int | None = None,
    deadline_s: float = 60,
) -> AsyncIterator[Batcher]:
    network = EngineThread(max_batch)
    await network.open(lambda: device)
    batcher = Batcher(network, queue_limit=queue_limit, bulk_limit=bulk_limit, deadline_s=deadline_s)
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

    return await batcher.seats.spread(firsts, classify, priority=priority)


def asking(batcher: Batcher, *firsts: int, priority: Priority = Priority.ROUTINE) -> asyncio.Task[list[int]]:
    return asyncio.create_task(ask(batcher, *firsts, priority=priority))


@in_event_loop
async def test_an_idle_device_takes_one_image_at_once() -> None:
    device = SlowDevice()
    async with batching(device) as batcher:
        assert await ask(batcher, 7) == [7]
    assert device.batches == [[7]]


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
    async with batching(device, max_batch=8, queue_limit=64) as batcher:

        def note(_: object, begin: float, end: float) -> None:
            if ends:
                idle.append(begin - ends[-1])
            ends.append(end)

        batcher.on_batch = note

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

    async def run(self, images: Sequence[Image]) -> Logits:
        self.events.append(f"begins {len(images)}")
        await asyncio.sleep(0.06)
        return np.zeros((len(images), 20), np.float32)


@in_event_loop
async def test_the_device_has_its_next_batch_before_the_answers_of_the_last_one_keep_the_loop_busy() -> None:
    network = Recorded()
    batcher = Batcher(network, queue_limit=64, deadline_s=60)

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
        assert (batcher.waiting, batcher.seats.taken) == (1, 2)
        device.let_go()
        assert await asyncio.gather(first, staying) == [[0], [2]]
    assert device.batches == [[0], [2]]
    assert (batcher.counts.withdrawn, batcher.counts.expired) == (1, 0)


@in_event_loop
async def test_a_request_that_is_cancelled_inside_a_running_batch_does_not_hurt_it() -> None:
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
async def test_a_deadline_is_answered_when_it_passes_and_not_when_the_device_frees() -> None:
    device = SlowDevice(held=True)
    async with batching(device, deadline_s=0.5) as batcher:
        running = asking(batcher, 0)
        await begun(device)
        waiting = asking(batcher, 1)
        for request in (running, waiting):
            with pytest.raises(DeadlineExceededError, match=r"0\.5 s"):
                await request
        assert batcher.waiting == 0
        assert batcher.seats.taken == 0
        assert batcher.counts.expired == 2
        device.let_go()
        assert await ask(batcher, 2) == [2]
    assert device.batches == [[0], [2]], "the expired image never reached the device"


@in_event_loop
async def test_a_full_queue_refuses_single_and_bulk_alike() -> None:
    device = SlowDevice(held=True)
    async with batching(device, max_batch=2, queue_limit=3) as batcher:
        accepted = [asking(batcher, first) for first in range(3)]
        await begun(device)
        for firsts in ([3], [3, 4, 5, 6, 7]):
            with pytest.raises(QueueFullError, match="3 images are waiting") as caught:
                await ask(batcher, *firsts)
            assert caught.value.retry_after_s == 1
        assert batcher.counts.refused == 2
        device.let_go()
        assert await asyncio.gather(*accepted) == [[0], [1], [2]]


@in_event_loop
async def test_retry_after_follows_the_measured_rate() -> None:
    device = SlowDevice(held=True)
    async with batching(device, max_batch=1, queue_limit=8) as batcher:
        measured = asking(batcher, 0)
        await begun(device)
        await asyncio.sleep(0.5)  # the measured duration itself
        device.release()
        await measured
        accepted = [asking(batcher, first) for first in range(8)]
        await begun(device)
        with pytest.raises(QueueFullError) as caught:
            batcher.seats.check_room()
        assert caught.value.retry_after_s >= 2, "half of 8 images at less than 2 a second"
        device.let_go()
        await asyncio.gather(*accepted)


@in_event_loop
async def test_a_bulk_request_larger_than_the_queue_is_fed_in_slices() -> None:
    device = SlowDevice()
    async with batching(device, max_batch=4, queue_limit=5) as batcher:
        numbers = [first % 20 for first in range(100)]
        assert await ask(batcher, *numbers) == numbers
        assert batcher.seats.taken == 0
    assert max(len(batch) for batch in device.batches) <= 4


@in_event_loop
async def test_a_bulk_request_leaves_seats_for_others() -> None:
    device = SlowDevice(held=True)
    async with batching(device, max_batch=2, queue_limit=16) as batcher:
        bulk = asking(batcher, *range(100))
        await begun(device)
        await settled()
        assert batcher.seats.taken == 4, "two batches' worth"
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
        assert batcher.seats.taken == 8
        device.let_go()
        assert await others == list(range(7))
        assert await bulk == [first % 20 for first in range(60)]
    assert [len(batch) for batch in device.batches].count(4) >= 10, "its later batches are full"


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
    assert batcher.counts.failed == 1


@in_event_loop
async def test_an_observer_that_fails_costs_no_answer_and_no_second_run() -> None:
    device = SlowDevice(held=True)
    async with batching(device) as batcher:
        told: list[int] = []

        def observe(batch: Sequence[Ticket], _begin: float, _end: float) -> None:
            assert all(ticket.answer.done() for ticket in batch), "the answers come first"
            told.append(len(batch))
            raise RuntimeError("no memory for another metric")

        batcher.on_batch = observe
        blocking = asking(batcher, 0)
        await begun(device)
        answers = [asking(batcher, first) for first in (1, 2, 3)]
        await settled()
        device.let_go()
        assert await asyncio.gather(blocking, *answers) == [[0], [1], [2], [3]]
        assert told == [1, 3]
    assert device.batches == [[0], [1, 2, 3]]
    counts = batcher.counts
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
async def test_draining_refuses_new_work_and_finishes_what_was_accepted() -> None:
    device = SlowDevice(held=True)
    async with batching(device, max_batch=2) as batcher:
        accepted = asking(batcher, *range(10))
        await begun(device)
        draining = asyncio.create_task(batcher.drain())
        await settled()
        with pytest.raises(DrainingError):
            await ask(batcher, 1)
        assert not draining.done()
        device.let_go()
        await draining
        assert await accepted == list(range(10))


@in_event_loop
async def test_work_that_fails_withdraws_the_rest_of_its_request() -> None:
    device = SlowDevice(held=True)
    async with batching(device) as batcher:

        async def classify(first: int) -> None:
            if first == 1:
                raise LookupError
            await batcher.infer(image(first))

        with pytest.raises(LookupError):
            await batcher.seats.spread([0, 1, 2], classify)
        assert (batcher.waiting, batcher.seats.taken) == (0, 0)


@in_event_loop
async def test_a_timeout_of_the_work_itself_is_not_taken_for_the_deadline() -> None:
    async with batching(SlowDevice()) as batcher:

        async def classify(_: int) -> None:
            raise TimeoutError

        with pytest.raises(TimeoutError):
            await batcher.seats.spread([0], classify)
        assert batcher.counts.expired == 0


# Priorities


class Metered(SlowDevice):
    """A device that takes the same time for every batch."""

    BATCH_S = 0.02

    def run(self, images: NDArray[np.uint8]) -> NDArray[np.float32]:
        logits = super().run(images)
        time.sleep(self.BATCH_S)
        return logits


@in_event_loop
async def test_an_endless_archive_job_costs_the_bench_at_most_two_batches() -> None:
    device = Metered()
    async with batching(device, max_batch=4, queue_limit=32, bulk_limit=16) as batcher:
        archive = [asking(batcher, *[1] * 10_000, priority=Priority.BULK) for _ in range(8)]
        await begun(device)
        for _ in range(25):
            batches = len(device.batches)
            assert await ask(batcher, 7) == [7]
            own = next(place for place, batch in enumerate(device.batches) if place >= batches - 1 and 7 in batch)
            assert own <= batches + 1, "at most one, just prepared, between the one that was running and its own"
        for job in archive:
            job.cancel()
        await asyncio.wait(archive)
    full = [batch for batch in device.batches if len(batch) == 4]
    assert len(full) > 0.9 * len(device.batches), "the archive fills what the bench leaves"


@in_event_loop
async def test_an_archive_job_goes_on_under_endless_routine_load() -> None:
    device = Metered()
    device.BATCH_S = 0.002
    async with batching(device, max_batch=4, queue_limit=64, bulk_limit=16) as batcher:

        async def bench() -> None:
            while True:
                await ask(batcher, 7)

        benches = [asyncio.create_task(bench()) for _ in range(20)]
        await begun(device)
        assert await ask(batcher, *[1] * 12, priority=Priority.BULK) == [1] * 12
        assert batcher.waiting_of(Priority.ROUTINE) >= 4, "the load was endless"
        for task in benches:
            task.cancel()
        await asyncio.wait(benches)
    carrying = [place for place, batch in enumerate(device.batches) if 1 in batch]
    assert carrying[-1] - carrying[0] <= 4 * 12, "one image at least in each fourth batch"
    assert all(batch.count(1) == 1 for batch in device.batches if 1 in batch), "and no more than its part"


@in_event_loop
async def test_bulk_is_refused_when_its_share_is_taken_and_routine_is_not() -> None:
    device = SlowDevice(held=True)
    async with batching(device, max_batch=2, queue_limit=8, bulk_limit=4) as batcher:
        archive = [asking(batcher, *[1] * 50, priority=Priority.BULK) for _ in range(3)]
        await begun(device)
        await settled()
        assert (batcher.seats.taken, batcher.seats.taken_by(Priority.BULK)) == (4, 4)
        with pytest.raises(QueueFullError, match="4 bulk images are waiting"):
            batcher.seats.check_room(Priority.BULK)
        bench = [asking(batcher, 7) for _ in range(4)]
        await settled()
        assert (batcher.waiting_of(Priority.ROUTINE), batcher.seats.taken) == (4, 8)
        with pytest.raises(QueueFullError, match="8 images are waiting"):
            batcher.seats.check_room(Priority.ROUTINE)
        device.let_go()
        assert await asyncio.gather(*bench) == [[7]] * 4
        first, *others = await asyncio.gather(*archive, return_exceptions=True)
        assert first == [1] * 50
        assert [type(answer) for answer in others] == [QueueFullError] * 2
    assert batcher.counts.refused == 4


# Time


@in_event_loop
async def test_the_time_that_a_request_has_bounds_all_of_its_images() -> None:
    device = SlowDevice(held=True)
    async with batching(device, max_batch=1) as batcher:
        running = asking(batcher, 0)
        await begun(device)

        async def classify(first: int) -> None:
            await batcher.infer(image(first))

        due = asyncio.get_running_loop().time() + 0.05
        with pytest.raises(DeadlineExceededError, match="X-Request-Timeout-Ms"):
            await batcher.seats.spread([1, 2, 3], classify, due=due)
        assert (batcher.waiting, batcher.seats.taken) == (0, 1)
        assert batcher.counts.expired >= 1
        assert batcher.counts.withdrawn == 2, "as many as had seats"
        device.let_go()
        assert await running == [0]
    assert device.batches == [[0]], "nothing that expired reached the device"


@in_event_loop
async def test_a_request_cannot_have_more_time_than_the_service_gives_an_image() -> None:
    device = SlowDevice(held=True)
    async with batching(device, deadline_s=0.05) as batcher:

        async def classify(first: int) -> None:
            await batcher.infer(image(first))

        with pytest.raises(DeadlineExceededError, match="HAL_DEADLINE_MS"):
            await batcher.seats.spread([1], classify, due=asyncio.get_running_loop().time() + 3600)


@in_event_loop
async def test_retry_after_is_when_half_of_the_queue_has_been_worked_off() -> None:
    device = Metered()
    device.BATCH_S = 0.05
    async with batching(device, max_batch=4, queue_limit=256) as batcher:
        worked: list[float] = []
        batcher.on_batch = lambda _, begin, end: worked.append(end - begin)
        await ask(batcher, *[1] * 40)  # from which the rate is known
        accepted = [asking(batcher, *[1] * 8) for _ in range(32)]
        await settled()
        assert batcher.seats.taken == 256
        with pytest.raises(QueueFullError) as caught:
            batcher.seats.check_room()
        worked.clear()
        while batcher.seats.taken > 128:
            await asyncio.sleep(0.005)
        # By the device's own time: what else the machine does meanwhile is nothing that can be told before.
        measured = sum(worked)
        assert caught.value.retry_after_s - 1.1 <= measured <= caught.value.retry_after_s + 1
        for request in accepted:
            request.cancel()
        await asyncio.wait(accepted)


# Memory


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
    counts = batcher.counts
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
    assert (batcher.counts.out_of_memory, batcher.counts.failed) == (1, 1)


# Mistakes of ours


@in_event_loop
async def test_a_batcher_that_breaks_answers_everybody_and_says_so() -> None:
    device = SlowDevice(held=True)
    async with batching(device) as batcher:
        first = asking(batcher, 0)
        await begun(device)
        waiting = asking(batcher, 1)
        await settled()
        batcher._lines.next_batch = None  # type: ignore[assignment, method-assign]
        assert not batcher.broken
        device.let_go()
        assert await first == [0]
        for answer in (waiting, asking(batcher, 2)):
            with pytest.raises(ModelFailedError):
                await answer
        assert batcher.broken


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

        return await batcher.seats.spread(firsts, classify, priority=priority)

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
            assert (batcher.waiting, batcher.seats.taken) == (0, 0)
        assert all(1 <= len(batch) <= max_batch for batch in device.batches)

    asyncio.run(test())
