"""Starting and stopping what is compared, each in processes of its own, and asking the system what they cost."""

import contextlib
import os
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from contract.bundle import Bundle
from contract.classes import CLASS_NAMES
from contract.termination import descendants, nothing_left_running

APPS: Final = Path(__file__).parent / "apps"
_START_S: Final = 120
_STOP_S: Final = 15
_TICKS: Final = os.sysconf("SC_CLK_TCK") if hasattr(os, "sysconf") else 100


@dataclass(frozen=True, slots=True)
class Candidate:
    """One way of serving the graph.

    Attributes:
        name: as it stands in the tables.
        command: starts it; ``{port}`` stands for the port.
        environment: added to this process's.
        paths: where a request of each kind goes: ``form``, ``raw`` and ``bulk``; kinds that it has not are left out.
        ready: answers 200 when it can be asked.
    """

    name: str
    command: tuple[str, ...]
    paths: Mapping[str, str]
    environment: Mapping[str, str] = field(default_factory=dict)
    ready: str = "/health/ready"


@dataclass(frozen=True, slots=True)
class Running:
    """A candidate that answers."""

    candidate: Candidate
    port: int
    process: subprocess.Popen[bytes]

    def cpu_s(self) -> float | None:
        """Seconds of processor time of all its processes so far; ``None`` where there is no ``/proc``."""
        if not Path("/proc/self/stat").exists():
            return None
        return sum(map(_cpu_s, self._processes()))

    def memory_bytes(self) -> int | None:
        """Memory of all its processes, shared pages once; ``None`` where the system does not tell."""
        found = [held for held in map(_memory_bytes, self._processes()) if held is not None]
        return sum(found) if found else None

    def _processes(self) -> list[int]:
        return [self.process.pid, *descendants(self.process.pid)]


def hal(bundle: Bundle, name: str = "HAL", **settings: str) -> Candidate:
    """This service on ``bundle``; ``settings`` by variable, such as ``HAL_MAX_BATCH="8"``."""
    return Candidate(
        name,
        (sys.executable, "-m", "service", "--port", "{port}"),
        {"form": "/classify", "raw": "/classify", "bulk": "/classify"},
        {"HAL_BUNDLE": str(bundle.root.resolve()), **settings},
    )


def plain(bundle: Bundle) -> Candidate:
    """FastAPI and ONNX Runtime as one writes it first; see ``apps/plain.py``."""
    command = (sys.executable, str(APPS / "plain.py"), _model(bundle), "{port}", ",".join(CLASS_NAMES))
    return Candidate("plain FastAPI", command, {kind: f"/classify{path}" for kind, path in _PLAIN_PATHS.items()})


def litserve(model: Bundle | str, python: Path, max_batch: int = 1) -> Candidate:
    """LitServe, its batches waiting 5 ms; ``model`` may be a simulated device ``A+Bn``."""
    source = model if isinstance(model, str) else _model(model)
    command = (str(python), str(APPS / "lit.py"), source, "{port}", ",".join(CLASS_NAMES), str(max_batch))
    return Candidate("LitServe" + (f", batches of {max_batch}" if max_batch > 1 else ""), command, _FORM_ONLY)


def bentoml(bundle: Bundle, python: Path) -> Candidate:
    """BentoML with one worker."""
    command = (str(python), "-m", "bentoml", "serve", "bento:Classify", "--working-dir", str(APPS), "--port", "{port}")
    environment = {
        "HAL_BENCH_MODEL": _model(bundle),
        "HAL_BENCH_CLASSES": ",".join(CLASS_NAMES),
        "BENTOML_DO_NOT_TRACK": "True",
    }
    return Candidate("BentoML", (*command, "--host", "127.0.0.1"), _FORM_ONLY, environment, "/readyz")


_PLAIN_PATHS: Final = {"form": "", "raw": "-raw", "bulk": "-many"}
_FORM_ONLY: Final = {"form": "/classify"}


def _model(bundle: Bundle) -> str:
    return str(bundle.path(bundle.file()).resolve())


class CandidateError(Exception):
    """A candidate did not start; the message has the end of what it said."""


@contextlib.contextmanager
def running(candidate: Candidate, log: Path) -> Iterator[Running]:
    """Start ``candidate`` on a free port, wait until it answers, stop it and all that it has started at the end.

    Raises:
        CandidateError: it did not answer within two minutes.
    """
    port = free_port()
    command = [part.format(port=port) if part == "{port}" else part for part in candidate.command]
    environment = {name: value for name, value in os.environ.items() if not name.startswith(("HAL_", "PORT"))}
    environment |= candidate.environment
    with nothing_left_running(), log.open("wb") as output:
        process = subprocess.Popen(  # noqa: S603 - our own command
            command, env=environment, stdout=output, stderr=output, stdin=subprocess.DEVNULL, start_new_session=True
        )
        try:
            _await_ready(process, f"http://127.0.0.1:{port}{candidate.ready}", candidate.name, log)
            yield Running(candidate, port, process)
        finally:
            _stop(process)


def _await_ready(process: subprocess.Popen[bytes], url: str, name: str, log: Path) -> None:
    give_up = time.monotonic() + _START_S
    while process.poll() is None and time.monotonic() < give_up:
        try:
            with urllib.request.urlopen(url, timeout=5) as response:  # noqa: S310 - always http
                if response.status == 200:
                    return
        except (urllib.error.URLError, OSError):
            time.sleep(0.1)
    raise CandidateError(f"{name} did not start: {log.read_text(errors='replace')[-2000:]}")


def _stop(process: subprocess.Popen[bytes]) -> None:
    process.terminate()
    with contextlib.suppress(subprocess.TimeoutExpired):
        process.wait(_STOP_S)
    with contextlib.suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
    process.wait()


def free_port() -> int:
    """A port that nothing listens on now."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        return int(listener.getsockname()[1])


def _cpu_s(process: int) -> float:
    try:
        fields = Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return 0.0
    return (int(fields[11]) + int(fields[12])) / _TICKS


def _memory_bytes(process: int) -> int | None:
    try:
        lines = Path(f"/proc/{process}/smaps_rollup").read_text().splitlines()
    except OSError:
        return None
    return next((1024 * int(line.split()[1]) for line in lines if line.startswith("Pss:")), None)


def machine_cpu_s() -> float:
    """Seconds of processor time that the whole machine has spent on work so far; 0 where there is no ``/proc``."""
    try:
        fields = Path("/proc/stat").read_text().split("\n", 1)[0].split()[1:]
    except OSError:
        return 0.0
    user, nice, system, _, _, irq, softirq, *stolen = map(int, fields)
    return (user + nice + system + irq + softirq + sum(stolen[:1])) / _TICKS
