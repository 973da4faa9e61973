"""``hal bench service`` as a whole, on a tiny bundle and for a moment."""

import json
import signal
import sys
import uuid
from pathlib import Path

import pytest

from bench.service import device, real, workload
from bench.service.candidates import Candidate, running
from bench.service.null_bundle import write_null_bundle
from bench.service.parts import Part
from bench.service.report import null_table
from bench.service.run import bench_service
from bench.service.workload import Workload, form
from contract.bundle import Bundle
from contract.bundle import load as load_bundle
from service.engine.onnx import EngineOptions, OnnxEngine
from service.http.forms import files_of
from tests import stubborn
from tests.processes import command, marked
from tests.service.process import environment

pytestmark = pytest.mark.serial


def test_the_null_bundle_is_verified_and_served_like_any_other(tmp_path: Path) -> None:
    write_null_bundle(tmp_path)
    bundle = load_bundle(tmp_path)
    images = bundle.golden()["images"]
    logits = OnnxEngine.open(bundle, EngineOptions()).run(images)
    assert (logits == images.reshape(len(images), -1)[:, :20]).all()


def test_forms_hold_the_images(tmp_path: Path) -> None:
    (bulk,) = Workload((b"one", b"two")).write(tmp_path, "bulk", "/classify")
    head, _, body = Path(bulk).read_bytes().partition(b"\r\n\r\n")
    boundary = head.partition(b"boundary=")[2].split(b"\r\n")[0]
    assert files_of(body, boundary, 64) == [b"one", b"two"] * 32
    assert f"Content-Length: {len(body)}".encode() in head
    assert form([b"one"]).count(b"one") == 1


def test_figures_tables_and_pictures_are_written(
    bundle: Bundle, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("matplotlib")
    monkeypatch.setattr(workload, "_TRIES", 1)
    monkeypatch.setattr(workload, "_WARMUP_S", 0.2)
    monkeypatch.setattr(device, "RATES", (50.0,))
    said: list[str] = []
    parts = [Part.NULL, Part.DEVICE]
    bench_service(bundle, tmp_path / "out", parts, peers=None, seconds=1.0, say=said.append)
    figures = json.loads((tmp_path / "out" / "service.json").read_text())
    assert {(row["candidate"], row["kind"]) for row in figures["null"]} == {
        (candidate, kind) for candidate in ("HAL", "plain FastAPI") for kind in ("form", "raw", "bulk")
    }
    for row in figures["null"]:
        assert row["statuses"] == {"200": row["requests"]}, row
        assert row["requests"] > 0
    *offered, fast, fed = figures["device"]
    assert [row["rate"] for row in (fast, fed)] == [None, None]
    assert 0.2 < fed["busy"] <= 1
    for row in (*offered, fast):
        # As the device's own formula has it, and what it takes to wake the thread that sleeps in its place.
        own_s = 0.0015 / row["batch"] + 0.0001
        assert own_s * row.get("images_per_second", row["per_second"]) * 0.9 < row["busy"] <= 1
    assert "HAL, form, 1 image" in said[0]
    written = (tmp_path / "out" / "service.md").read_text()
    assert all(table in written for table in said)
    for part in parts:
        assert (tmp_path / "out" / f"service-{part}.svg").stat().st_size > 1000


def test_the_real_bundle_is_measured_beside_a_loop_and_an_ideal_batcher(
    bundle: Bundle, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(workload, "_TRIES", 1)
    monkeypatch.setattr(workload, "_WARMUP_S", 0.2)
    monkeypatch.setattr(real, "WARMUP_S", 0.2)
    monkeypatch.setattr(real, "IDLE_S", 0.2)
    said: list[str] = []
    figures = bench_service(bundle, tmp_path, [Part.REAL], peers=None, seconds=0.5, say=said.append)["real"]
    for load in ("idle", "saturated", "busy", "plain"):
        assert figures[load]["statuses"] == {"200": figures[load]["requests"]}
    assert figures["bare"]["one_image_after_a_pause_ms"] > 0
    assert figures["ideal_ms"] > 0
    assert figures["ideal_same_ms"] > 0
    assert "one image in a loop without HTTP" in said[0]


def test_a_candidate_that_does_not_start_is_told_and_the_others_are_compared() -> None:
    row = {
        "candidate": "HAL",
        "kind": "form",
        "images_per_second": 200.0,
        "latency_ms": {"p50": 1.0, "p99": 2.0},
        "statuses": {"200": 9, "500": 2},
        "broken": 1,
    }
    table = null_table([row, {"candidate": "BentoML", "kind": "form", "note": "did not start: ..."}])
    assert "| HAL, form, 1 image | 200 | 1.00 | 1.0 | 2.0 |  |  | 3 |" in table
    assert "| BentoML, form, 1 image | did not start |" in table


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


@pytest.mark.parametrize("name", ["HAL", "BentoML"])
def test_a_candidate_that_answers_nothing_is_told_and_the_others_are_compared(name: str) -> None:
    answered = {
        "candidate": "HAL",
        "kind": "form",
        "images_per_second": 200.0,
        "latency_ms": {"p50": 1.0, "p99": 2.0},
        "statuses": {"200": 9},
        "broken": 0,
    }
    nothing = answered | {
        "candidate": name,
        "images_per_second": 0.0,
        "latency_ms": {"p50": None, "p99": None},
        "statuses": {},
        "broken": 7,
        "server_busy_cores": 0.5,
        "other_busy_cores": 0.25,
    }
    others = [] if name == "HAL" else [answered]
    *_, row = null_table([*others, nothing]).splitlines()
    none = "none answered"
    assert row == f"| {name}, form, 1 image | 0 | {none} | {none} | {none} | {none} | 0.25 | 7 |"
