"""``hal bench service``: the service beside other ways of serving the same graph."""

import json
import subprocess
import sys
import tempfile
import threading
import time
import venv
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import Any, Final

from PIL import Image

from bench import Part, candidates, plots, report
from bench.candidates import CandidateError, offer
from bench.load import Load
from bench.null_bundle import write_null_bundle
from bench.processes import machine
from bench.real import measure_real
from bench.requests import forms, jpeg, raw
from bench.statistics import batches
from contract.bundle import Bundle
from contract.files import write_text

BULK: Final = 64
CONNECTIONS: Final = 32
WARMUP_S: Final = 1.0
BULK_CONNECTIONS: Final = 2
"""Two requests of 64 images: one is worked on while the other arrives."""
FAST: Final = "1.5+0.1n"
"""Milliseconds for ``n`` images: some 5000 images a second in batches of 16, more than Python's HTTP can bring."""
FED: Final = "6+0.5n"
"""Some 1100 images a second, which it can: is the device then ever idle?"""
RATES: Final = (25.0, 100.0, 300.0, 600.0, 900.0, 1200.0)
_MAX_BATCH: Final = 16
_PEERS: Final = ("litserve", "bentoml", "onnxruntime", "pillow", "numpy", "python-multipart")
_PARTS: Final = 10
"""Of a soak: the first and the last are compared."""

Row = dict[str, Any]
Say = Callable[[str], None]


@dataclass(frozen=True, slots=True)
class Setup:
    """What the parts measure with; ``peers`` is a Python with LitServe and BentoML, ``None`` leaves them out."""

    bundle: Bundle
    files: Sequence[bytes]
    folder: Path
    peers: Path | None
    seconds: float

    @property
    def log(self) -> Path:
        return self.folder / "candidate.log"

    def null(self) -> Bundle:
        return write_null_bundle(self.folder / "null", self.bundle)


def bench_service(
    bundle: Bundle, out: Path, parts: Sequence[Part], *, peers: Path | None, seconds: float, say: Say
) -> dict[str, Any]:
    """Measure ``parts`` and write ``service.json``, ``service.md`` and an SVG a part into ``out``.

    Images are the bundle's golden sample as JPEG files. ``say`` is given each table when it is done.
    """
    out.mkdir(parents=True, exist_ok=True)
    files = [jpeg(Image.fromarray(pixels)) for pixels in bundle.golden()["images"]]
    asked = " ".join(f"--part {part}" for part in parts)
    command = f"hal bench service --bundle {bundle.root} {asked} --seconds {seconds:g}"
    figures: dict[str, Any] = {"command": command, "machine": machine(), "image_bytes": list(map(len, files))}
    text = [f"`{command}`\n\n"]
    python = _peers_python(peers, say) if peers is not None else None
    with tempfile.TemporaryDirectory(prefix="hal-bench-") as folder:
        setup = Setup(bundle, files, Path(folder), python, seconds)
        for part in parts:
            figures[part], table = _measure(part, setup, out)
            text.append(table)
            say(table)
            write_text(out / "service.json", json.dumps(figures, indent=1) + "\n")
            write_text(out / "service.md", "\n".join(text))
    return figures


def _measure(part: Part, setup: Setup, out: Path) -> tuple[Any, str]:
    """The figures of a part and its table; its picture is drawn."""
    figures: Any
    match part:
        case Part.NULL:
            figures = list(measure_null(setup))
            table, picture = report.null_table(figures), plots.null(figures)
        case Part.REAL:
            figures = measure_real(setup.bundle, setup.files, setup.log, setup.seconds)
            return figures, report.real_table(figures)
        case Part.DEVICE:
            figures = list(measure_device(setup))
            table, picture = report.device_table(figures), plots.device(figures)
        case Part.SOAK:
            figures = soak(setup)
            table, picture = report.soak_table(figures, setup.bundle), plots.soak(figures["memory"])
    write_text(out / f"service-{part}.svg", picture)
    return figures, table


def measure_null(setup: Setup) -> Iterator[Row]:
    """The null bundle behind each candidate: one row for each kind of request."""
    null = setup.null()
    compared = [candidates.hal(null), candidates.plain(null)]
    if setup.peers is not None:
        compared += [
            candidates.litserve(null, setup.peers),
            candidates.litserve(null, setup.peers, max_batch=8),
            candidates.bentoml(null, setup.peers),
        ]
    for candidate in compared:
        try:
            with candidates.running(candidate, setup.log) as target:
                for kind, path in candidate.paths.items():
                    requests = (
                        raw(setup.files, path)
                        if kind == "raw"
                        else forms(setup.files, BULK if kind == "bulk" else 1, path)
                    )
                    connections = BULK_CONNECTIONS if kind == "bulk" else CONNECTIONS
                    load = Load(connections=connections, duration_s=setup.seconds, warmup_s=WARMUP_S)
                    yield {"candidate": candidate.name, "kind": kind, **offer(target, requests, load)}
        except CandidateError as error:
            yield {"candidate": candidate.name, "kind": "form", "note": str(error)}


def measure_device(setup: Setup) -> Iterator[Row]:
    """A simulated fast device behind HAL and LitServe: one row for each offered load, then the saturated device."""
    null = setup.null()
    compared = [("HAL", candidates.simulated(null, FAST, _MAX_BATCH), raw(setup.files))]
    if setup.peers is not None:
        compared.append(("LitServe, 5 ms", candidates.litserve(FAST, setup.peers, _MAX_BATCH), forms(setup.files)))
    for way, candidate, requests in compared:
        with candidates.running(candidate, setup.log) as target:
            for rate in RATES:
                load = Load(rate=rate, connections=256, duration_s=setup.seconds, warmup_s=WARMUP_S)
                row = with_device(target, requests, load) if way == "HAL" else offer(target, requests, load)
                yield {"way": way, "rate": rate, **row}
                if row["requests_s"] < 0.9 * rate:
                    break
    for times in (FAST, FED):
        with candidates.running(candidates.simulated(null, times, _MAX_BATCH), setup.log) as target:
            load = Load(connections=4, duration_s=setup.seconds, warmup_s=WARMUP_S)
            yield {"way": f"saturated, {times}", "rate": None, **with_device(target, forms(setup.files, BULK), load)}


def with_device(target: candidates.Running, requests: Sequence[Any], load: Load) -> Row:
    """With the mean batch, and the share of its time that the device works at so many images a second."""
    before = batches(target.target)
    figures = offer(target, requests, load)
    added = batches(target.target).since(before)
    busy = min(1.0, figures["images_s"] * added.device_s / max(added.images, 1))
    return {**figures, "batch": added.mean or 0.0, "busy": busy}


def soak(setup: Setup, every_s: float = 1.0) -> dict[str, Any]:
    """Saturate the service for ``seconds`` and read its memory ``every_s``, after a warm-up in which allocators grow.

    Returns the figures of the load, ``memory`` (pairs of seconds and bytes) and ``growth`` (see :func:`growth`).
    """
    memory: list[tuple[float, int]] = []
    over = threading.Event()
    load = Load(connections=CONNECTIONS, duration_s=setup.seconds, warmup_s=min(setup.seconds / _PARTS, 60.0))
    with candidates.running(candidates.hal(setup.bundle), setup.log) as target:
        begin = time.monotonic()

        def watch() -> None:
            while not over.wait(every_s):
                if (now := time.monotonic() - begin) >= load.warmup_s:
                    memory.append((now, target.memory_bytes()))

        watcher = threading.Thread(target=watch)
        watcher.start()
        try:
            figures = offer(target, forms(setup.files), load, most_tries=1)
        finally:
            over.set()
            watcher.join()
    held = [held for _, held in memory]
    return {**figures, "seconds": setup.seconds, "memory": memory, "growth": growth(held)}


def growth(memory: Sequence[int]) -> float | None:
    """By what part of itself memory grew from the first tenth of the readings to the last; ``None`` without readings.

    Medians are compared, since a full batch more or less is not growth.

    >>> growth([100, 100, 101, 102, 102, 103])
    0.03
    """
    if not memory:
        return None
    part = max(1, len(memory) // _PARTS)
    early, late = median(memory[:part]), median(memory[-part:])
    return late / early - 1 if early else None


def _peers_python(folder: Path, say: Say) -> Path:
    python = folder / ("Scripts/python.exe" if sys.platform == "win32" else "bin/python")
    if not python.exists():
        say(f"Installing {', '.join(_PEERS[:2])} into {folder} ...")
        venv.create(folder, with_pip=True)
        subprocess.run([str(python), "-m", "pip", "install", "--quiet", *_PEERS], check=True)  # noqa: S603
    return python
