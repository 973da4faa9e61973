"""The service that is fuzzed, and what went wrong with it."""

import contextlib
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

import psutil

from tests.service.process import Process, running
from tests.service.tiny_bundle import write_tiny

GROWTH_BYTES: Final = 32 << 20
"""More than allocators keep, less than a leak of one image in a hundred."""


@dataclass
class Findings:
    """What went wrong; no ``problems`` is good."""

    sent: int = 0
    outcomes: dict[str, int] = field(default_factory=dict)
    problems: list[str] = field(default_factory=list)
    memory: list[str] = field(default_factory=list)

    def count(self, outcome: str) -> None:
        self.outcomes[outcome] = self.outcomes.get(outcome, 0) + 1

    def problem(self, what: str, data: bytes) -> None:
        """Keep the input, so that it can be sent again."""
        path = Path(tempfile.mkdtemp(prefix="hal-fuzz-")) / "input"
        path.write_bytes(data)
        self.problems.append(f"{what}; the input is {path}")


@contextlib.contextmanager
def fuzz_target(**settings: str) -> Iterator[Process]:
    """A service with the tiny bundle as a process of its own."""
    with tempfile.TemporaryDirectory() as folder, running(write_tiny(Path(folder)).root, **settings) as served:
        yield served


def resident_bytes(served: Process) -> int:
    """Resident memory of the service's process."""
    return int(psutil.Process(served.process.pid).memory_info().rss)


def check_end(served: Process, early_bytes: int, findings: Findings) -> None:
    """The service still answers, has not grown, logged no unexpected error and stops cleanly."""
    growth = resident_bytes(served) - early_bytes
    findings.outcomes["grown KiB"] = growth >> 10
    if growth > GROWTH_BYTES:
        findings.problems.append(f"the service grew by {growth >> 20} MiB from {early_bytes >> 20} MiB")
    if served.answers("/health/ready") != 200:
        findings.problems.append("the service is no longer ready")
    unexpected = [line for line in served.lines() if line["message"] == "unexpected error"]
    findings.problems += [f"unexpected error: {line.get('exception', '')[-300:]}" for line in unexpected[:5]]
    if (code := served.stop()) != 0:
        findings.problems.append(f"the service ended with {code}")
