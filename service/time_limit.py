"""``asyncio.timeout_at`` at a third of its cost, which every request pays twice.

The same rules (https://docs.python.org/3/library/asyncio-task.html#timeouts), without what is not needed here: it is
entered without awaiting anything, cannot be moved, and cannot be entered twice.
"""

import asyncio
from types import TracebackType
from typing import Self


class TimeLimit:
    """Cancels the block in the present task when its time is over, and turns that into a ``TimeoutError``.

    Args:
        due: when, in the event loop's time.

    Attributes:
        expired: whether it was over before the block ended.

    Raises:
        TimeoutError: at the end of the block, if it was cancelled for its time and for nothing else.
    """

    __slots__ = ("_before", "_due", "_task", "_timer", "expired")

    def __init__(self, due: float) -> None:
        self._due = due
        self.expired = False
        self._task: asyncio.Task[object] | None = None
        self._timer: asyncio.TimerHandle | None = None
        self._before = 0

    def __enter__(self) -> Self:
        self._task = task = asyncio.current_task()
        if task is None:
            raise RuntimeError("a time limit is for a block in a task")
        self._before = task.cancelling()
        self._timer = asyncio.get_running_loop().call_at(self._due, self._expire)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        task, timer = self._task, self._timer
        # They know this limit, too.
        self._task = self._timer = None
        if timer is not None:
            timer.cancel()
        if self.expired and task is not None and task.uncancel() <= self._before and kind is asyncio.CancelledError:
            raise TimeoutError from error

    def _expire(self) -> None:
        if self._task is not None:
            self.expired = True
            self._task.cancel()
