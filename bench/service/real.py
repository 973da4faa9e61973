"""The real bundle: what HTTP costs at saturation, what an image waits below it, and what an idle service adds."""

import base64
import itertools
import time
from pathlib import Path
from typing import Any, Final

from bench.service import candidates
from bench.service.candidates import APPS
from bench.service.ideal import greedy_latencies
from bench.service.load import due_times
from bench.service.scrape import Batches
from bench.service.scripts import ask
from bench.service.workload import Workload, offer
from contract.bundle import Bundle

WARMUP_S: Final = 3.0
IDLE_S: Final = 3.0
"""In which an idle service's processor time is counted."""
_CONNECTIONS: Final = 32
_BUSY: Final = 0.8
"""Share of the saturated throughput that is offered when the wait is measured."""
_IDLE_RATE: Final = 2.0
"""Requests a second that never meet each other."""
_IDEAL_REQUESTS: Final = 50_000
"""From which the tail of the ideal batcher is known to a few per cent."""


def measure_real(bundle: Bundle, workload: Workload, folder: Path, seconds: float) -> dict[str, Any]:
    """The figures of the service, of the plain app and of the bare loop on the same bundle and images."""
    bare = _bare(bundle, workload, seconds)
    figures: dict[str, Any] = {"bare": bare}
    with candidates.running(candidates.hal(bundle), folder / "candidate.log") as target:
        requests = workload.write(folder, "form", "/classify")
        figures["idle_busy_cores"] = _idle_cores(target)
        figures["idle"] = offer(target, requests, connections=2, seconds=2 * seconds, rate=_IDLE_RATE)
        figures["saturated"] = offer(target, requests, connections=_CONNECTIONS, seconds=2 * seconds, warmup_s=WARMUP_S)
        rate = _BUSY * figures["saturated"]["per_second"]
        before = Batches.of(target.port)
        figures["busy"] = offer(target, requests, connections=256, seconds=4 * seconds, warmup_s=WARMUP_S, rate=rate)
        figures["busy"]["batch"] = Batches.of(target.port).since(before).mean_images
    with candidates.running(candidates.plain(bundle), folder / "candidate.log") as target:
        requests = workload.write(folder, "form", "/classify")
        figures["plain"] = offer(target, requests, connections=_CONNECTIONS, seconds=2 * seconds, warmup_s=WARMUP_S)
    figures["batch_ms"] = _batch_ms(bare, figures["busy"]["batch"])
    figures["ideal_ms"] = _ideal_p99_ms(bare, rate, _IDEAL_REQUESTS / rate)
    figures["ideal_same_ms"] = _ideal_p99_ms(bare, rate, WARMUP_S + 4 * seconds, WARMUP_S)
    return figures


def _ideal_p99_ms(bare: dict[str, Any], rate: float, until_s: float, from_s: float = 0.0) -> float:
    """99 of 100 requests would be answered within this by a batcher that costs nothing, offered the load generator's
    arrivals, of which those from ``from_s`` to ``until_s`` count.
    """
    arrivals = list(due_times(rate, 0.0, until_s, seed=1))
    largest = max(map(int, bare["batch_ms"]))
    latencies = greedy_latencies(arrivals, lambda images: _batch_ms(bare, images) / 1000, largest)
    counted = sorted(took for due, took in zip(arrivals, latencies, strict=True) if due >= from_s)
    return 1000 * counted[int(0.99 * len(counted))] if counted else 0.0


def _bare(bundle: Bundle, workload: Workload, seconds: float) -> dict[str, Any]:
    files = [base64.b64encode(file).decode() for file in workload.files]
    environment = {"PYTHONPATH": str(Path(__file__).parents[2])}
    arguments = (str(bundle.root.resolve()), str(2 * seconds))
    figures: dict[str, Any] = ask(APPS / "bare.py", files, *arguments, environment=environment)
    return figures


def _idle_cores(target: candidates.Running) -> float | None:
    before = target.cpu_s()
    time.sleep(IDLE_S)
    after = target.cpu_s()
    return None if before is None or after is None else (after - before) / IDLE_S


def _batch_ms(bare: dict[str, Any], images: float) -> float:
    """What a batch of so many images takes, between the sizes that were measured."""
    measured = sorted((int(size), ms) for size, ms in bare["batch_ms"].items())
    for (small, small_ms), (large, large_ms) in itertools.pairwise(measured):
        if images <= large:
            return float(small_ms + (large_ms - small_ms) * (max(images, small) - small) / (large - small))
    return float(measured[-1][1])
