"""``hal classify`` again on one file: what is missing is done, nothing twice, and never two models in one file."""

import errno
import fcntl
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from contract.bundle import Bundle
from contract.classes import CLASS_NAMES
from tests.client.faulty_road import FaultyRoad
from tests.service.jobs.result_files import FORMATS, Classify, class_of, rows
from tests.service.live_server import serving, until
from tests.service.process import environment
from tests.service.tiny_bundle import TinyNetwork, encoded


@pytest.mark.parametrize("kind", FORMATS)
def test_a_second_run_does_only_what_is_new_changed_or_was_refused(
    classify: Classify, folder: Path, tmp_path: Path, network: TinyNetwork, kind: str
) -> None:
    out = tmp_path / f"r.{kind}"
    (folder / "late.png").write_bytes(encoded(network.cell(3))[:-100])
    assert classify(folder, "--out", out).exit_code == 2
    before = out.read_bytes()
    (folder / "late.png").write_bytes(encoded(network.cell(3)))
    (folder / "new.png").write_bytes(encoded(network.cell(4)))
    (folder / "slide 0" / "02.PNG").write_bytes(encoded(network.cell(7)))
    os.utime(folder / "slide 0" / "04.PNG", ns=(1, 1))
    found = classify(folder, "--out", out)
    assert found.exit_code == 0, found.output
    assert "3 classified, 19 were there already, 0 refused" in found.stderr
    by_name = {Path(row["path"]).name: class_of(row) for row in rows(out)}
    assert len(by_name) == len(rows(out)) == 22
    assert [by_name[name] for name in ("late.png", "new.png", "02.PNG")] == [CLASS_NAMES[i] for i in (3, 4, 7)]
    assert before != out.read_bytes()


def test_a_run_with_nothing_to_do_needs_no_service_and_changes_nothing(
    classify: Classify, folder: Path, tmp_path: Path
) -> None:
    out = tmp_path / "r.csv"
    classify(folder, "--out", out)
    before = (out.read_bytes(), out.stat().st_mtime_ns)
    found = classify(folder, "--out", out, "--url", "http://127.0.0.1:9")
    assert found.exit_code == 0, found.output
    assert "0 classified, 20 were there already" in found.stderr
    assert (out.read_bytes(), out.stat().st_mtime_ns) == before


def test_another_folder_is_added(classify: Classify, folder: Path, tmp_path: Path) -> None:
    classify(folder / "slide 0", "--out", tmp_path / "r.jsonl")
    classify(folder / "slide 1", "--out", tmp_path / "r.jsonl")
    assert len(rows(tmp_path / "r.jsonl")) == 20


def test_killed_in_the_middle_and_run_again_gives_the_file_of_an_uninterrupted_run(
    classify: Classify, folder: Path, tmp_path: Path, bundle: Bundle
) -> None:
    """A pipe that is named among the images holds the run up in the middle until it is killed."""
    out, whole = tmp_path / "r.parquet", tmp_path / "whole.parquet"
    os.mkfifo(tmp_path / "pipe")
    named = [str(folder / "slide 0"), str(tmp_path / "pipe"), str(folder / "slide 1")]
    arguments = [sys.executable, "-m", "hal", "classify", *named, "--out", str(out), "--max-batch", "1"]
    process = subprocess.Popen(arguments, env=environment(HAL_BUNDLE=str(bundle.root)), stderr=subprocess.PIPE)
    journal = tmp_path / "r.parquet.journal"
    try:
        until(lambda: journal.exists() and journal.read_bytes().count(b"\n") == 8)
        process.send_signal(signal.SIGKILL)
    finally:
        process.kill()
        process.communicate()
    assert not out.exists()
    with journal.open("a") as stream:
        stream.write('{"path": "cut o')
    found = classify(folder, "--out", out)
    assert found.exit_code == 0, found.output
    assert "12 classified, 8 were there already" in found.stderr
    assert classify(folder, "--out", whole).exit_code == 0
    assert rows(out) == rows(whole)
    assert [row["path"] for row in rows(out)] == sorted(row["path"] for row in rows(out))


def test_killed_between_the_journal_and_the_file_is_made_good(classify: Classify, folder: Path, tmp_path: Path) -> None:
    out, journal = tmp_path / "r.jsonl", tmp_path / "r.jsonl.journal"
    classify(folder / "slide 0", "--out", out)
    before, old = out.read_bytes(), out.stat().st_mtime_ns
    classify(folder, "--out", out)
    out.write_bytes(before)
    os.utime(out, ns=(old, old))
    assert journal.stat().st_mtime_ns > old
    assert "0 classified, 20 were there already" in classify(folder, "--out", out).stderr
    assert len(rows(out)) == 20


@pytest.mark.parametrize("kind", FORMATS)
def test_results_of_another_model_are_not_mixed(
    classify: Classify, folder: Path, tmp_path: Path, other: Bundle, kind: str
) -> None:
    out = tmp_path / f"r.{kind}"
    classify(folder / "slide 0", "--out", out)
    before = out.read_bytes()
    found = classify(folder, "--out", out, HAL_BUNDLE=str(other.root))
    assert found.exit_code == 1
    assert "calibration t-1 there, t-2 now" in found.stderr
    assert "choose another --out" in found.stderr
    assert out.read_bytes() == before


def test_a_model_that_changes_on_the_way_ends_the_work_and_keeps_what_is_done(
    classify: Classify, folder: Path, tmp_path: Path, bundle: Bundle, other: Bundle, road: FaultyRoad
) -> None:
    out = tmp_path / "r.jsonl"
    with serving(bundle) as first:
        road.upstream = first.port
        assert classify(folder / "slide 0", "--out", out, "--url", road.url).exit_code == 0
    with serving(other) as second:
        road.upstream = second.port
        found = classify(folder, "--out", out, "--url", road.url)
    assert found.exit_code == 1
    assert "made with another model" in found.stderr
    assert len(rows(out)) == 10


@pytest.mark.parametrize(("name", "text"), [("r.csv", "a,b\n1,2\n"), ("r.jsonl", "{}\n"), ("r.parquet", "nothing")])
def test_a_file_that_is_not_ours_is_left_alone(
    classify: Classify, folder: Path, tmp_path: Path, name: str, text: str
) -> None:
    (tmp_path / name).write_text(text)
    found = classify(folder, "--out", tmp_path / name)
    assert found.exit_code == 1
    assert "was not written by this version of 'hal classify'" in found.stderr
    assert (tmp_path / name).read_text() == text


def test_a_journal_that_is_not_one_is_named_with_its_line(classify: Classify, folder: Path, tmp_path: Path) -> None:
    classify(folder, "--out", tmp_path / "r.csv")
    with (tmp_path / "r.csv.journal").open("a") as stream:
        stream.write("{}\n")
    found = classify(folder, "--out", tmp_path / "r.csv")
    assert found.exit_code == 1
    assert "r.csv.journal, line 21, is not a result of 'hal classify'" in found.stderr


def test_two_runs_never_write_the_same_file(classify: Classify, folder: Path, tmp_path: Path, bundle: Bundle) -> None:
    os.mkfifo(tmp_path / "pipe")
    arguments = [sys.executable, "-m", "hal", "classify", str(tmp_path / "pipe"), "--out", str(tmp_path / "r.csv")]
    with subprocess.Popen(arguments, env=environment(HAL_BUNDLE=str(bundle.root)), stderr=subprocess.PIPE) as first:
        until((tmp_path / "r.csv.journal").exists)
        found = classify(folder, "--out", tmp_path / "r.csv")
        assert found.exit_code == 1
        assert "another 'hal classify' is writing" in found.stderr
        with (tmp_path / "pipe").open("wb"):
            pass
        first.communicate()
        assert first.returncode == 2, "a pipe that is closed is an empty image"


def test_a_share_without_locks_is_told_as_that(
    classify: Classify, folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def no_locks(*_: object) -> None:
        raise OSError(errno.ENOLCK, os.strerror(errno.ENOLCK))

    monkeypatch.setattr(fcntl, "flock", no_locks)
    found = classify(folder, "--out", tmp_path / "r.csv")
    assert found.exit_code == 1
    assert "cannot be locked: No locks available" in found.stderr
    assert "another" not in found.stderr


def test_sigterm_stops_as_ctrl_c_does(bundle: Bundle, tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    arguments = [sys.executable, "-m", "hal", "classify", str(tmp_path / "pipe"), "--out", str(tmp_path / "r.csv")]
    with subprocess.Popen(arguments, env=environment(HAL_BUNDLE=str(bundle.root)), stderr=subprocess.PIPE) as process:
        with (tmp_path / "pipe").open("wb"):
            process.send_signal(signal.SIGTERM)
        _, said = process.communicate()
    assert process.returncode == 130
    assert said == b"hal classify: stopped; with --out, run the same command again to go on\n"
