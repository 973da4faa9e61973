"""Images on their way from a worker to the engine process, in shared memory.

Each worker has :data:`SLOTS` places for one image each. It alone writes them, and the engine process reads one only
while it handles the message that a worker sends after writing, and says when it has: a copy of 192 KiB takes some 15
microseconds, and bounds what shared memory is needed for to what is on its way, whatever HAL_QUEUE_LIMIT is.
"""

from multiprocessing.shared_memory import SharedMemory
from typing import Final

import numpy as np
from numpy.typing import NDArray

from contract.description import IMAGE_SIDE

SLOTS: Final = 32
IMAGE_BYTES: Final = IMAGE_SIDE * IMAGE_SIDE * 3


def bytes_for(workers: int) -> int:
    """Bytes of shared memory for so many workers."""
    return workers * SLOTS * IMAGE_BYTES


class Slots:
    """The places of one worker.

    Args:
        memory: of :func:`bytes_for` bytes.
        place: the worker's, counted from 0.
    """

    def __init__(self, memory: SharedMemory, place: int) -> None:
        assert memory.buf is not None  # noqa: S101 - it is open
        self._buffer = memory.buf
        self._start = place * SLOTS * IMAGE_BYTES

    def write(self, slot: int, image: NDArray[np.uint8]) -> None:
        """Put an image ``[256, 256, 3]`` into a slot."""
        self._view(slot)[:] = image

    def read(self, slot: int) -> NDArray[np.uint8]:
        """A copy of the image in a slot, ``[256, 256, 3]``."""
        return self._view(slot).copy()

    def _view(self, slot: int) -> NDArray[np.uint8]:
        # Made each time: a view that is kept would keep the memory from being closed.
        if not 0 <= slot < SLOTS:
            raise ValueError(f"there is no slot {slot}, expected 0 to {SLOTS - 1}")
        offset = self._start + slot * IMAGE_BYTES
        flat = np.frombuffer(self._buffer, np.uint8, IMAGE_BYTES, offset)
        return flat.reshape(IMAGE_SIDE, IMAGE_SIDE, 3)
