"""The shared memory of a service with several HTTP processes: images on their way, and the board.

Whoever makes it removes it; its names are ``hal-PID-...`` by the process that did. Should all processes be killed,
multiprocessing's resource tracker removes it, which they share.
"""

import os
import secrets
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from multiprocessing.shared_memory import SharedMemory
from pathlib import Path
from typing import Final, Self

from service.workers import board, slots
from service.workers.board import Board

_MOUNT: Final = Path("/dev/shm")  # noqa: S108 - where the system keeps POSIX shared memory


class SharedMemoryError(Exception):
    """The system gives no shared memory; the message says how much is needed."""


@dataclass(frozen=True, slots=True)
class Memory:
    """Shared by all processes; going to another one it is found again by name.

    Attributes:
        workers: how many there are.
        images: see :mod:`service.workers.slots`.
        numbers: see :mod:`service.workers.board`.
        board: what ``numbers`` holds.
    """

    workers: int
    images: SharedMemory
    numbers: SharedMemory
    board: Board

    @classmethod
    def of(cls, workers: int, images: SharedMemory, numbers: SharedMemory) -> Self:
        """Memory of two blocks."""
        return cls(workers, images, numbers, Board(numbers, workers + 1))

    @property
    def engine_place(self) -> int:
        """The place of the engine process's account; those of the workers are 0 and up."""
        return self.workers

    def __reduce__(self) -> tuple[object, ...]:
        return Memory.of, (self.workers, self.images, self.numbers)


@contextmanager
def shared(workers: int) -> Iterator[Memory]:
    """Memory for so many workers, until the block ends.

    Raises:
        SharedMemoryError: there is not enough.
    """
    images = _block(slots.bytes_for(workers))
    try:
        numbers = _block(board.bytes_for(workers + 1))
        try:
            memory = Memory.of(workers, images, numbers)
            try:
                yield memory
            finally:
                memory.board.close()
        finally:
            numbers.close()
            numbers.unlink()
    finally:
        images.close()
        images.unlink()


def _block(size: int) -> SharedMemory:
    try:
        block = SharedMemory(f"hal-{os.getpid()}-{secrets.token_hex(4)}", create=True, size=size)
    except OSError as error:
        raise SharedMemoryError(_advice(size, error)) from error
    try:
        # Without this a full file system is noticed by a signal that kills whoever writes.
        descriptor = os.open(_MOUNT / block.name, os.O_RDWR)
        try:
            os.posix_fallocate(descriptor, 0, size)
        finally:
            os.close(descriptor)
    except OSError as error:
        block.close()
        block.unlink()
        raise SharedMemoryError(_advice(size, error)) from error
    return block


def _advice(size: int, error: OSError) -> str:
    return (
        f"HAL_HTTP_WORKERS needs {size / 2**20:.1f} MiB of shared memory in {_MOUNT}: {error.strerror}; give the "
        "container more (docker run --shm-size, an emptyDir of medium Memory in Kubernetes) or lower HAL_HTTP_WORKERS"
    )
