"""``hal bench service`` as a whole, on a tiny bundle and for a moment."""

import json
import signal
import sys
import uuid
from pathlib import Path
from statistics import fmean
from typing import Any

import pytest

from bench import Part, candidates, real, service
from bench.candidates import Candidate, running
from bench.load import Load, due_times
from bench.null_bundle import write_null_bundle
from bench.real import greedy_latencies
from bench.report import null_table, soak_table
from bench.requests import noise
from bench.service import Setup, bench_service, growth, soak
from contract.bundle import Bundle, load
from service.engine.onnx import OnnxEngine
from service.settings import Settings
from tests import stubborn
from tests.paths import ROOT
from tests.processes import command, marked
from tests.service.process import environment


@pytest.fixture
def at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """Without a second try and with little warm-up."""
    monkeypatch.setattr(candidates, "TRIES", 1)
    monkeypatch.setattr(service, "WARMUP_S", 0.2)
    monkeypatch.setattr(service, "RATES", (50.0,))
    monkeypatch.setattr(real, "WARMUP_S", 0.2)
    monkeypatch.setattr(real, "IDLE_S", 0.1)
    monkeypatch.setattr(real, "PAUSE_S", 0.02)


def test_the_null_bundle_costs_nothing_and_is_described_like_another(tmp_path: Path) -> None:
    bundle = load(ROOT / Settings().bundle)
    null = write_null_bundle(tmp_path, bundle)
    images = null.golden()["images"]
    logits, features = OnnxEngine.open(null, Settings()).run(images)
    assert (logits == images.reshape(len(images), -1)[:, :20]).all()
    assert features.shape == (len(images), bundle.description.feature_size)
    assert null.description.classes == bundle.description.classes


@pytest.mark.usefixtures("at_once")
def test_figures_tables_and_pictures_are_written(bundle: Bundle, tmp_path: Path) -> None:
    said: list[str] = []
    parts = [Part.NULL, Part.DEVICE]
    bench_service(bundle, tmp_path / "out", parts, peers=None, seconds=0.5, say=said.append)
    figures = json.loads((tmp_path / "out" / "service.json").read_text())
    assert {(row["candidate"], row["kind"]) for row in figures["null"]} == {
        (candidate, kind) for candidate in ("HAL", "plain FastAPI") for kind in ("form", "raw", "bulk")
    }
    for row in (*figures["null"], *figures["device"]):
        assert set(row["outcomes"]) == {"ok"}, row
        assert row["requests"] > 0
        assert row["server_busy_cores"] > 0
    *offered, fast, fed = figures["device"]
    assert [row["rate"] for row in (fast, fed)] == [None, None]
    assert 0.2 < fed["busy"] <= 1
    for row in (*offered, fast):
        # As the device's own formula has it, and what it takes to wake the thread that sleeps in its place.
        own_s = 0.0015 / row["batch"] + 0.0001
        assert own_s * row["images_s"] * 0.9 < row["busy"] <= 1
    assert "HAL, form, 1 image" in said[0]
    written = (tmp_path / "out" / "service.md").read_text()
    assert all(table in written for table in said)
    for part in parts:
        assert (tmp_path / "out" / f"service-{part}.svg").stat().st_size > 1000


@pytest.mark.usefixtures("at_once")
def test_the_real_bundle_is_measured_beside_a_loop_and_an_ideal_batcher(bundle: Bundle, tmp_path: Path) -> None:
    said: list[str] = []
    figures = bench_service(bundle, tmp_path, [Part.REAL], peers=None, seconds=0.4, say=said.append)["real"]
    for name in ("saturated", "busy", "plain"):
        assert figures[name]["outcomes"]["ok"] > 0
    assert figures["bare"]["one_image_after_a_pause_ms"] > 0
    assert figures["ideal_ms"] > 0
    assert figures["ideal_same_ms"] > 0
    assert "one image in a loop without HTTP" in said[0]


def test_a_free_device_takes_what_waits_up_to_the_limit() -> None:
    arrivals = [0.0, 0.1, 0.2, 0.3, 9.0]
    assert greedy_latencies(arrivals, lambda _: 1.0, 2) == pytest.approx([1.0, 1.9, 1.8, 2.7, 1.0])
    assert greedy_latencies(arrivals, lambda _: 1.0, 3) == pytest.approx([1.0, 1.9, 1.8, 1.7, 1.0])
    assert greedy_latencies(arrivals, lambda images: images, 3) == pytest.approx([1.0, 3.9, 3.8, 3.7, 1.0])


def test_one_by_one_it_is_the_queue_of_the_text_books() -> None:
    """M/D/1: the mean wait is load / (2 (1 - load)) service times (Pollaczek and Khinchine)."""
    load = 0.7
    arrivals = due_times(Load(rate=load, duration_s=200_000, warmup_s=0, seed=3))
    latencies = greedy_latencies(arrivals, lambda _: 1.0, 1)
    assert fmean(latencies) - 1 == pytest.approx(load / (2 * (1 - load)), rel=0.03)


def row(candidate: str, **figures: Any) -> dict[str, Any]:
    return {
        "candidate": candidate,
        "kind": "form",
        "images_s": 200.0,
        "latency_ms": {"p50": 1.0, "p99": 2.0},
        "outcomes": {"ok": 9, "500": 2, "connection lost": 1},
        "server_busy_cores": 0.5,
        "other_busy_cores": 0.25,
    } | figures


def test_a_candidate_that_does_not_start_is_told_and_the_others_are_compared() -> None:
    table = null_table([row("HAL"), {"candidate": "BentoML", "kind": "form", "note": "did not start: ..."}])
    assert "| HAL, form, 1 image | 200 | 1.00 | 1.0 | 2.0 | 2500 | 0.25 | 3 |" in table
    assert "| BentoML, form, 1 image | did not start |" in table


@pytest.mark.parametrize("name", ["HAL", "BentoML"])
def test_a_candidate_that_answers_nothing_is_told_and_the_others_are_compared(name: str) -> None:
    nothing = row(name, images_s=0.0, latency_ms={"p50": None, "p99": None}, outcomes={"timeout": 7})
    *_, last = null_table([*([] if name == "HAL" else [row("HAL")]), nothing]).splitlines()
    assert last == f"| {name}, form, 1 image | 0 | - | - | - | - | 0.25 | 7 |"


@pytest.mark.parametrize(
    ("memory", "grown"),
    [
        ([100] * 50, 0.0),
        ([*range(1000, 1100)], 1094.5 / 1004.5 - 1),
        ([100, 100, 100, 500, 100, 100, 100, 100, 100, 100, 100] * 5, 0.0),
        ([100, 103], 0.03),
        ([], None),
    ],
    ids=["steady", "a line", "a peak is no growth", "two readings", "none"],
)
def test_growth_is_from_the_first_tenth_to_the_last(memory: list[int], grown: float | None) -> None:
    assert growth(memory) == (None if grown is None else pytest.approx(grown))


def test_a_soak_reads_memory_while_all_are_answered(bundle: Bundle, tmp_path: Path) -> None:
    figures = soak(Setup(bundle, [noise()], tmp_path, None, 0.6), every_s=0.05)
    assert set(figures["outcomes"]) == {"ok"}
    assert len(figures["memory"]) >= 3
    assert all(20 << 20 < held < 1 << 30 for _, held in figures["memory"])
    assert "steady" in soak_table({**figures, "growth": 0.0199}, bundle)
    assert "+2.01%, grows" in soak_table({**figures, "growth": 0.0201}, bundle)


MADE = """
import sys
from bench.service import candidates
made = candidates.Candidate("made", (sys.executable, {peer!r}, "{{port}}"), {{"form": "/"}})
candidates.hal = candidates.plain = lambda *_: made
from hal import main
main()
"""
"""The command with a peer that leaves processes behind in sessions of their own."""


@pytest.mark.skipif(sys.platform != "linux", reason="processes are looked up in /proc")
@pytest.mark.parametrize(("made", "sent"), [(False, signal.SIGINT), (True, signal.SIGTERM)], ids=["HAL", "stubborn"])
def test_stopped_it_stops_what_it_measures(made: bool, sent: signal.Signals, bundle: Bundle, tmp_path: Path) -> None:
    arguments = ["bench", "service", "--bundle", bundle.root, "--part", "null", "--seconds", "60", "--out", tmp_path]
    program = ["-c", MADE.format(peer=str(stubborn.FILE))] if made else ["-m", "hal"]
    measured = stubborn.PROCESSES if made else 1
    with command(*program, *map(str, arguments), environment=environment()) as measuring:
        # The command, what it measures and the load generator.
        assert measuring.has_come_to(lambda: measuring.running() >= 2 + measured)
        said = measuring.stop(sent)
    assert measuring.process.returncode == 130, said
    assert said == f"hal bench service: stopped; parts that were done are in {tmp_path}\n"
    assert measuring.running() == 0, "by then all have ended"


@pytest.mark.skipif(sys.platform != "linux", reason="processes are looked up in /proc")
def test_the_next_candidate_is_measured_without_what_the_last_one_left_behind(tmp_path: Path) -> None:
    mark = uuid.uuid4().hex
    made = Candidate("made", (sys.executable, str(stubborn.FILE), "{port}"), {}, {"TEST_MARK": mark})
    with running(made, tmp_path / "log"):
        assert len(marked(mark)) == stubborn.PROCESSES
    assert marked(mark) == []
