import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from bench.service.candidates import Candidate, Running
from bench.service.report import soak_table
from bench.service.run import Part, bench_service
from bench.service.soak import growth, soak
from bench.service.workload import Workload
from contract.bundle import Bundle
from tests.service.tiny_bundle import TinyNetwork, encoded

pytestmark = pytest.mark.serial


@pytest.mark.parametrize(
    ("memory", "grown"),
    [
        ([100] * 50, 0.0),
        ([*range(1000, 1100)], 1094.5 / 1004.5 - 1),
        ([100, 100, 100, 500, 100, 100, 100, 100, 100, 100, 100] * 5, 0.0),
        ([100, 103], 0.03),
    ],
    ids=["steady", "a line", "a peak is no growth", "two readings"],
)
def test_growth_is_from_the_first_tenth_to_the_last(memory: list[int], grown: float) -> None:
    assert growth(memory) == pytest.approx(grown)


def test_without_readings_there_is_no_verdict() -> None:
    assert growth([]) is None


LEAK = """
import subprocess, sys, time
child = subprocess.Popen([sys.executable, "-c", "held = bytearray(b'x' * (64 << 20)); print('held'); input()"],
                         stdin=subprocess.PIPE, stdout=subprocess.PIPE)
child.stdout.readline()
print("held", flush=True)
input()
child.communicate(b"\\n")
"""


def test_memory_of_children_counts() -> None:
    with subprocess.Popen([sys.executable, "-c", LEAK], stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        process.stdout.readline()
        held = Running(Candidate("leak", (), {}), 0, process).memory_bytes()
        process.communicate(b"\n")
    if held is None:
        pytest.skip("this system does not tell the memory of a process")
    assert 64 << 20 < held < 128 << 20


def test_a_soak_reads_memory_while_all_are_answered(bundle: Bundle, network: TinyNetwork, tmp_path: Path) -> None:
    workload = Workload((encoded(network.cell(1), "JPEG"),))
    figures = soak(bundle, workload, tmp_path, 1.0, every_s=0.05)
    assert figures["statuses"] == {"200": figures["requests"]}
    assert len(figures["memory"]) >= 5
    assert all(20 << 20 < held < 1 << 30 for _, held in figures["memory"])
    assert [at for at, _ in figures["memory"]] == sorted(at for at, _ in figures["memory"])
    assert "steady" in soak_table({**figures, "growth": 0.0199}, bundle)
    assert "+2.01%, grows" in soak_table({**figures, "growth": 0.0201}, bundle)


def test_it_is_a_part_of_the_command(bundle: Bundle, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("matplotlib")
    figures: dict[str, Any] = {
        "seconds": 1.0, "memory": [(1.0, 100 << 20), (2.0, 101 << 20)], "growth": 0.01, "per_second": 9.0,
        "statuses": {"200": 9}, "broken": 0,
    }  # fmt: skip
    monkeypatch.setattr("bench.service.run.soak", lambda *_: figures)
    said: list[str] = []
    bench_service(bundle, tmp_path, [Part.SOAK], peers=None, seconds=1, say=said.append)
    assert "| memory at first, at last, at most, MiB | 100.0 101.0 101.0 |" in said[0]
    assert "tiny 1.2.3 (float32)" in said[0]
    assert (tmp_path / "service-soak.svg").stat().st_size > 1000
