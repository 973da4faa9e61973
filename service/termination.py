"""SIGTERM as Ctrl-C: what a command has started in processes of its own is ended by it, not left behind."""

import contextlib
import signal
import threading
from collections.abc import Iterator
from types import FrameType


@contextlib.contextmanager
def stopped_by_sigterm() -> Iterator[None]:
    """A batch system's way of stopping raises :class:`KeyboardInterrupt` in the block.

    It does so once, so that a second signal does not disturb the tidying up.
    """

    def stop(_: int, __: FrameType | None) -> None:
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
        raise KeyboardInterrupt

    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = signal.signal(signal.SIGTERM, stop)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)
