"""``hal data download`` against a server that speaks Zenodo's API and fails as networks and servers do."""

import io
import os
import signal
import subprocess
import sys
import time
import zipfile
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from typer.testing import CliRunner, Result

from tests.paths import ROOT
from tests.training.data.zenodo import Zenodo, zenodo
from training.data import download
from training.data.cli import app


def noise(size: int) -> bytes:
    return np.random.default_rng(size).bytes(size)


def zipped(members: dict[str, bytes]) -> bytes:
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in members.items():
            archive.writestr(name, content)
    return stream.getvalue()


CELLS = noise(20_000)


@pytest.fixture(autouse=True)
def _impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(download, "PAUSE_S", 0.001)


@pytest.fixture
def record() -> Iterator[Zenodo]:
    with zenodo(cells__bin=CELLS, labels__csv=b"a,b\n") as served:
        yield served


def run(record: Zenodo, out: Path, *options: str, name: str = "mll23") -> Result:
    return CliRunner().invoke(app, ["download", name, "--out", str(out), "--zenodo", record.url, *options])


def said(result: Result) -> str:
    return " ".join(result.output.split())


def refused(record: Zenodo, out: Path, *options: str, name: str = "mll23") -> str:
    """What is said by a download that ends with 1, without a traceback."""
    done = run(record, out, *options, name=name)
    assert done.exit_code == 1, done.output
    assert "Traceback" not in done.output
    return said(done)


@pytest.mark.parametrize("name", ["mll23", "14277609", "zenodo:14277609", "10.5281/zenodo.14277609"])
def test_every_file_comes_whole_with_the_record_and_its_licence(record: Zenodo, tmp_path: Path, name: str) -> None:
    done = run(record, tmp_path / "data", name=name)
    assert done.exit_code == 0, done.output
    assert (tmp_path / "data/cells.bin").read_bytes() == CELLS
    assert sorted(path.name for path in (tmp_path / "data").iterdir()) == [
        "cells.bin",
        "labels.csv",
        "zenodo-14277609.json",
    ]
    assert "cc-by-4.0" in said(done)
    assert '"cc-by-4.0"' in (tmp_path / "data/zenodo-14277609.json").read_text()


def test_what_is_there_and_right_does_not_come_again(record: Zenodo, tmp_path: Path) -> None:
    run(record, tmp_path)
    (tmp_path / "labels.csv").write_bytes(b"a;b\n")
    record.asked.clear()
    assert run(record, tmp_path).exit_code == 0
    assert [path for path, _ in record.asked if path.endswith("/content")] == [
        "/api/records/14277609/files/labels.csv/content"
    ]
    assert (tmp_path / "labels.csv").read_bytes() == b"a,b\n"


def test_a_transfer_that_is_cut_goes_on_where_it_ended(record: Zenodo, tmp_path: Path) -> None:
    record.cut_after = 7_000
    done = run(record, tmp_path, "--only", "cells*")
    assert done.exit_code == 0, done.output
    assert (tmp_path / "cells.bin").read_bytes() == CELLS
    assert record.ranges_asked_for() == ["bytes=0-", "bytes=7000-", "bytes=14000-"]


def test_a_server_without_ranges_begins_anew(record: Zenodo, tmp_path: Path) -> None:
    (tmp_path / "cells.bin.part").write_bytes(CELLS[:9_000])
    record.ranges = False
    done = run(record, tmp_path)
    assert done.exit_code == 0, done.output
    assert (tmp_path / "cells.bin").read_bytes() == CELLS
    assert "from the beginning" in said(done)


def test_a_server_without_ranges_that_always_cuts_is_given_up(record: Zenodo, tmp_path: Path) -> None:
    record.ranges, record.cut_after = False, 7_000
    assert "cells.bin does not come any further" in refused(record, tmp_path)


def test_a_part_of_another_time_is_found_by_its_md5_and_comes_anew(record: Zenodo, tmp_path: Path) -> None:
    (tmp_path / "cells.bin.part").write_bytes(bytes(9_000))
    assert run(record, tmp_path).exit_code == 0
    assert (tmp_path / "cells.bin").read_bytes() == CELLS
    assert record.ranges_asked_for()[:2] == ["bytes=9000-", "bytes=0-"]


def test_a_part_that_is_too_long_or_whole_is_no_obstacle(record: Zenodo, tmp_path: Path) -> None:
    (tmp_path / "cells.bin.part").write_bytes(CELLS)
    (tmp_path / "labels.csv.part").write_bytes(bytes(100))
    assert run(record, tmp_path).exit_code == 0
    assert (tmp_path / "cells.bin").read_bytes() == CELLS
    assert record.ranges_asked_for() == ["bytes=0-"], "only labels.csv"


def test_contents_that_are_not_the_record_s_never_get_the_file_s_name(record: Zenodo, tmp_path: Path) -> None:
    record.lie = lambda content: content[::-1]
    assert "came with md5:" in refused(record, tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["zenodo-14277609.json"]


def test_a_body_longer_than_the_file_is_not_taken(record: Zenodo, tmp_path: Path) -> None:
    record.lie = lambda content: content + bytes(5_000)
    assert run(record, tmp_path).exit_code == 0
    assert (tmp_path / "cells.bin").read_bytes() == CELLS


def test_busy_servers_are_asked_again_when_they_say(
    record: Zenodo, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    waited: list[float] = []
    monkeypatch.setattr(download, "time", SimpleNamespace(sleep=waited.append))
    record.refusals = [(429, {"Retry-After": "7"}), (503, {})]
    assert run(record, tmp_path).exit_code == 0
    assert waited[0] == 7
    record.refusals = [(429, {"Retry-After": "9999"})] * 10
    assert "429" in refused(record, tmp_path)
    assert max(waited) == download.LONGEST_PAUSE_S


@pytest.mark.parametrize(
    ("status", "expected"), [(404, "no such public record"), (410, "no such"), (403, "restricted")]
)
def test_refusals_are_said(record: Zenodo, tmp_path: Path, status: int, expected: str) -> None:
    record.refusals = [(status, {})]
    assert expected in refused(record, tmp_path / "x")
    assert not (tmp_path / "x").exists()


def test_another_number_is_another_record(record: Zenodo, tmp_path: Path) -> None:
    said = refused(record, tmp_path / "x", name="zenodo:123")
    assert f"GET {record.url}/api/records/123 was answered 404" in said


@pytest.mark.parametrize("name", ["mll24", "zenodo:", "https://zenodo.org/records/1", "-1"])
def test_what_is_no_record_is_said(record: Zenodo, tmp_path: Path, name: str) -> None:
    done = CliRunner().invoke(app, ["download", "--out", str(tmp_path), "--zenodo", record.url, "--", name])
    assert done.exit_code == 1
    assert "is no record; expected mll23, zenodo:NUMBER or the number" in said(done)
    assert record.asked == []


def test_nobody_listens(tmp_path: Path) -> None:
    with zenodo() as gone:
        pass
    assert "the connection failed: ConnectError" in refused(gone, tmp_path)


@pytest.mark.parametrize(
    ("variable", "value"),
    [("HTTP_PROXY", "http://127.0.0.1:99999"), ("HTTP_PROXY", "socks4://x"), ("SSL_CERT_FILE", "/nowhere")],
)
def test_a_wrong_environment_is_named(
    record: Zenodo, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, variable: str, value: str
) -> None:
    monkeypatch.setenv(variable, value)
    monkeypatch.setenv("NO_PROXY", "")
    monkeypatch.setenv("no_proxy", "")
    assert variable in refused(record, tmp_path)


@pytest.mark.parametrize("url", ["ftp://zenodo", "zenodo", "http://["])
def test_an_address_that_is_none_is_said(tmp_path: Path, url: str) -> None:
    assert "the connection failed" in refused(Zenodo(url=url), tmp_path)


@pytest.mark.parametrize(
    "wrong",
    [
        *({"key": name} for name in ("../cells.bin", "..", "/etc/passwd", "a\\b")),
        {"checksum": "sha1:1"},
        {"size": -1},
        {"links": {}},
    ],
)
def test_an_answer_that_is_not_zenodo_s_writes_nothing(
    record: Zenodo, tmp_path: Path, wrong: dict[str, object]
) -> None:
    record.change = lambda answer: answer["files"][0].update(wrong)
    assert "is not Zenodo's" in refused(record, tmp_path / "x")
    assert not (tmp_path / "x").exists()


def test_a_record_without_such_files_is_said(record: Zenodo, tmp_path: Path) -> None:
    assert "it has cells.bin, labels.csv" in refused(record, tmp_path, "--only", "hairy*")
    record.change = lambda answer: answer.pop("files")
    assert "record 14277609 has no public file" in refused(record, tmp_path)


def test_a_list_downloads_nothing(record: Zenodo, tmp_path: Path) -> None:
    done = run(record, tmp_path / "x", "--list")
    assert done.exit_code == 0
    assert "20.0 kB cells.bin" in said(done)
    assert len(record.asked) == 1
    assert not (tmp_path / "x").exists()


def test_a_disk_without_room_is_said_before_anything_comes(
    record: Zenodo, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(download.shutil, "disk_usage", lambda _: SimpleNamespace(free=19_000))
    assert "has room for 19.0 kB, the download needs 20.0 kB" in refused(record, tmp_path)
    assert record.ranges_asked_for() == []
    (tmp_path / "cells.bin.part").write_bytes(CELLS[:5_000])
    assert run(record, tmp_path).exit_code == 0, "15,004 bytes are missing"


@pytest.mark.skipif(sys.platform != "linux" or os.geteuid() != 0, reason="only root of Linux may mount a small disk")
def test_a_disk_that_is_full_in_the_middle_keeps_what_has_come(
    record: Zenodo, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "disk").mkdir()
    small = ["mount", "-t", "tmpfs", "-o", "size=16k", "tmpfs", str(tmp_path / "disk")]
    if subprocess.run(small, capture_output=True, check=False).returncode:
        pytest.skip("this machine does not let a disk be mounted")
    try:
        monkeypatch.setattr(download.shutil, "disk_usage", lambda _: SimpleNamespace(free=1 << 40))
        assert "cells.bin.part cannot be written: No space left on device" in refused(record, tmp_path / "disk")
        subprocess.run(["mount", "-o", "remount,size=1m", str(tmp_path / "disk")], check=True)
        kept = (tmp_path / "disk/cells.bin.part").stat().st_size
        assert kept > 0
        record.asked.clear()
        assert run(record, tmp_path / "disk").exit_code == 0
        assert record.ranges_asked_for()[0] == f"bytes={kept}-"
        assert (tmp_path / "disk/cells.bin").read_bytes() == CELLS
    finally:
        subprocess.run(["umount", str(tmp_path / "disk")], check=True)


@pytest.mark.parametrize(("sent", "code"), [(signal.SIGINT, 130), (signal.SIGKILL, -9)])
def test_what_is_stopped_goes_on_by_the_same_command(
    record: Zenodo, tmp_path: Path, sent: signal.Signals, code: int
) -> None:
    record.chunk_pause_s = 1  # a busy machine may be late with the signal
    command = [sys.executable, "hal.py", "data", "download", "mll23", "--out", str(tmp_path), "--zenodo", record.url]
    running = subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    part = tmp_path / "cells.bin.part"
    try:
        while not (part.exists() and part.stat().st_size):
            assert running.poll() is None, running.communicate()
            time.sleep(0.02)
        running.send_signal(sent)
        _, errors = running.communicate(timeout=60)
    finally:
        running.kill()
    assert running.returncode == code
    assert "Traceback" not in errors
    if sent is signal.SIGINT:
        assert "the same command goes on where it was" in errors
    kept = part.stat().st_size
    assert 0 < kept < len(CELLS)
    record.chunk_pause_s = 0
    record.asked.clear()
    assert run(record, tmp_path).exit_code == 0
    assert record.ranges_asked_for()[0] == f"bytes={kept}-"
    assert (tmp_path / "cells.bin").read_bytes() == CELLS


def test_zip_files_are_unpacked_and_what_is_unpacked_stays(tmp_path: Path) -> None:
    members = {"hairy_cell/1.tif": b"one", "hairy_cell/2.tif": b"two", "__MACOSX/hairy_cell/._1.tif": b"fork"}
    with zenodo(hairy_cell__zip=zipped(members)) as record:
        assert run(record, tmp_path / "kept", "--no-unpack").exit_code == 0
        assert not (tmp_path / "kept/hairy_cell").exists()
        assert run(record, tmp_path / "all").exit_code == 0
        first, second = (tmp_path / f"all/hairy_cell/hairy_cell/{name}.tif" for name in (1, 2))
        second.write_bytes(b"t")  # as a kill leaves it
        before = first.stat().st_mtime_ns
        assert run(record, tmp_path / "all").exit_code == 0
    assert sorted(path.name for path in tmp_path.rglob("*.tif")) == ["1.tif", "2.tif"]
    assert second.read_bytes() == b"two"
    assert first.stat().st_mtime_ns == before


def test_room_for_what_is_unpacked_is_looked_for_too(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with zenodo(a__zip=zipped({"a.tif": bytes(1_000_000)})) as record:
        monkeypatch.setattr(download.shutil, "disk_usage", lambda _: SimpleNamespace(free=100_000))
        assert "unpacking a.zip needs 1.0 MB" in refused(record, tmp_path)
    assert not (tmp_path / "a").exists()


@pytest.mark.parametrize("name", ["../outside.tif", "/outside.tif", "a/../../outside.tif"])
def test_a_zip_file_that_reaches_outside_its_folder_is_not_opened(tmp_path: Path, name: str) -> None:
    with zenodo(a__zip=zipped({name: b"x"})) as record:
        assert "outside of its folder" in refused(record, tmp_path / "in")
    assert list(tmp_path.rglob("outside*")) == []


def test_a_zip_file_that_is_none_is_said(tmp_path: Path) -> None:
    with zenodo(a__zip=b"no archive") as record:
        assert "a.zip cannot be unpacked" in refused(record, tmp_path)


def test_a_login_page_in_the_files_place_takes_nothing_of_what_has_come(record: Zenodo, tmp_path: Path) -> None:
    (tmp_path / "cells.bin.part").write_bytes(CELLS[:15_000])
    record.ranges, record.lie = False, lambda _: b"<html>Welcome to the hospital's Wi-Fi</html>"
    assert "gave 44 bytes instead of 20000" in refused(record, tmp_path)
    assert (tmp_path / "cells.bin.part").read_bytes() == CELLS[:15_000]


def test_an_archive_with_backslashes_is_unpacked_into_its_folders(tmp_path: Path) -> None:
    packed = zipped({"blast/": b"", "blast/1.tif": b"one", "blast/2.tif": b"two"}).replace(b"blast/", b"blast\\")
    with zenodo(cells__zip=packed) as record:
        assert run(record, tmp_path).exit_code == 0
    assert {path.name: path.read_bytes() for path in (tmp_path / "cells/blast").iterdir()} == {
        "1.tif": b"one",
        "2.tif": b"two",
    }


def test_backslashes_lead_nowhere_either(tmp_path: Path) -> None:
    with zenodo(cells__zip=zipped({"../out.tif": b"x"}).replace(b"../out", b"..\\out")) as record:
        assert "would lie outside" in refused(record, tmp_path / "data")
    assert not (tmp_path / "out.tif").exists()
