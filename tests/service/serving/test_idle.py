"""What a service costs that has nothing to do."""

import os
import sys
import time
from pathlib import Path

import pytest

from contract.bundle import Bundle
from tests.service.process import running

TICKS_A_SECOND = os.sysconf("SC_CLK_TCK")
IDLE_S = 2
MOST_CORES = 0.025


def cpu_seconds(pid: int) -> float:
    """What all threads of a process have computed so far, whatever else the machine is at."""
    after_the_name = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8").rpartition(")")[2].split()
    utime, stime = after_the_name[11:13]
    return (int(utime) + int(stime)) / TICKS_A_SECOND


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
def test_a_service_that_has_answered_neither_spins_nor_polls(bundle: Bundle, cell: bytes) -> None:
    with running(bundle.root, HAL_ENGINE_THREADS="2") as served, served.http() as http:
        for _ in range(3):
            assert http.post("/classify", files={"file": cell}).status_code == 200
        time.sleep(0.2)
        before, worked = time.monotonic(), cpu_seconds(served.process.pid)
        assert worked > 0
        time.sleep(IDLE_S)
        spent = cpu_seconds(served.process.pid) - worked
        assert spent / (time.monotonic() - before) < MOST_CORES
