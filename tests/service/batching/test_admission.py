import asyncio

import pytest

from service.batching.admission import Admission
from service.batching.errors import DrainingError, QueueFullError
from service.batching.queue import Priority
from service.batching.rate import Rate, Statistics
from tests.service.batchers import settled

ROUTINE, BULK = Priority.ROUTINE, Priority.BULK


class Work:
    """Work that ends when the test says so; keeps what is under way."""

    def __init__(self) -> None:
        self.under_way: dict[int, asyncio.Future[None]] = {}

    async def __call__(self, item: int) -> int:
        self.under_way[item] = asyncio.get_running_loop().create_future()
        try:
            await self.under_way[item]
        finally:
            del self.under_way[item]
        return 10 * item

    def end(self, *items: int) -> None:
        for item in items:
            self.under_way[item].set_result(None)


def admission_of(limit: int, bulk_limit: int, rate: Rate | None = None) -> Admission:
    return Admission(
        limit, bulk_limit, deadline_s=60, max_batch=lambda: 4, rate=rate or Rate(), statistics=Statistics()
    )


def test_bulk_cannot_take_the_permits_of_routine_but_routine_can_take_all() -> None:
    async def test() -> None:
        admission, archive, bench = admission_of(4, 2), Work(), Work()
        job = asyncio.create_task(admission.run_all([0, 1, 2, 3], archive, priority=BULK))
        await settled()
        assert (sorted(archive.under_way), admission.free(BULK), admission.free(ROUTINE)) == ([0, 1], False, True)
        with pytest.raises(QueueFullError, match="2 bulk images are waiting"):
            admission.check(BULK)
        request = asyncio.create_task(admission.run_all([0, 1], bench))
        await settled()
        assert (admission.taken, admission.free(ROUTINE)) == (4, False)
        with pytest.raises(QueueFullError, match="4 images are waiting"):
            admission.check(ROUTINE)
        archive.end(0)
        await settled()
        assert (sorted(archive.under_way), admission.taken_by(BULK)) == ([1, 2], 2), "it goes on with its own permits"
        bench.end(0, 1)
        assert await request == [0, 10]
        job.cancel()
        await asyncio.wait([job])
        assert (admission.taken, archive.under_way) == (0, {})

    asyncio.run(test())


def test_draining_turns_away_and_returns_when_the_last_permit_is_free() -> None:
    async def test() -> None:
        admission, work = admission_of(4, 4), Work()
        request = asyncio.create_task(admission.run_all([1], work))
        await settled()
        draining = asyncio.create_task(admission.drain())
        await settled()
        assert not draining.done()
        with pytest.raises(DrainingError):
            admission.check()
        work.end(1)
        await draining
        assert await request == [10]

    asyncio.run(test())


def test_bulk_is_asked_to_wait_for_all_of_routine_and_half_of_its_own() -> None:
    async def test() -> None:
        rate = Rate()
        rate.add(2, 1.0)  # two images a second
        admission, work = admission_of(12, 4, rate), Work()
        requests = [asyncio.create_task(admission.run_all(range(8), work))]
        await settled()
        requests.append(asyncio.create_task(admission.run_all(range(10, 14), work, priority=BULK)))
        await settled()
        with pytest.raises(QueueFullError) as routine:
            admission.check(ROUTINE)
        with pytest.raises(QueueFullError) as bulk:
            admission.check(BULK)
        assert (routine.value.retry_after_s, bulk.value.retry_after_s) == (12 / 2 / 2, (8 + 4 / 2) / 2)
        for request in requests:
            request.cancel()
        await asyncio.wait(requests)

    asyncio.run(test())
