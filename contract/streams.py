"""Standard streams that are closed or full: work goes on, and ends in words rather than a traceback."""

import contextlib
import errno
import io
import os
import sys
from pathlib import Path
from typing import Any, Final

_NOT_TAKEN: Final = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EIO, errno.EBADF)
"""A stream's device takes nothing any more. A pipe that its reader closed is not among them: it ends a command."""


class _Tolerant(io.FileIO):
    """A stream that drops what its device does not take, and knows that it did."""

    lost: OSError | None = None

    def write(self, data: Any, /) -> int:
        try:
            return super().write(data)
        except OSError as error:
            if error.errno not in _NOT_TAKEN:
                raise
            self.lost = error
            return memoryview(data).nbytes


def open_closed_streams() -> None:
    """Where a standard stream is closed, open the null device in its place.

    The next file or connection would have its number, and get what libraries write there.
    """
    for number, name in enumerate(("stdin", "stdout", "stderr")):
        if getattr(sys, name) is None:
            null = os.open(os.devnull, os.O_RDWR)  # the lowest number that is free
            setattr(sys, name, os.fdopen(null, "w" if number else "r", closefd=False))


def tolerate_full_streams() -> None:
    """From now on a full disk behind standard output or error is no reason to end work whose result is elsewhere."""
    for name in ("stdout", "stderr"):
        stream = getattr(sys, name)
        try:
            raw = _Tolerant(stream.fileno(), "w", closefd=False)
        except OSError:
            continue  # A program that calls this one has put an object without a file in its place.
        tolerant = io.TextIOWrapper(
            io.BufferedWriter(raw),
            encoding=stream.encoding,
            errors=stream.errors,
            line_buffering=stream.line_buffering,
            write_through=stream.write_through,
        )
        setattr(sys, name, tolerant)


def release_streams() -> OSError | None:
    """At the end: give up what could not be written, or Python would try again, with a traceback.

    Returns:
        Why standard output lacks something; ``None`` where it is whole, or where losses are not noted
        (:func:`tolerate_full_streams`).
    """
    for stream in (sys.stdout, sys.stderr):
        try:
            stream.flush()
        except (OSError, ValueError):
            with contextlib.suppress(OSError, ValueError), Path(os.devnull).open("w") as null:
                os.dup2(null.fileno(), stream.fileno())
    lost: OSError | None = getattr(getattr(getattr(sys.stdout, "buffer", None), "raw", None), "lost", None)
    return lost
