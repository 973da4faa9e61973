"""``hal bench service --part real``: what HTTP costs at saturation, and what an image waits below it and when idle."""

import itertools
import time
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from statistics import median
from typing import Any, Final

import numpy as np

from bench import candidates
from bench.candidates import offer
from bench.load import Load, due_times
from bench.processes import apart, cores
from bench.requests import forms
from bench.statistics import batches
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
_SIZES: Final = (1, 2, 4, 8, 16)
PAUSE_S: Final = 0.5


def measure_real(bundle: Bundle, files: Sequence[bytes], log: Path, seconds: float) -> dict[str, Any]:
    """The figures of the service, of the plain app and of a loop without HTTP on the same bundle and images."""
    bare = apart(bare_loop, str(bundle.path(bundle.file())), files, 2 * seconds, PAUSE_S)
    requests = forms(files)
    saturating = Load(connections=_CONNECTIONS, duration_s=2 * seconds, warmup_s=WARMUP_S)
    figures: dict[str, Any] = {"bare": bare}
    with candidates.running(candidates.hal(bundle), log) as target:
        before = target.cpu_s()
        time.sleep(IDLE_S)
        figures["idle_busy_cores"] = (target.cpu_s() - before) / IDLE_S
        figures["idle"] = offer(target, requests, Load(rate=_IDLE_RATE, duration_s=2 * seconds, warmup_s=1.0))
        figures["saturated"] = offer(target, requests, saturating)
        busy = Load(rate=_BUSY * figures["saturated"]["requests_s"], duration_s=4 * seconds, warmup_s=WARMUP_S)
        earlier = batches(target.target)
        figures["busy"] = offer(target, requests, busy)
        mean = batches(target.target).since(earlier).mean or 0.0
    with candidates.running(candidates.plain(bundle), log) as target:
        figures["plain"] = offer(target, requests, saturating)
    figures["busy"]["batch"] = mean
    figures["batch_ms"] = _batch_ms(bare, mean)
    assert busy.rate is not None  # noqa: S101
    long = Load(rate=busy.rate, duration_s=_IDEAL_REQUESTS / busy.rate, warmup_s=0.0)
    figures["ideal_ms"], figures["ideal_same_ms"] = _ideal_p99_ms(bare, long), _ideal_p99_ms(bare, busy)
    return figures


def bare_loop(model: str, files: Sequence[bytes], seconds: float, pause_s: float) -> dict[str, Any]:
    """Decoding and ONNX Runtime in a loop without HTTP, with the service's session options: the most it could reach.

    Batch sizes take turns, so that a disturbance hits all of them.
    """
    import onnxruntime as ort
    import simplejpeg

    options = ort.SessionOptions()
    options.intra_op_num_threads, options.inter_op_num_threads = cores(), 1
    options.add_session_config_entry("session.force_spinning_stop", "1")
    session = ort.InferenceSession(model, options, providers=["CPUExecutionProvider"])

    def decoded(count: int) -> Any:
        return np.stack([simplejpeg.decode_jpeg(file) for file in itertools.islice(turns, count)])

    def run(images: Any) -> float:
        session.run(["logits"], {"image": images})
        return time.perf_counter()

    turns = itertools.cycle(files)
    spent: dict[int, list[float]] = {size: [] for size in _SIZES}
    batch_s: dict[int, list[float]] = {size: [] for size in _SIZES}
    for size in _SIZES:
        run(decoded(size))
    end = time.perf_counter() + seconds
    while time.perf_counter() < end or not spent[1]:
        for size in _SIZES:
            begin = time.perf_counter()
            images = decoded(size)
            before = time.perf_counter()
            done = run(images)
            spent[size].append(done - begin)
            batch_s[size].append(done - before)
    rested = []
    for _ in range(max(int(seconds / pause_s), 3)):
        time.sleep(pause_s)
        begin = time.perf_counter()
        rested.append(run(decoded(1)) - begin)
    return {
        "images_per_second": max(size * len(took) / sum(took) for size, took in spent.items()),
        "batch_ms": {size: 1000 * median(took) for size, took in batch_s.items()},
        "one_image_ms": 1000 * median(spent[1]),
        "one_image_after_a_pause_ms": 1000 * median(rested),
    }


def greedy_latencies(arrivals: Iterable[float], batch_s: Callable[[int], float], limit: int) -> list[float]:
    """Seconds from each arrival to its answer by the best greedy batcher: a free device takes what waits.

    ``arrivals`` are ascending, in seconds; a batch of n images, at most ``limit``, takes ``batch_s(n)``.
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


def _ideal_p99_ms(bare: dict[str, Any], load: Load) -> float:
    """Within this a batcher that costs nothing would answer 99 of 100 measured requests of an open loop."""
    arrivals = [due + load.warmup_s for due in due_times(load)]
    latencies = greedy_latencies(arrivals, lambda images: _batch_ms(bare, images) / 1000, max(bare["batch_ms"]))
    counted = [took for due, took in zip(arrivals, latencies, strict=True) if due >= load.warmup_s]
    return 1000 * float(np.percentile(counted, 99)) if counted else 0.0


def _batch_ms(bare: dict[str, Any], images: float) -> float:
    """What a batch of so many images takes, between the sizes that were measured."""
    return float(np.interp(images, list(bare["batch_ms"]), list(bare["batch_ms"].values())))
