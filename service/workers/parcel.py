"""What a new process is given, however large, without its parent waiting until it has been read.

multiprocessing writes a process's arguments into a pipe of which the parent itself has the reading end open meanwhile
(CPython #118981; mended in releases after September 2025). A pipe takes 64 KiB, or two pages once a user has many of
them (pipe(7)); the rest waits until the child has started its interpreter, and for ever if it dies before that, with
signals held. The ``bundle.json`` of a bundle may have any size. A parcel is a file in memory, of which only the
descriptor goes through the pipe.
"""

import os
import pickle
from collections.abc import Iterator
from contextlib import contextmanager
from multiprocessing.reduction import DupFd
from typing import Any


class Parcel:
    """Stands for a value among the arguments of a process, which finds the value itself in its place.

    Good for one process, in the block of :func:`parcel`.
    """

    def __init__(self, descriptor: int) -> None:
        self._descriptor = descriptor

    def __reduce__(self) -> tuple[object, ...]:
        return _opened, (DupFd(self._descriptor),)


@contextmanager
def parcel(value: object) -> Iterator[Parcel]:
    """Pack a value that can be pickled.

    Raises:
        OSError: the system gives no memory or no descriptor.
    """
    descriptor = os.memfd_create("hal-parcel")
    try:
        with os.fdopen(descriptor, "wb", closefd=False) as stream:
            pickle.dump(value, stream)
        os.lseek(descriptor, 0, os.SEEK_SET)
        yield Parcel(descriptor)
    finally:
        os.close(descriptor)


def _opened(descriptor: Any) -> object:
    with os.fdopen(descriptor.detach(), "rb") as stream:
        return pickle.load(stream)  # noqa: S301 - our parent has packed it
