"""The service under fire, and whether it grows."""

import contextlib
import signal
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

import numpy as np

from contract import bundle as bundles
from tests.service.live_server import until
from tests.service.process import Process, running
from tests.service.tiny_bundle import TinyNetwork, description_for

GROWTH_BYTES: Final = 32 << 20
"""More than allocators keep for their own reasons, less than a leak of one image in a hundred would take."""


@dataclass
class Findings:
    """What went wrong; empty is good."""

    sent: int = 0
    outcomes: dict[str, int] = field(default_factory=dict)
    problems: list[str] = field(default_factory=list)
    memory: list[str] = field(default_factory=list)
    """What the service held, now and then."""

    def count(self, outcome: str) -> None:
        self.outcomes[outcome] = self.outcomes.get(outcome, 0) + 1

    def problem(self, what: str, data: bytes) -> None:
        """Keep the input that did it, so that it can be sent again."""
        path = Path(tempfile.mkdtemp(prefix="hal-fuzz-")) / "input"
        path.write_bytes(data)
        self.problems.append(f"{what}; the input is {path}")


@contextlib.contextmanager
def under_fire(**settings: str) -> Iterator["Target"]:
    """A service with the tiny bundle as a process of its own."""
    network = TinyNetwork()
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder) / "tiny"
        root.mkdir()
        (root / "model.onnx").write_bytes(network.graph())
        images = np.stack([network.cell(index) for index in (0, 7, 11)])
        np.savez(root / "golden.npz", images=images, logits_float32=network.logits(images))
        bundles.write(root, description_for(root))
        memory_file = Path(folder) / "memory"
        with running(
            root, program=("-m", "tests.fuzz.told_memory"), MEMORY_FILE=str(memory_file), **settings
        ) as served:
            yield Target(served.process, served.greeting, served.log, memory_file)


@dataclass(frozen=True)
class Target(Process):
    """A service under fire that can tell what its allocator has given out."""

    memory_file: Path

    def resident_bytes(self) -> int:
        """Memory of its process."""
        status = Path(f"/proc/{self.process.pid}/status").read_text()
        line = next(line for line in status.splitlines() if line.startswith("VmRSS"))
        return 1024 * int(line.split()[1])

    def bytes_in_use(self) -> int:
        """What its allocator has given out."""
        self.memory_file.unlink(missing_ok=True)
        self.send(signal.SIGUSR1)
        until(self.memory_file.exists)
        return int(self.memory_file.read_text())

    def memory(self) -> str:
        """Both, for people."""
        return f"{self.resident_bytes() >> 20} MiB resident, {self.bytes_in_use() >> 20} MiB in use"


def check_end(served: Target, early_bytes: int, findings: Findings) -> None:
    """It still answers, has not grown, logged no error of its own and stops cleanly."""
    if (growth := served.resident_bytes() - early_bytes) > GROWTH_BYTES:
        findings.problems.append(f"the service grew by {growth >> 20} MiB from {early_bytes >> 20} MiB")
    findings.outcomes["grown KiB"] = growth >> 10
    if served.answers("/health/ready") != 200:
        findings.problems.append("the service is not ready any more")
    unexpected = [line for line in served.lines() if line["message"] == "unexpected error"]
    findings.problems += [f"unexpected error: {line.get('exception', '')[-300:]}" for line in unexpected[:5]]
    if (code := served.stop()) != 0:
        findings.problems.append(f"the service ended with {code}")
