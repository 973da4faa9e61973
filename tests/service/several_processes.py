"""A service of several processes: which they are, and what all of its workers say."""

import contextlib
import os
import re
import signal
from collections.abc import Iterator
from pathlib import Path

import httpx
from prometheus_client.parser import text_string_to_metric_families

from tests.service.live_server import until
from tests.service.process import Process, running

WORKERS = 2


@contextlib.contextmanager
def several(bundle: Path, *, wait: bool = True, **settings: str) -> Iterator[Process]:
    """The service with two HTTP workers, both of which answer; nothing of it is left when it has ended."""
    with running(bundle, wait=wait, HAL_HTTP_WORKERS=str(WORKERS), **settings) as served:
        if wait:
            until(lambda: all(worker_starts(served, place) for place in range(WORKERS)))
        yield served
        pids = all_pids(served)
    until(lambda: not any(alive(pid) for pid in pids))
    until(lambda: memory_of(served) == [])


def worker_starts(served: Process, place: int) -> int:
    """How many workers of a place have begun to answer, one after the other; the log says so."""
    return sum(
        line.get("process") == f"http-{place}" and line["message"].startswith("Application startup complete")
        for line in served.lines()
    )


def engine_pid(served: Process) -> int:
    """The present engine process."""
    return _pids(served, r"the engine process is (\d+)")[-1]


def worker_pid(served: Process, place: int) -> int:
    """The present worker of a place."""
    return _pids(served, rf"HTTP worker {place} is (\d+)")[-1]


def all_pids(served: Process) -> list[int]:
    """Every process of the service that there was, the parent left out."""
    return _pids(served, r"(?:the engine process|HTTP worker \d+) is (\d+)")


def _pids(served: Process, pattern: str) -> list[int]:
    return [int(found[1]) for line in served.lines() if (found := re.fullmatch(pattern, line["message"]))]


@contextlib.contextmanager
def only_worker(served: Process, place: int) -> Iterator[None]:
    """New connections find the worker of one place as long as the block lasts: the others stand still."""
    others = [worker_pid(served, other) for other in range(WORKERS) if other != place]
    for pid in others:
        os.kill(pid, signal.SIGSTOP)
    try:
        yield
    finally:
        for pid in others:
            os.kill(pid, signal.SIGCONT)


@contextlib.contextmanager
def connected_to(served: Process, place: int) -> Iterator[httpx.Client]:
    """A client that has a connection to the worker of one place; the service keeps it for 5 s between requests."""
    with served.http() as http:
        with only_worker(served, place):
            assert http.get("/health/live").status_code == 200
        yield http


def alive(pid: int) -> bool:
    """Whether a process runs; one that only waits for its parent to notice its end does not."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


def memory_of(served: Process) -> list[str]:
    """Shared memory that the service has."""
    return [path.name for path in Path("/dev/shm").glob(f"hal-{served.process.pid}-*")]  # noqa: S108


def readings(served: Process) -> dict[tuple[str, ...], float]:
    """What one of the workers answers to ``/metrics``, by name and values of labels."""
    with served.http() as http:
        text = http.get("/metrics").text
    return {
        (sample.name, *(value for _, value in sorted(sample.labels.items()))): sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
    }


def from_fresh_connections(served: Process, path: str, times: int = 12) -> list[httpx.Response]:
    """Answers to GETs that find any worker."""
    answers = []
    for _ in range(times):
        with served.http() as http:
            answers.append(http.get(path))
    return answers
