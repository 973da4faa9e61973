"""A thread that an event loop hands work to: one queue there, one callback back.

``loop.run_in_executor`` does the same through two futures, a semaphore and their locks, at three times the cost.
"""

import asyncio
import threading
from collections.abc import Callable
from queue import SimpleQueue
from typing import Any, TypeAlias, TypeVar

Result = TypeVar("Result")

_Job: TypeAlias = tuple[Callable[[], Any], asyncio.Future[Any], asyncio.AbstractEventLoop]


class WorkThread:
    """Does one piece of work after the other.

    A daemon: what it is doing never keeps the process from ending.
    """

    def __init__(self, name: str) -> None:
        self._jobs: SimpleQueue[_Job | None] = SimpleQueue()
        threading.Thread(target=self._work, name=name, daemon=True).start()

    async def call(self, work: Callable[[], Result]) -> Result:
        """The result of ``work()``. If the caller is cancelled before it has begun it is left out.

        Raises:
            Exception: whatever ``work`` raises.
        """
        loop = asyncio.get_running_loop()
        answer: asyncio.Future[Result] = loop.create_future()
        self._jobs.put((work, answer, loop))
        return await answer

    def close(self) -> None:
        """End the thread once it has done what it was given."""
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
        result, error = work(), None
    except BaseException as raised:
        result, error = None, raised
    try:
        loop.call_soon_threadsafe(_deliver, answer, result, error)
    except RuntimeError:
        return  # The loop was closed: nobody waits any more.


def _deliver(answer: asyncio.Future[Any], result: Any, error: BaseException | None) -> None:
    if answer.done():
        return
    if error is None:
        answer.set_result(result)
    else:
        answer.set_exception(error)
