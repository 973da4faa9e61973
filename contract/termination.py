"""How a command ends that starts processes: SIGTERM is Ctrl-C, and nothing that it has started outlives it."""

import contextlib
import ctypes
import os
import signal
import sys
import threading
import time
from collections.abc import Collection, Iterator
from pathlib import Path
from types import FrameType
from typing import Final, Self

_SET_CHILD_SUBREAPER, _GET_CHILD_SUBREAPER = 36, 37
"""Of prctl(2)."""
_PATIENCE_S: Final = 10.0
_EVERY_S: Final = 0.01


@contextlib.contextmanager
def stopped_by_sigterm() -> Iterator[None]:
    """A batch system's way of stopping raises :class:`KeyboardInterrupt` in the block.

    It does so once, so that a second signal does not disturb the tidying up.
    """
    with _Stop(signal.SIGTERM):
        yield


@contextlib.contextmanager
def nothing_left_running() -> Iterator[None]:
    """What the block starts has ended when the block ends, whether by itself, an error, SIGTERM or Ctrl-C.

    SIGTERM and Ctrl-C raise :class:`KeyboardInterrupt` in the block, once. Then every process is killed that was
    started in it, and that those have started, whatever sessions and process groups they have made and though their
    parents have ended: until the end of the block their orphans become children of this process. What is to end
    orderly must be told so in the block. Elsewhere than on Linux only the signals are taken care of.
    """
    spared = [*_children().get(os.getpid(), ())]
    with _Stop(signal.SIGTERM, signal.SIGINT) as stop, _adopting_orphans():
        try:
            try:
                yield
            finally:
                stop.ignore()
        finally:
            # Undisturbed: a signal up to here was the one that is heeded.
            _end(spared)


def descendants(process: int, spared: Collection[int] = ()) -> list[int]:
    """The children of a process that run, and theirs; none where there is no ``/proc``.

    Args:
        process: its id.
        spared: left out together with what they have started.
    """
    children = _children()
    family = [process]
    for member in family:
        family += [child for child in children.get(member, ()) if child not in spared]
    return family[1:]


class _Stop:
    """The first of these signals raises :class:`KeyboardInterrupt`, all later ones do nothing.

    One that is ignored already stays so: a shell lets what it starts in the background ignore Ctrl-C.
    """

    def __init__(self, *numbers: signal.Signals) -> None:
        main = threading.current_thread() is threading.main_thread()
        heeded = [number for number in numbers if main and signal.getsignal(number) is not signal.SIG_IGN]
        self._before = {number: signal.getsignal(number) for number in heeded}

    def __enter__(self) -> Self:
        for number in self._before:
            signal.signal(number, self._stop)
        return self

    def __exit__(self, *_: object) -> None:
        for number, handler in self._before.items():
            signal.signal(number, signal.SIG_DFL if handler is None else handler)

    def ignore(self) -> None:
        """Take no heed any more."""
        for number in self._before:
            signal.signal(number, signal.SIG_IGN)

    def _stop(self, _: int, __: FrameType | None) -> None:
        self.ignore()
        raise KeyboardInterrupt


@contextlib.contextmanager
def _adopting_orphans() -> Iterator[None]:
    """In the block this process is the parent of descendants whose own parent has ended, as init is of others'."""
    if sys.platform != "linux":
        yield
        return
    prctl = ctypes.CDLL(None).prctl
    before = ctypes.c_int()
    prctl(_GET_CHILD_SUBREAPER, ctypes.byref(before))
    prctl(_SET_CHILD_SUBREAPER, ctypes.c_ulong(1))
    try:
        yield
    finally:
        prctl(_SET_CHILD_SUBREAPER, ctypes.c_ulong(before.value))


def _end(spared: Collection[int]) -> None:
    """Kill until nothing is left: what was started in between is found the next time."""
    give_up = time.monotonic() + _PATIENCE_S
    while (left := descendants(os.getpid(), spared)) and time.monotonic() < give_up:
        for process in left:
            with contextlib.suppress(ProcessLookupError, PermissionError):
                os.kill(process, signal.SIGKILL)
        time.sleep(_EVERY_S)
        for process in left:
            with contextlib.suppress(ChildProcessError):
                os.waitpid(process, os.WNOHANG)


def _children() -> dict[int, list[int]]:
    """Every process that runs, by its parent."""
    children: dict[int, list[int]] = {}
    for entry in Path("/proc").glob("[0-9]*/stat"):
        with contextlib.suppress(OSError):
            state, parent, *_ = entry.read_text().rpartition(")")[2].split()
            if state != "Z":
                children.setdefault(int(parent), []).append(int(entry.parent.name))
    return children
