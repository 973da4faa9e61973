"""What a fast device would see: a simulated one behind this service, behind a timer in its place, behind LitServe."""

import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

from bench.service import candidates
from bench.service.candidates import APPS, Candidate
from bench.service.scrape import Batches
from bench.service.workload import BULK, Workload, offer
from contract.bundle import Bundle

FAST: Final = "1.5+0.1n"
"""Milliseconds for ``n`` images: some 5000 images a second in batches of 16, more than Python's HTTP can bring."""
FED: Final = "6+0.5n"
"""Some 1100 images a second, which it can: is the device then ever idle?"""
RATES: Final = (25.0, 100.0, 300.0, 600.0, 900.0, 1200.0)
MAX_BATCH: Final = 16


def measure_device(
    bundle: Bundle, workload: Workload, folder: Path, peers: Path | None, seconds: float
) -> Iterator[dict[str, Any]]:
    """One row for each way of forming batches and offered load, then the saturated device."""
    ways = {
        "greedy (HAL)": _simulated(bundle, FAST, "greedy"),
        "timer 5 ms": _simulated(bundle, FAST, "timer"),
    }
    if peers is not None:
        ways["LitServe, 5 ms"] = candidates.litserve(FAST, peers, MAX_BATCH)
    for way, candidate in ways.items():
        ours = not way.startswith("LitServe")
        with candidates.running(candidate, folder / "candidate.log") as target:
            requests = workload.write(folder, "raw" if ours else "form", "/classify")
            for rate in RATES:
                before = Batches.of(target.port) if ours else None
                figures = offer(target, requests, connections=256, seconds=seconds, rate=rate)
                if before is not None:
                    figures |= _device(Batches.of(target.port).since(before), figures["per_second"])
                yield {"way": way, "rate": rate, **figures}
                if figures["per_second"] < 0.9 * rate:
                    break
    for times in (FAST, FED):
        with candidates.running(_simulated(bundle, times, "greedy"), folder / "candidate.log") as target:
            requests = workload.write(folder, "bulk", "/classify")
            before = Batches.of(target.port)
            figures = offer(target, requests, connections=4, seconds=seconds)
            images = figures["per_second"] * BULK
            added = _device(Batches.of(target.port).since(before), images)
            yield {"way": f"saturated, {times}", "rate": None, **figures, "images_per_second": images, **added}


def _device(added: Batches, images_per_second: float) -> dict[str, float]:
    """Images in a batch, and the share of its time that the device works at so many images a second."""
    return {"batch": added.mean_images, "busy": min(1.0, images_per_second * added.device_s / added.images)}


def _simulated(bundle: Bundle, times: str, policy: str) -> Candidate:
    command = (sys.executable, str(APPS / "simulated.py"), str(bundle.root.resolve()), "{port}", times, policy)
    return Candidate(policy, command, {}, {"PYTHONPATH": str(Path(__file__).parents[2])})
