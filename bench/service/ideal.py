"""What the best greedy batcher could do at a load: no HTTP, no decoding, no other work, only the device's own times."""

from collections.abc import Callable, Iterable


def greedy_latencies(arrivals: Iterable[float], batch_s: Callable[[int], float], limit: int) -> list[float]:
    """Seconds from each arrival to its answer, in order, when a free device takes what waits, at most ``limit``.

    Args:
        arrivals: times in seconds, ascending.
        batch_s: seconds that a batch of so many images takes.
        limit: most images in a batch.
    """
    waiting = list(arrivals)
    latencies: list[float] = []
    now, first = 0.0, 0
    while first < len(waiting):
        now = max(now, waiting[first])
        last = first
        while last < len(waiting) and last - first < limit and waiting[last] <= now:
            last += 1
        now += batch_s(last - first)
        latencies += [now - arrival for arrival in waiting[first:last]]
        first = last
    return latencies
