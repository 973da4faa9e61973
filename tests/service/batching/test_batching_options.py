"""What a request may ask for and gets: its priority, its time, its turn."""

import asyncio
from math import ceil

import pytest

from service.batching.errors import DeadlineExceededError, QueueFullError
from service.batching.queue import Priority
from tests.service.batchers import Metered, ask, asking, batching, begun, in_event_loop, settled
from tests.service.slow_device import SlowDevice, image


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
        assert batcher.admission.taken == 0
        assert batcher.statistics.expired == 2
        device.let_go()
        assert await ask(batcher, 2) == [2]
    assert device.batches == [[0], [2]], "the expired image never reached the device"


@in_event_loop
async def test_a_timeout_of_the_work_itself_is_not_taken_for_the_deadline() -> None:
    async with batching(SlowDevice()) as batcher:

        async def classify(_: int) -> None:
            raise TimeoutError

        with pytest.raises(TimeoutError):
            await batcher.admission.run_all([0], classify)
        assert batcher.statistics.expired == 0


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
async def test_the_time_that_a_request_has_bounds_all_of_its_images() -> None:
    device = SlowDevice(held=True)
    async with batching(device, max_batch=1) as batcher:
        running = asking(batcher, 0)
        await begun(device)

        async def classify(first: int) -> None:
            await batcher.infer(image(first))

        due = asyncio.get_running_loop().time() + 0.05
        with pytest.raises(DeadlineExceededError, match="X-Request-Timeout-Ms"):
            await batcher.admission.run_all([1, 2, 3], classify, due=due)
        assert (batcher.waiting, batcher.admission.taken) == (0, 1)
        assert batcher.statistics.expired >= 1
        assert batcher.statistics.withdrawn == 2, "as many as had seats"
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
            await batcher.admission.run_all([1], classify, due=asyncio.get_running_loop().time() + 3600)


@in_event_loop
async def test_retry_after_is_when_half_of_the_queue_has_been_worked_off() -> None:
    device = Metered()
    device.BATCH_S = 0.05
    worked: list[float] = []

    def note(_: object, begin: float, end: float) -> None:
        worked.append(end - begin)

    async with batching(device, max_batch=4, queue_limit=256, on_batch=note) as batcher:
        await ask(batcher, *[1] * 40)  # from which the rate is known
        accepted = [asking(batcher, *[1] * 8) for _ in range(32)]
        await settled()
        assert batcher.admission.taken == 256
        with pytest.raises(QueueFullError) as caught:
            batcher.admission.check()
        # Half are 32 batches. Each takes as long as those before it, of which a busy machine makes some longer.
        assert ceil(32 * min(worked)) <= caught.value.retry_after_s <= ceil(32 * max(worked))
        for request in accepted:
            request.cancel()
        await asyncio.wait(accepted)
