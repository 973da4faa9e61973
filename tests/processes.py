"""Processes of the system that a test has started, by a mark in their environment, which their children inherit."""

import contextlib
import time
from collections.abc import Callable
from pathlib import Path


def marked(mark: str) -> list[int]:
    """The processes with this text in their environment, this one left out; needs ``/proc``."""
    found = []
    for path in Path("/proc").glob("[0-9]*/environ"):
        with contextlib.suppress(OSError):
            if mark.encode() in path.read_bytes():
                found.append(int(path.parts[2]))
    return found


def comes_true(condition: Callable[[], bool], seconds: float = 120) -> bool:
    """Whether it holds before so many seconds are over."""
    give_up = time.monotonic() + seconds
    while not (holds := condition()) and time.monotonic() < give_up:
        time.sleep(0.05)
    return holds
