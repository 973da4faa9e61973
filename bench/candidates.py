"""What is compared: ways of serving the same graph, each in processes of its own."""

import contextlib
import os
import socket
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Final

import psutil

from bench import BenchError
from bench.load import Load
from bench.processes import apart, cpu_s, end, environment, family, machine_cpu_s, memory_bytes
from bench.requests import Request, Target, fetch
from bench.statistics import measure
from contract.bundle import Bundle
from contract.classes import CLASS_NAMES

APPS: Final = Path(__file__).parent / "apps"
_START_S: Final = 120
_FORM_ONLY: Final = {"form": "/classify"}
TRIES: Final = 3
_UNDISTURBED: Final = 0.1
"""Cores that others may use while a load is measured."""


class CandidateError(BenchError):
    """A candidate did not start; the message has the end of what it printed."""


@dataclass(frozen=True, slots=True)
class Candidate:
    """One way of serving the graph.

    Attributes:
        command: starts it; ``{port}`` stands for the port.
        paths: where requests of each kind go: ``form``, ``raw`` and ``bulk``, as far as it takes them.
        ready: path that answers 200 once it serves.
    """

    name: str
    command: tuple[str, ...]
    paths: Mapping[str, str]
    variables: Mapping[str, str] = field(default_factory=dict)
    ready: str = "/health/ready"


@dataclass(frozen=True, slots=True)
class Running:
    candidate: Candidate
    target: Target
    process: psutil.Process

    def cpu_s(self) -> float:
        return cpu_s(family(self.process))

    def memory_bytes(self) -> int:
        return memory_bytes(family(self.process))


def hal(bundle: Bundle, **settings: str) -> Candidate:
    """HAL on ``bundle``; ``settings`` by variable, such as ``HAL_MAX_BATCH="8"``."""
    paths = dict.fromkeys(("form", "raw", "bulk"), "/classify")
    return Candidate("HAL", (sys.executable, "-m", "service", "--port", "{port}"), paths, _settings(bundle, settings))


def simulated(bundle: Bundle, times: str, max_batch: int) -> Candidate:
    """HAL before a device that takes ``A + B * n`` ms for ``n`` images, written ``A+Bn``."""
    command = (sys.executable, str(APPS / "simulated.py"), times, "--port", "{port}", "--max-batch", str(max_batch))
    return Candidate("HAL", command, {"raw": "/classify", "bulk": "/classify"}, _settings(bundle, {}))


def plain(bundle: Bundle) -> Candidate:
    """FastAPI and ONNX Runtime as one writes it first; see ``apps/plain.py``."""
    command = (sys.executable, str(APPS / "plain.py"), _model(bundle), "{port}", ",".join(CLASS_NAMES))
    paths = {"form": "/classify", "raw": "/classify-raw", "bulk": "/classify-many"}
    return Candidate("plain FastAPI", command, paths)


def litserve(model: Bundle | str, python: Path, max_batch: int = 1) -> Candidate:
    """LitServe, its batches waiting 5 ms; ``model`` may be a simulated device ``A+Bn``."""
    source = model if isinstance(model, str) else _model(model)
    command = (str(python), str(APPS / "lit.py"), source, "{port}", ",".join(CLASS_NAMES), str(max_batch))
    return Candidate("LitServe" + (f", batches of {max_batch}" if max_batch > 1 else ""), command, _FORM_ONLY)


def bentoml(bundle: Bundle, python: Path) -> Candidate:
    """BentoML with one worker."""
    command = (str(python), "-m", "bentoml", "serve", "bento:Classify", "--working-dir", str(APPS), "--port", "{port}")
    variables = {
        "HAL_BENCH_MODEL": _model(bundle),
        "HAL_BENCH_CLASSES": ",".join(CLASS_NAMES),
        "BENTOML_DO_NOT_TRACK": "True",
    }
    return Candidate("BentoML", (*command, "--host", "127.0.0.1"), _FORM_ONLY, variables, "/readyz")


def _settings(bundle: Bundle, settings: Mapping[str, str]) -> dict[str, str]:
    return {"HAL_BUNDLE": str(bundle.root.resolve()), **settings}


def _model(bundle: Bundle) -> str:
    return str(bundle.path(bundle.file()).resolve())


@contextlib.contextmanager
def running(candidate: Candidate, log: Path) -> Iterator[Running]:
    """Start a candidate on a free port, wait until it answers, and end all its processes with the block.

    Raises CandidateError: it did not answer within two minutes.
    """
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
    target = Target(f"http://127.0.0.1:{port}")
    command = [str(port) if part == "{port}" else part for part in candidate.command]
    with log.open("wb") as output:
        started = subprocess.Popen(  # noqa: S603 - our own command
            command,
            env=environment(**candidate.variables),
            stdout=output,
            stderr=output,
            stdin=subprocess.DEVNULL,
            start_new_session=True,
        )
        process = psutil.Process(started.pid)
        try:
            _await_ready(started, target, candidate, log)
            yield Running(candidate, target, process)
        finally:
            end(process)


def _await_ready(process: "subprocess.Popen[bytes]", target: Target, candidate: Candidate, log: Path) -> None:
    give_up = time.monotonic() + _START_S
    while process.poll() is None and time.monotonic() < give_up:
        with contextlib.suppress(OSError):
            if fetch(target, candidate.ready)[0] == 200:
                return
        time.sleep(0.1)
    raise CandidateError(f"{candidate.name} did not start: {log.read_text(errors='replace')[-2000:]}")


def offer(running: Running, requests: Sequence[Request], load: Load, most_tries: int | None = None) -> dict[str, Any]:
    """Put a load on a candidate from a process of its own; see :class:`bench.statistics.Figures`.

    Added are ``server_busy_cores`` and ``other_busy_cores``: what neither the candidate nor the generator used, which
    must be near 0 for the figures to mean anything. If others kept the machine busy, the load is offered again, at most
    ``most_tries`` times in all, and the least disturbed figures count.
    """
    tries: list[dict[str, Any]] = []
    while len(tries) < (most_tries or TRIES):
        tries.append(_offer(running, requests, load))
        if tries[-1]["other_busy_cores"] <= _UNDISTURBED:
            break
    return min(tries, key=lambda figures: float(figures["other_busy_cores"]))


def _offer(running: Running, requests: Sequence[Request], load: Load) -> dict[str, Any]:
    def spent() -> tuple[float, float, float, float]:
        ended = os.times()
        return time.monotonic(), running.cpu_s(), machine_cpu_s(), ended.children_user + ended.children_system

    before = spent()
    figures = apart(measure, running.target, requests, load)
    seconds, server, machine, generator = (now - then for now, then in zip(spent(), before, strict=True))
    return {
        **asdict(figures),
        "server_busy_cores": server / (load.duration_s + load.warmup_s),
        "other_busy_cores": max(machine - server - generator, 0.0) / seconds,
    }
