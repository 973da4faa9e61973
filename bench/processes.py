"""The processes that a measurement starts: what they cost, how they end, and functions called in one of their own."""

import contextlib
import os
import pickle
import platform
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator, Sequence
from importlib import metadata
from pathlib import Path
from types import FrameType
from typing import Any, Final, ParamSpec, TypeVar

import psutil

_LIBRARIES: Final = ("fastapi", "starlette", "uvicorn", "uvloop", "onnxruntime", "numpy", "pillow", "simplejpeg")
_PATIENCE_S: Final = 10.0
_GONE: Final = (psutil.NoSuchProcess, psutil.AccessDenied)
Parameters = ParamSpec("Parameters")
Result = TypeVar("Result")


def environment(**variables: str) -> dict[str, str]:
    """This process's environment without settings of a service, and with these variables."""
    inherited = {name: value for name, value in os.environ.items() if not name.startswith(("HAL_", "PORT"))}
    return inherited | {"ORT_DISABLE_TELEMETRY": "1"} | variables


def apart(function: Callable[Parameters, Result], *arguments: Parameters.args, **options: Parameters.kwargs) -> Result:
    """What a function of a module returns when it is called in a new Python process.

    It shares neither the interpreter's lock nor memory with this one, and Ctrl-C does not reach it.

    Raises:
        subprocess.CalledProcessError: the function raised; its traceback is on standard error.
    """
    done = subprocess.run(
        [sys.executable, "-m", "bench.processes"],
        input=pickle.dumps((function, arguments, options)),
        stdout=subprocess.PIPE,
        env=environment(),
        start_new_session=True,
        check=True,
    )
    result: Result = pickle.loads(done.stdout)  # noqa: S301 - written by this very file
    return result


@contextlib.contextmanager
def stoppable() -> Iterator[None]:
    """SIGTERM and Ctrl-C raise :class:`KeyboardInterrupt` in the block, once; what it has started ends with the block.

    A signal that is ignored stays ignored: a shell lets its background commands ignore Ctrl-C.
    """

    def stop(_number: int, _frame: FrameType | None) -> None:
        for number in heeded:
            signal.signal(number, signal.SIG_IGN)
        raise KeyboardInterrupt

    signals = (signal.SIGTERM, signal.SIGINT)
    heeded = {number: before for number in signals if (before := signal.getsignal(number)) is not signal.SIG_IGN}
    own = psutil.Process()
    earlier = own.children()
    for number in heeded:
        signal.signal(number, stop)
    try:
        yield
    finally:
        for child in own.children():
            if child not in earlier:
                end(child, patience_s=0)
        for number, before in heeded.items():
            signal.signal(number, before)


def family(process: psutil.Process) -> list[psutil.Process]:
    try:
        return [process, *process.children(recursive=True)]
    except _GONE:
        return [process]


def end(process: psutil.Process, patience_s: float = _PATIENCE_S) -> None:
    """Ask a process to end; kill it and its descendants when patience is over."""
    members = family(process)
    with contextlib.suppress(*_GONE):
        process.terminate()
    psutil.wait_procs([process], patience_s)
    for member in members:
        with contextlib.suppress(*_GONE):
            member.kill()
    psutil.wait_procs(members, _PATIENCE_S)


def cpu_s(processes: Sequence[psutil.Process]) -> float:
    return _total(processes, lambda process: sum(process.cpu_times()[:2]))


def memory_bytes(processes: Sequence[psutil.Process]) -> int:
    """Memory of these processes, shared pages once where the system tells (Linux), else not at all."""

    def held(process: psutil.Process) -> float:
        memory = process.memory_full_info()
        return float(getattr(memory, "pss", memory.uss))

    return int(_total(processes, held))


def machine_cpu_s() -> float:
    """Seconds of processor time that the machine has spent on work."""
    spent = psutil.cpu_times()._asdict()
    return float(sum(spent[kind] for kind in ("user", "nice", "system", "irq", "softirq", "steal") if kind in spent))


def cores() -> int:
    """Cores that this process may run on."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def machine() -> dict[str, Any]:
    """Processor, cores, interpreter and libraries, without which figures mean nothing."""
    cpuinfo = Path("/proc/cpuinfo")
    lines = cpuinfo.read_text().splitlines() if cpuinfo.exists() else []
    models = (line.partition(":")[2].strip() for line in lines if line.startswith("model name"))
    installed = {each.name.lower(): each.version for each in metadata.distributions()}
    return {
        "processor": next(models, platform.machine()),
        "cores": cores(),
        "system": platform.system(),
        "python": platform.python_version(),
        "libraries": {name: installed.get(name) for name in _LIBRARIES},
        "load_average": psutil.getloadavg()[0],
    }


def nvidia_smi(query: str) -> list[str]:
    """What NVIDIA's tool tells of the first GPU; nothing where there is none."""
    command = ["nvidia-smi", "--id=0", f"--query-gpu={query}", "--format=csv,noheader,nounits"]
    try:
        said = subprocess.run(command, capture_output=True, text=True, timeout=30, check=True)  # noqa: S603
    except (OSError, subprocess.SubprocessError):
        return []
    return [field.strip() for field in said.stdout.split(",")]


def _total(processes: Sequence[psutil.Process], figure: Callable[[psutil.Process], float]) -> float:
    total = 0.0
    for process in processes:
        with contextlib.suppress(*_GONE):
            total += figure(process)
    return total


def _answer() -> None:
    """The other side of :func:`apart`; what the function prints goes to standard error."""
    answers: Any = sys.stdout.buffer
    sys.stdout = sys.stderr
    # Who asked may have been stopped: before it has told what to do, or before it takes the answer.
    try:
        function, arguments, options = pickle.load(sys.stdin.buffer)  # noqa: S301 - written by this very file
    except (EOFError, pickle.UnpicklingError):
        return
    answer = pickle.dumps(function(*arguments, **options))
    with contextlib.suppress(BrokenPipeError):
        answers.write(answer)
        answers.flush()


if __name__ == "__main__":
    _answer()
