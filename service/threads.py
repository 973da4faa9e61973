"""Threads that are started before they are needed: where the system gives no more, that is found out at the start."""

import asyncio
import threading
import time
from collections.abc import Callable
from queue import SimpleQueue
from typing import Any, Final, TypeAlias, TypeVar

Result = TypeVar("Result")

_GONE_S: Final = 0.01
"""Until the system has seen the end of a thread that Python has seen."""

_Job: TypeAlias = tuple[Callable[[], Any], asyncio.Future[Any], asyncio.AbstractEventLoop]


class NoThreadError(Exception):
    """The system gives this process no more threads."""

    def __init__(self) -> None:
        super().__init__(
            "the system gives this process no more threads; raise its limit (docker run --pids-limit, podPidsLimit of "
            "the kubelet, TasksMax of systemd, ulimit -u) or lower HAL_DECODE_THREADS and HAL_ENGINE_THREADS"
        )


def start_thread(work: Callable[..., object], name: str, *arguments: Any) -> threading.Thread:
    """A thread that does ``work`` and never keeps the process from ending.

    Raises:
        NoThreadError: the system gives no more.
    """
    thread = threading.Thread(target=work, args=arguments, name=name, daemon=True)
    try:
        thread.start()
    except RuntimeError as error:
        raise NoThreadError from error
    return thread


def require_threads(count: int) -> None:
    """Find out whether a library can start ``count`` threads of its own, by starting and ending as many.

    ONNX Runtime waits for ever for those that it could start if it cannot start them all.

    Raises:
        NoThreadError: it cannot.
    """
    end = threading.Event()
    started: list[threading.Thread] = []
    try:
        for _ in range(count):
            started.append(start_thread(end.wait, "hal-probe"))  # noqa: PERF401 - those before a failure have to be ended
    finally:
        end.set()
        for thread in started:
            thread.join()
    time.sleep(_GONE_S)


class WorkThreads:
    """Threads that do one piece of work after the other: one queue there, one callback back.

    ``loop.run_in_executor`` does the same through two futures, a semaphore and their locks, at three times the cost,
    and starts a thread when it is needed first, where it may find none.

    Args:
        name: of each thread.
        count: how many; they run after :meth:`start`.
    """

    def __init__(self, name: str, count: int = 1) -> None:
        self._jobs: SimpleQueue[_Job | None] = SimpleQueue()
        self._name = name
        self._count = count
        self._running = 0

    @property
    def started(self) -> bool:
        """Whether all of them run."""
        return self._running == self._count

    def start(self) -> None:
        """Start those that do not run.

        Raises:
            NoThreadError: the system gives no more; to be called again.
        """
        while self._running < self._count:
            start_thread(self._work, self._name)
            self._running += 1

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
        """End the threads once they have done what they were given."""
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
