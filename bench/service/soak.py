"""The service at saturation for a long time: does its memory grow?

Memory is the proportional set size of the service's processes, so that pages which they share count once. It is read
every second. Growth is the median of the last tenth of the readings against that of the first tenth, after a warm-up in
which allocators fill their pools: a median, since a full batch more or less is not growth.
"""

import threading
import time
from collections.abc import Sequence
from pathlib import Path
from statistics import median
from typing import Any, Final

from bench.service import candidates
from bench.service.workload import Workload, offer
from contract.bundle import Bundle

LARGEST_GROWTH: Final = 0.02
_CONNECTIONS: Final = 32
_MOST_WARMUP_S: Final = 60.0
_PARTS: Final = 10


def soak(bundle: Bundle, workload: Workload, folder: Path, seconds: float, *, every_s: float = 1.0) -> dict[str, Any]:
    """Saturate the service for ``seconds`` and read its memory ``every_s``.

    Returns:
        The figures of the load, ``memory`` (pairs of seconds and bytes) and ``growth`` (see :func:`growth`).
    """
    memory: list[tuple[float, int]] = []
    over = threading.Event()
    warmup_s = min(seconds / _PARTS, _MOST_WARMUP_S)
    with candidates.running(candidates.hal(bundle), folder / "candidate.log") as target:
        begin = time.monotonic()

        def watch() -> None:
            while not over.wait(every_s):
                if (now := time.monotonic() - begin) >= warmup_s and (held := target.memory_bytes()) is not None:
                    memory.append((now, held))

        watcher = threading.Thread(target=watch)
        watcher.start()
        try:
            requests = workload.write(folder, "form", "/classify")
            figures = offer(
                target, requests, connections=_CONNECTIONS, seconds=seconds, warmup_s=warmup_s, most_tries=1
            )
        finally:
            over.set()
            watcher.join()
    return {**figures, "seconds": seconds, "memory": memory, "growth": growth([held for _, held in memory])}


def growth(memory: Sequence[int]) -> float | None:
    """By what part of itself memory grew from the first tenth of the readings to the last; ``None`` without readings.

    >>> growth([100, 100, 101, 102, 102, 103])
    0.03
    """
    if not memory:
        return None
    part = max(1, len(memory) // _PARTS)
    early, late = median(memory[:part]), median(memory[-part:])
    return late / early - 1 if early else None
