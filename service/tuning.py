"""How large a batch may be: measured when a network is opened, for the device and the cores that it has now.

At full load an image waits for the batch that is running and for its own, so a limit of ``n`` images answers within
``2 * t(n)``. Of the limits that keep within the target the one that serves most images a second is taken; where several
do, to within a few per cent, the largest: with it the queue is worked off in fewer steps, and a batch is only ever as
large as the queue is long.
"""

import math
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from contract.manifest import IMAGE_SIDE

_RUNS: Final = 5
_ENOUGH_S: Final = 0.5
"""Of measuring one size; its first run, which pays for what is done once, does not count."""
_AS_GOOD: Final = 0.97
"""Of the best rate: what is measured in so little time is not known better."""

Run = Callable[[NDArray[np.uint8]], object]


@dataclass(frozen=True, slots=True)
class BatchTime:
    """What a batch of ``images`` takes: the shortest of a few runs, as other work only ever adds to it."""

    images: int
    ms: float

    @property
    def images_per_s(self) -> float:
        """Images a second in batches of this size, one after the other."""
        return 1000 * self.images / self.ms


@dataclass(frozen=True, slots=True)
class Tuning:
    """The limit that was chosen, and why.

    Attributes:
        limit: most images in a batch.
        target_ms: within which an image should be answered at full load.
        measured: by size; sizes after the first that misses the target are not tried.
    """

    limit: int
    target_ms: int
    measured: tuple[BatchTime, ...]

    @property
    def meets_target(self) -> bool:
        """Whether two batches of the chosen size take no longer than the target."""
        return 2 * self._time_of_limit.ms <= self.target_ms

    @property
    def _time_of_limit(self) -> BatchTime:
        return next(time for time in self.measured if time.images == self.limit)

    def __str__(self) -> str:
        times = ", ".join(f"{time.images}: {time.ms:.1f} ms" for time in self.measured)
        chosen = self._time_of_limit
        found = "" if self.meets_target else ", which even the smallest batch misses"
        return (
            f"batches of at most {chosen.images}, {chosen.images_per_s:.0f} images/s, for {self.target_ms} ms{found} "
            f"(HAL_LATENCY_TARGET_MS; measured {times})"
        )


def choose(measured: Iterable[BatchTime], target_ms: int) -> Tuning:
    """The limit that serves best within the target, see above; the smallest size if none keeps it."""
    times = tuple(measured)
    within = [time for time in times if 2 * time.ms <= target_ms] or [min(times, key=lambda time: time.images)]
    best = max(time.images_per_s for time in within)
    limit = max(time.images for time in within if time.images_per_s >= _AS_GOOD * best)
    return Tuning(limit, target_ms, times)


def tune(run: Run, sizes: Iterable[int], target_ms: int) -> Tuning:
    """Measure batches of each of ``sizes``, in ascending order, and choose; takes a second or two."""
    measured: list[BatchTime] = []
    for size in sorted(sizes):
        measured.append(_measure(run, size))
        if 2 * measured[-1].ms > target_ms:
            break
    return choose(measured, target_ms)


def _measure(run: Run, size: int) -> BatchTime:
    images = np.zeros((size, IMAGE_SIDE, IMAGE_SIDE, 3), np.uint8)
    run(images)
    shortest, spent = math.inf, 0.0
    for _ in range(_RUNS):
        start = time.perf_counter()
        run(images)
        elapsed = time.perf_counter() - start
        shortest = min(shortest, elapsed)
        spent += elapsed
        if spent > _ENOUGH_S:
            break
    return BatchTime(size, max(1000 * shortest, 1e-3))
