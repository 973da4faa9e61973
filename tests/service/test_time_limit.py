"""A time limit keeps the rules of ``asyncio.timeout_at``, which is the oracle here."""

import asyncio
import contextlib
import gc
import weakref
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AbstractAsyncContextManager
from typing import Any

import pytest

from service.time_limit import TimeLimit

Limit = Callable[[float], AbstractAsyncContextManager[Any]]


@contextlib.asynccontextmanager
async def ours(due: float) -> AsyncIterator[TimeLimit]:
    with TimeLimit(due) as limit:
        yield limit


def theirs(due: float) -> AbstractAsyncContextManager[Any]:
    return asyncio.timeout_at(due)


def now() -> float:
    return asyncio.get_running_loop().time()


async def ends_in_time(limit: Limit) -> None:
    async with limit(now() + 60):
        await asyncio.sleep(0)


async def ends_too_late(limit: Limit) -> None:
    async with limit(now() + 0.01):
        await asyncio.Event().wait()


async def was_due_before_it_began(limit: Limit) -> None:
    async with limit(now() - 1):
        await asyncio.Event().wait()


async def never_waits(limit: Limit) -> None:
    async with limit(now() - 1):
        pass


async def fails_itself(limit: Limit) -> None:
    async with limit(now() + 60):
        raise KeyError


async def fails_when_it_is_cancelled(limit: Limit) -> None:
    async with limit(now() + 0.01):
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            raise KeyError from None


async def goes_on_when_it_is_cancelled(limit: Limit) -> None:
    async with limit(now() + 0.01):
        with contextlib.suppress(asyncio.CancelledError):
            await asyncio.Event().wait()


async def is_cancelled_by_another(limit: Limit) -> None:
    task = asyncio.current_task()
    assert task is not None
    asyncio.get_running_loop().call_soon(task.cancel)
    async with limit(now() + 60):
        await asyncio.Event().wait()


async def is_cancelled_by_both(limit: Limit) -> None:
    task = asyncio.current_task()
    assert task is not None
    async with limit(now() + 0.01):
        try:
            await asyncio.Event().wait()
        finally:
            task.cancel()


async def has_a_shorter_one_inside(limit: Limit) -> None:
    async with limit(now() + 60), limit(now() + 0.01):
        await asyncio.Event().wait()


async def has_a_longer_one_inside(limit: Limit) -> None:
    async with limit(now() + 0.01), limit(now() + 60):
        await asyncio.Event().wait()


async def catches_the_one_inside(limit: Limit) -> None:
    async with limit(now() + 60):
        with contextlib.suppress(TimeoutError):
            async with limit(now() + 0.01):
                await asyncio.Event().wait()
        await asyncio.sleep(0)


CASES = [
    ends_in_time,
    ends_too_late,
    was_due_before_it_began,
    never_waits,
    fails_itself,
    fails_when_it_is_cancelled,
    goes_on_when_it_is_cancelled,
    is_cancelled_by_another,
    is_cancelled_by_both,
    has_a_shorter_one_inside,
    has_a_longer_one_inside,
    catches_the_one_inside,
]


async def outcome_of(block: Callable[[Limit], Awaitable[None]], limit: Limit) -> tuple[type | None, int, bool]:
    """How a block ends, how often its task is still asked to end, and whether it can wait afterwards."""

    async def run() -> tuple[type | None, int, bool]:
        task = asyncio.current_task()
        assert task is not None
        kind = None
        try:
            await block(limit)
        except BaseException as error:
            kind = type(error)
        asked = task.cancelling()
        try:
            await asyncio.sleep(0)
        except asyncio.CancelledError:
            return kind, asked, False
        return kind, asked, True

    return await asyncio.create_task(run())


@pytest.mark.parametrize("block", CASES, ids=lambda block: block.__name__)
def test_a_block_ends_as_under_asyncios_own_limit(block: Callable[[Limit], Awaitable[None]]) -> None:
    async def both() -> None:
        assert await outcome_of(block, ours) == await outcome_of(block, theirs)

    asyncio.run(both())


def test_it_tells_whether_the_time_was_over() -> None:
    async def run() -> None:
        with TimeLimit(now() + 60) as kept:
            await asyncio.sleep(0)
        assert not kept.expired
        with pytest.raises(TimeoutError), TimeLimit(now() + 0.01) as missed:
            await asyncio.Event().wait()
        assert missed.expired

    asyncio.run(run())


def test_it_leaves_nothing_for_the_garbage_collector() -> None:
    class Watched(TimeLimit):
        __slots__ = ("__weakref__",)

    async def run() -> None:
        limit = Watched(now() + 60)
        gone = weakref.ref(limit)
        with limit:
            await asyncio.sleep(0)
        del limit
        assert gone() is None

    gc.disable()
    try:
        asyncio.run(run())
    finally:
        gc.enable()


def test_it_is_for_blocks_in_a_task() -> None:
    async def run() -> None:
        refused = asyncio.get_running_loop().create_future()

        def outside_of_a_task() -> None:
            with pytest.raises(RuntimeError, match="in a task"), TimeLimit(0):
                pass
            refused.set_result(None)

        asyncio.get_running_loop().call_soon(outside_of_a_task)
        async with asyncio.timeout(10):
            await refused

    asyncio.run(run())
