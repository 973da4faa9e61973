"""The memory in which the images of a batch lie one behind the other, as a network takes them."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray


class Stacks:
    """Blocks of memory, each for the batch of one run, that are used again.

    Fresh memory of several megabytes costs a page fault for every 4 KiB, 48 for an image: as much processor time as
    half of its decoding. May be used by several threads, each block by one at a time.

    Args:
        most: images in the largest batch.
    """

    def __init__(self, most: int) -> None:
        self._most = most
        self._free: list[NDArray[np.uint8]] = []

    def take(self, images: Sequence[NDArray[np.uint8]]) -> NDArray[np.uint8]:
        """Images of one shape as ``[n, ...]``, the caller's until it gives them back by :meth:`give_back`."""
        shape = images[0].shape
        try:
            block = self._free.pop()
        except IndexError:
            block = np.empty((max(self._most, len(images)), *shape), np.uint8)
        if len(block) < len(images) or block.shape[1:] != shape:
            block = np.empty((len(images), *shape), np.uint8)
        # np.stack lets go of the interpreter's lock for each image, and gets it back after longer than a copy takes.
        target, size = block.data.cast("B"), images[0].nbytes
        for begin, image in zip(range(0, len(target), size), images, strict=False):
            target[begin : begin + size] = np.ascontiguousarray(image).data.cast("B")
        return block[: len(images)]

    def give_back(self, stack: NDArray[np.uint8]) -> None:
        """Say that nobody reads ``stack`` any more."""
        block = stack.base
        if isinstance(block, np.ndarray):
            self._free.append(block)
