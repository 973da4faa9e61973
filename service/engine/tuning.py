"""How large a batch may be: measured when a network is opened, for the device and the cores that it has now.

At full load an image waits for the batch that is running and for its own, so a limit of ``n`` images answers within
``2 * t(n)``. Of the limits that keep within the target the one that serves most images a second is taken; where several
do, to within a few per cent, the largest: with it the queue is worked off in fewer steps, and a batch is only ever as
large as the queue is long.

A start is often when other programs start too. What a batch takes in use tells so later, and then the choice is made
again: see :class:`Hindsight`.
"""

import math
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from typing import Final

import numpy as np
from numpy.typing import NDArray

from contract.description import IMAGE_SIDE

_FEWEST_TURNS: Final = 3
_MOST_TURNS: Final = 8
_ENOUGH_S: Final = 1.0
"""Of measuring, after which the fewest turns are enough. The first run of each size, which pays for what is done once,
does not count."""
_SEEN: Final = 5
"""Batches of a size, after which the shortest of them is what it takes in use."""
_DISTURBED: Final = 1.25
"""Times as long as in use: then other work has disturbed what was measured at the start."""
_AS_GOOD: Final = 0.97
"""Of the best rate: what is measured in so little time is not known better."""

Run = Callable[[NDArray[np.uint8]], object]


@dataclass(frozen=True, slots=True)
class BatchTime:
    """What a batch of ``images`` takes: the shortest of a few runs, since other work only ever adds to it."""

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
        revised: whether it was chosen in use, since the start had been disturbed.
    """

    limit: int
    target_ms: int
    measured: tuple[BatchTime, ...]
    revised: bool = False

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
        how = "other work disturbed the start; in use" if self.revised else "measured"
        return (
            f"batches of at most {chosen.images}, {chosen.images_per_s:.0f} images/s, for {self.target_ms} ms{found} "
            f"(HAL_LATENCY_TARGET_MS; {how} {times})"
        )


def choose(measured: Iterable[BatchTime], target_ms: int) -> Tuning:
    """The limit that serves best within the target, see above; the smallest size if none keeps it."""
    times = tuple(measured)
    within = [time for time in times if 2 * time.ms <= target_ms] or [min(times, key=lambda time: time.images)]
    best = max(time.images_per_s for time in within)
    limit = max(time.images for time in within if time.images_per_s >= _AS_GOOD * best)
    return Tuning(limit, target_ms, times)


def tune(run: Run, sizes: Iterable[int], target_ms: int, *, clock: Callable[[], float] = time.perf_counter) -> Tuning:
    """Measure batches of each of ``sizes`` and choose; takes a few seconds.

    The sizes are measured in turns, so that other work on the machine, which comes and goes, hits all of them and not
    the one that was being measured. A turn ends with the smallest size that has missed the target so far.
    """
    shortest: dict[int, float] = {}
    spent = 0.0
    for turn in range(_MOST_TURNS):
        if turn >= _FEWEST_TURNS and spent > _ENOUGH_S:
            break
        for size in sorted(sizes):
            images = np.zeros((size, IMAGE_SIDE, IMAGE_SIDE, 3), np.uint8)
            if size not in shortest:
                run(images)
            start = clock()
            run(images)
            elapsed = clock() - start
            spent += elapsed
            shortest[size] = min(shortest.get(size, math.inf), elapsed)
            if 2000 * shortest[size] > target_ms:
                break
    return choose([BatchTime(size, max(1000 * elapsed, 1e-3)) for size, elapsed in shortest.items()], target_ms)


class Hindsight:
    """Chooses again once batches in use show that other work disturbed the start.

    The sizes were measured in turns, so what disturbed one has disturbed all: a size that was not used yet is taken to
    have been slowed as much as the next smaller one that was, and one that was not even tried to take twice as long as
    half of it. If that is wrong its own batches tell it soon. The choice of the start is the least: what a busy machine
    does in use is no reason to make batches smaller.

    Args:
        start: what was measured and chosen when the network was opened.
        max_batch: most images that a batch may ever have.

    Attributes:
        tuning: what holds now.
    """

    def __init__(self, start: Tuning, max_batch: int) -> None:
        self.tuning = start
        self._least = start.limit
        self._start_ms = {time.images: time.ms for time in start.measured}
        while 2 * (largest := max(self._start_ms)) <= max_batch:
            self._start_ms[2 * largest] = 2 * self._start_ms[largest]
        self._count = dict.fromkeys(self._start_ms, 0)
        self._shortest_ms = dict.fromkeys(self._start_ms, math.inf)

    def saw(self, images: int, seconds: float) -> bool:
        """Take note of a batch that was run in use; whether :attr:`tuning` has another limit now."""
        if images not in self._start_ms:
            return False
        self._count[images] += 1
        shorter = 1000 * seconds < self._shortest_ms[images]
        if shorter:
            self._shortest_ms[images] = 1000 * seconds
        if self._count[images] < _SEEN or not (shorter or self._count[images] == _SEEN):
            return False
        revised = self._choose()
        if max(revised.limit, self._least) == self.tuning.limit:
            return False
        self.tuning = replace(revised, limit=max(revised.limit, self._least), revised=True)
        return True

    def _choose(self) -> Tuning:
        slowed, times = 1.0, []
        for images, ms in sorted(self._start_ms.items()):
            if self._count[images] < _SEEN:
                times.append(BatchTime(images, ms / slowed))
                continue
            used = BatchTime(images, max(self._shortest_ms[images], 1e-3))
            slowed = ms / used.ms if ms >= _DISTURBED * used.ms else 1.0
            times.append(used)
        return choose(times, self.tuning.target_ms)
