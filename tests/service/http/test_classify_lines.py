"""``POST /classify`` answered line by line, and ZIP archives as its body."""

import contextlib
import io
import json
import sqlite3
import threading
import zipfile
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import httpx
import pytest

from contract.bundle import Bundle
from contract.classes import BY_ID
from service.errors import RequestError
from service.http import archives
from tests.service.classify_requests import error_of, form
from tests.service.live_server import LiveServer, serving, until
from tests.service.slow_device import SlowDevice, withdrawn
from tests.service.tiny_bundle import TinyNetwork, encoded

LINES = {"Accept": "application/x-ndjson"}
ZIP = {"Content-Type": "application/zip"}


def zipped(*files: tuple[str, bytes], method: int = zipfile.ZIP_DEFLATED) -> bytes:
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w", method) as archive:
        for name, data in files:
            archive.writestr(name, data)
    return stream.getvalue()


def lines_of(response: httpx.Response) -> list[dict[str, Any]]:
    assert response.status_code == 200, response.text
    assert response.headers["content-type"] == "application/x-ndjson"
    return [json.loads(line) for line in response.content.splitlines()]


def test_a_line_for_each_image_says_what_the_whole_answer_says(live: LiveServer, network: TinyNetwork) -> None:
    images = form(*(encoded(network.cell(index % 20)) for index in range(50)), b"no image")
    whole = live.http.post("/classify", files=images).json()
    head, *results = lines_of(live.http.post("/classify", files=images, headers=LINES))
    assert head["images"] == 51
    assert (head["model"], head["hairy_cell"]) == (whole["model"], whole["hairy_cell"])
    assert sorted(results, key=lambda result: result["index"]) == whole["results"]


def test_a_zip_archive_of_a_thousand_images_is_answered_line_by_line(live: LiveServer, network: TinyNetwork) -> None:
    cells = [encoded(network.cell(index)) for index in range(20)]
    body = zipped(("slide/", b""), ("__MACOSX/._1", b"x"), *((f"slide/{i}.png", cells[i % 20]) for i in range(1000)))
    head, *results = lines_of(live.http.post("/classify", content=body, headers=LINES | ZIP, timeout=120))
    assert head["images"] == len(results) == 1000
    ids = [*BY_ID]
    assert {result["client_ref"]: result["class_id"] for result in results} == {
        f"slide/{index}.png": ids[index % 20] for index in range(1000)
    }


def test_what_systems_put_into_archives_is_no_image_and_names_are_as_on_the_disk(live: LiveServer, cell: bytes) -> None:
    """As packed by macOS's Finder, 7-Zip on a USB stick, and PowerShell 5."""
    named = "Zelle-\u00e4.png"
    litter = [(f"slide/{name}", b"x") for name in ("._1.png", ".DS_Store", "Thumbs.db", "Desktop.ini")]
    body = zipped(("slide/", b""), ("slide/1.png", cell), *litter, ("N" * len(named.encode()), cell))
    body = body.replace(b"slide/", b"slide\\").replace(b"N" * len(named.encode()), named.encode())
    windows = {"Content-Type": "application/x-zip-compressed"}
    _, *results = lines_of(
        live.http.post("/classify", content=body, headers=windows | {"Accept": LINES["Accept"].upper()})
    )
    assert sorted((result["index"], result["client_ref"]) for result in results) == [(0, "slide/1.png"), (1, named)]
    assert all("class_id" in result for result in results)


def test_a_zip_archive_is_a_body_of_the_other_paths_too(live: LiveServer, cell: bytes) -> None:
    body = zipped(("1.png", cell), ("2.txt", b"none"), method=zipfile.ZIP_STORED)
    first, second = live.http.post("/classify", content=body, headers=ZIP).json()["results"]
    assert (first["client_ref"], first["class_id"]) == ("1.png", "lymphocyte")
    assert second["error"]["code"] == "unsupported_type"
    summary = live.http.post("/slides/classify", content=body, headers=ZIP).json()["summary"]
    assert (summary["images"], summary["refused"]) == (2, 1)


@pytest.mark.parametrize(
    ("archive", "status", "code"),
    [
        (b"PK\x03\x04 broken", 400, "broken_zip"),
        (zipped(("a", b"x"), method=zipfile.ZIP_LZMA), 400, "broken_zip"),
        (zipped(("a", b"x"))[:-30], 400, "broken_zip"),
        (zipped(("a", b"x")).replace(b"\x14\x00\x00\x00\x08\x00", b"\x14\x00\x01\x00\x08\x00"), 400, "broken_zip"),
        (zipped(("folder/", b"")), 400, "no_image"),
        (zipped(*((str(number), b"") for number in range(4))), 413, "too_many_files"),
        (zipped(*((f"{number}/", b"") for number in range(10))), 413, "too_many_files"),
        (zipped(("bomb", bytes(1_000_001))), 413, "request_too_large"),
    ],
    ids=["no archive", "lzma", "cut off", "encrypted", "empty", "files", "entries", "bomb"],
)
def test_archives_that_cannot_be_used_are_refused(archive: bytes, status: int, code: str) -> None:
    with pytest.raises(RequestError) as caught:
        archives.unzip(archive, 3, 1_000_000)
    assert (caught.value.status, caught.value.code) == (status, code)


def test_lines_come_while_images_are_classified_and_closing_withdraws_the_rest(bundle: Bundle, cell: bytes) -> None:
    device = SlowDevice(held=True)
    with serving(bundle, open_engine=lambda *_: device, max_batch=1) as live:
        threading.Timer(0.5, device.release, [3]).start()
        with live.http.stream("POST", "/classify", files=form(*[cell] * 40), headers=LINES) as response:
            lines = response.iter_lines()
            assert json.loads(next(lines))["images"] == 40
            assert [json.loads(next(lines))["class_id"] for _ in range(3)]
        until(lambda: withdrawn(live, device), every_s=0.1)
        until(lambda: live.hal.statistics.disconnected == 1)
        device.let_go()
        assert live.http.post("/classify", files=form(cell)).status_code == 200
    assert len(device.batches) < 30


def test_a_line_is_sent_once_its_row_is_kept(bundle: Bundle, cell: bytes, tmp_path: Path) -> None:
    rows = tmp_path / "rows.db"
    device = SlowDevice(held=True)
    with serving(bundle, open_engine=lambda *_: device, max_batch=1, audit=f"sqlite:///{rows}") as live:
        device.release(2)
        with live.http.stream("POST", "/classify", files=form(*[cell] * 5), headers=LINES) as response:
            lines = response.iter_lines()
            sent = [json.loads(next(lines)) for _ in range(3)][1:]
            with contextlib.closing(sqlite3.connect(rows)) as database:
                kept = {index for (index,) in database.execute("SELECT image_index FROM hal_audit_images")}
            device.let_go()
        assert kept >= {result["index"] for result in sent}


def test_a_full_queue_and_a_bad_body_are_refused_with_their_status(bundle: Bundle, cell: bytes) -> None:
    device = SlowDevice(held=True)
    with (
        serving(bundle, open_engine=lambda *_: device, queue_limit=1, max_batch=1) as live,
        ThreadPoolExecutor(1) as clients,
    ):
        taking = clients.submit(live.http.post, "/classify", files=form(cell))
        device.wait_until_busy()
        response = live.http.post("/classify", files=form(cell, cell), headers=LINES)
        assert error_of(response, 429)["code"] == "queue_full"
        device.let_go()
        assert taking.result().status_code == 200
        assert error_of(live.http.post("/classify", content=b"x", headers=LINES), 415)


def test_an_error_that_ends_the_lines_too_early_is_the_last_line(bundle: Bundle, cell: bytes) -> None:
    device = SlowDevice(held=True)
    with serving(bundle, open_engine=lambda *_: device, deadline_ms=1500, max_batch=1) as live:
        threading.Timer(0.2, device.release, [1]).start()
        _, first, last = lines_of(live.http.post("/classify", files=form(*[cell] * 5), headers=LINES))
        device.let_go()
    assert "class_id" in first
    assert set(last) == {"request_id", "error"}
    assert last["error"]["code"] == "deadline_exceeded"
