"""What the batcher has counted, and what it has learned of the device: how fast it is, and how large a batch its memory
holds.

All times are seconds of a monotonic clock.
"""

import math
from dataclasses import dataclass
from typing import Final

LONGEST_RETRY_S: Final = 60
_FAST_BATCH_S: Final = 0.05
_PREPARATION_S: Final = 0.0025
"""Stacking 64 images takes 1.9 ms, and uvloop's timers go by whole milliseconds."""
_MEMORY: Final = 0.8
"""Weight of the past in the moving average of the rate."""

CAUTION_S: Final = 60.0
"""Seconds without a failure after which the limit is doubled again."""


@dataclass(slots=True)
class Statistics:
    """What happened so far, in images unless said otherwise."""

    answered: int = 0
    failed: int = 0
    withdrawn: int = 0
    """Left the queue before they were answered: their client went away or a deadline passed."""
    expired: int = 0
    """Not answered before their deadline, whether they were in the queue already or still being prepared."""
    refused: int = 0
    """Requests that found no free permit."""
    disconnected: int = 0
    """Requests whose client went away, while it sent or while it waited."""
    batches: int = 0
    """Batches that the device finished."""
    retried_batches: int = 0
    """Batches that failed and were tried again in parts."""
    out_of_memory: int = 0
    """Batches, of any size, that found no memory."""


class Rate:
    """How fast the device works, by moving averages over its batches."""

    def __init__(self) -> None:
        self._images_per_s = 0.0
        self._batch_s = 0.0

    def add(self, images: int, seconds: float) -> None:
        self._batch_s = _MEMORY * (self._batch_s or seconds) + (1 - _MEMORY) * seconds
        rate = images / max(seconds, 1e-6)
        past = self._images_per_s or rate
        self._images_per_s = _MEMORY * past + (1 - _MEMORY) * rate

    def seconds_for(self, images: float) -> int:
        """Whole seconds, 1 to 60, in which so many images should be done."""
        if not self._images_per_s:
            return 1
        return min(max(math.ceil(images / self._images_per_s), 1), LONGEST_RETRY_S)

    def remaining_s(self, busy_s: float) -> float | None:
        """Seconds until the next batch should be prepared, if the present one began ``busy_s`` ago.

        ``None`` if that is not worth it: preparing takes a millisecond, of which a device that takes 50 for a batch
        does not notice much, while an image that arrives after it has to wait for a batch more.
        """
        if not 0 < self._batch_s < _FAST_BATCH_S:
            return None
        return self._batch_s - busy_s - _PREPARATION_S


class MemoryCaution:
    """The largest batch to try: half of one that found no memory, doubled every minute until it is no limit again."""

    def __init__(self) -> None:
        self._limit: int | None = None
        self._raise_at = 0.0

    def limit(self, most: int, now: float) -> int:
        """The largest batch to try now, ``most`` if there is no reason for caution."""
        if self._limit is not None and now >= self._raise_at:
            self._limit *= 2
            self._raise_at = now + CAUTION_S
        if self._limit is None or self._limit >= most:
            self._limit = None
            return most
        return self._limit

    def halve(self, failed: int, now: float) -> int:
        """A batch of ``failed`` images found no memory: the limit is at most half of it from now on."""
        half = max(1, failed // 2)
        self._limit = half if self._limit is None else min(self._limit, half)
        self._raise_at = now + CAUTION_S
        return self._limit
