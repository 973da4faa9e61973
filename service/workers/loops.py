"""How a process of the service that is not the parent runs."""

import asyncio
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

PARENTS_SIGNALS: Final = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


@contextmanager
def signals_held() -> Iterator[None]:
    """Signals wait until the block ends; a process that is started in it holds them until :func:`ignore_signals`."""
    before = signal.pthread_sigmask(signal.SIG_BLOCK, PARENTS_SIGNALS)
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def ignore_signals() -> None:
    """Leave signals to the parent, which says what to do: supervisors and terminals signal all processes at once."""
    for ignored in PARENTS_SIGNALS:
        signal.signal(ignored, signal.SIG_IGN)
    signal.pthread_sigmask(signal.SIG_UNBLOCK, PARENTS_SIGNALS)


def runner() -> asyncio.Runner:
    """Runs an event loop, uvloop's where it is installed."""
    try:
        import uvloop
    except ImportError:
        return asyncio.Runner()
    return asyncio.Runner(loop_factory=uvloop.new_event_loop)
