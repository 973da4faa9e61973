"""The running service with an audit trail: no image is answered without a row, whatever happens to the database."""

import contextlib
import hashlib
import os
import sqlite3
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import pytest
from pydantic import SecretStr

from contract.bundle import Bundle
from contract.classes import CELL_CLASSES
from service.auth.keys import Role, add
from tests.service.live_server import serving, until
from tests.service.observe.audit.postgres import Postgres
from tests.service.process import PATIENCE_S, Process, failing, running
from tests.service.slow_device import SlowDevice
from tests.service.tiny_bundle import TinyNetwork

SMALL_DISK = """
import ctypes, os, runpy, sys
libc = ctypes.CDLL(None, use_errno=True)
NEW_MOUNTS, PRIVATE = 0x20000, 0x40000 | 0x4000
folder = os.environ["HAL_AUDIT_JOURNAL"].encode()
for failed in (
    libc.unshare(NEW_MOUNTS),
    libc.mount(b"none", b"/", None, PRIVATE, None),
    libc.mount(b"tmpfs", folder, b"tmpfs", 0, b"size=3m"),
):
    if failed:
        sys.exit("no small disk: " + os.strerror(ctypes.get_errno()))
sys.argv = ["hal"]
runpy.run_module("service", run_name="__main__")
"""
FULL_LOG = """
import os, runpy, sys
os.dup2(os.open("/dev/full", os.O_WRONLY), 2)
sys.argv = ["hal"]
runpy.run_module("service", run_name="__main__")
"""


@dataclass(frozen=True)
class Audited:
    """A service and one client for it."""

    served: Process
    http: httpx.Client


@contextlib.contextmanager
def audited(bundle: Bundle, **options: Any) -> Iterator[Audited]:
    with running(bundle.root, **options) as served, served.http() as http:
        yield Audited(served, http)


def ask(service: Audited, *images: bytes, **headers: str) -> httpx.Response:
    files = [("file", ("patient-19121212-1212.png", image)) for image in images]
    return service.http.post("/classify", files=files, headers=headers)


def ready(service: Audited) -> dict[str, Any]:
    return dict(service.http.get("/health/ready").json())


def metric(service: Audited, name: str) -> float:
    lines = service.http.get("/metrics").text.splitlines()
    return next(float(line.split()[-1]) for line in lines if line.startswith(f"{name} "))


def test_an_image_that_was_accepted_and_not_answered_is_counted_and_leaves_no_row(
    bundle: Bundle, cell: bytes, tmp_path: Path
) -> None:
    device = SlowDevice(held=True)
    rows = tmp_path / "rows.db"
    with serving(bundle, open_engine=lambda *_: device, audit=f"sqlite:///{rows}") as live:
        late = live.http.post(
            "/classify", files={"file": cell}, headers={"X-Request-ID": "late", "X-Request-Timeout-Ms": "200"}
        )
        assert late.status_code == 504
        assert 'hal_requests_total{outcome="deadline_exceeded",route="/classify"} 1.0' in live.http.get("/metrics").text
        device.let_go()
        assert live.http.post("/classify", files={"file": cell}, headers={"X-Request-ID": "r"}).status_code == 200
    with contextlib.closing(sqlite3.connect(rows)) as database:
        assert database.execute("SELECT request_id FROM hal_audit_images").fetchall() == [("r",)]


def test_one_row_for_each_image_with_what_was_answered(
    bundle: Bundle, network: TinyNetwork, cell: bytes, postgres: Postgres, tmp_path: Path
) -> None:
    secret = add(tmp_path / "keys.json", "analyser-1", Role.CLASSIFY)
    settings = {
        "HAL_AUDIT": postgres.url,
        "HAL_AUDIT_JOURNAL": str(tmp_path / "journal"),
        "HAL_KEYS_FILE": str(tmp_path / "keys.json"),
    }
    pixels = network.cell(5)
    with audited(bundle, **settings) as service:
        answer = ask(service, cell, b"no image", **{"X-API-Key": secret, "X-Request-ID": "r-1"}).json()
        tensor = {"name": "image", "shape": [1, 256, 256, 3], "datatype": "UINT8", "data": pixels.ravel().tolist()}
        headers = {"X-API-Key": secret, "X-Request-ID": "r-2"}
        response = service.http.post("/v2/models/tiny/infer", json={"inputs": [tensor]}, headers=headers)
        assert response.status_code == 200
        assert ready(service) == {"status": "ready", "audit": "database"}
        assert service.served.stop() == 0
        log = service.served.log.read_text()
    rows = postgres.query(
        "SELECT request_id, image_index, image_sha256, model_sha256, predicted_class, probabilities, hairy_flag, "
        "error, key FROM hal_audit_images ORDER BY request_id, image_index"
    )
    assert [row[:3] for row in rows] == [
        ("r-1", 0, hashlib.sha256(cell).hexdigest()),
        ("r-1", 1, hashlib.sha256(b"no image").hexdigest()),
        ("r-2", 0, hashlib.sha256(pixels.tobytes()).hexdigest()),
    ]
    assert {row[3] for row in rows} == {bundle.file().sha256}
    assert {row[8] for row in rows} == {"analyser-1"}
    classified, refused, tensor_row = rows
    said = answer["results"][0]
    assert classified[4] == CELL_CLASSES[3].id
    assert classified[5] == said["probabilities"]
    assert classified[6] is said["hairy_cell"]["flag"] is False
    assert refused[4:8] == (None, None, None, "unsupported_type")
    assert tensor_row[4] == CELL_CLASSES[5].id
    ((version, document),) = postgres.query("SELECT version, document FROM hal_audit_settings")
    assert document["policy"]["hairy_threshold"] == 0.4
    assert postgres.query("SELECT DISTINCT settings_version FROM hal_audit_images") == [(version,)]
    everything = str(rows) + str(document) + log
    assert "19121212" not in everything
    assert secret not in everything


def test_postgresql_stopped_and_started_under_load(
    bundle: Bundle, cell: bytes, postgres: Postgres, tmp_path: Path
) -> None:
    answered: list[str] = []
    with audited(bundle, HAL_AUDIT=postgres.url, HAL_AUDIT_JOURNAL=str(tmp_path / "journal")) as service:

        def work(place: int) -> None:
            response = ask(service, cell, cell, **{"X-Request-ID": f"r-{place}"})
            assert response.status_code == 200
            answered.append(response.json()["request_id"])

        with ThreadPoolExecutor(4) as pool:
            list(pool.map(work, range(20)))
            postgres.stop()
            try:
                list(pool.map(work, range(20, 60)))
                until(lambda: ready(service) == {"status": "ready", "audit": "journal"})
                assert metric(service, "hal_audit_database_up") == 0
                assert metric(service, "hal_audit_full") == 0
                assert metric(service, "hal_audit_waiting_rows") > 0
            finally:
                postgres.start()
            list(pool.map(work, range(60, 80)))
        until(lambda: metric(service, "hal_audit_waiting_rows") == 0)
        assert ready(service) == {"status": "ready", "audit": "database"}
        assert service.served.stop() == 0
    rows = postgres.query("SELECT request_id, image_index FROM hal_audit_images ORDER BY request_id, image_index")
    assert rows == sorted((request, index) for request in answered for index in (0, 1))
    assert len(answered) == 80


def test_with_the_database_away_and_the_disk_full_no_image_is_answered_without_a_row(
    bundle: Bundle, cell: bytes, postgres: Postgres, tmp_path: Path
) -> None:
    if os.getuid() != 0:
        pytest.skip("a small disk can only be mounted by root")
    journal = tmp_path / "journal"
    journal.mkdir()
    program = ("-c", SMALL_DISK)
    answered: list[str] = []
    postgres.stop()
    try:
        with audited(bundle, program=program, HAL_AUDIT=postgres.url, HAL_AUDIT_JOURNAL=str(journal)) as service:
            for place in range(200):
                response = ask(service, *[cell] * 8, **{"X-Request-ID": f"r-{place}"})
                if response.status_code != 200:
                    break
                answered.append(f"r-{place}")
            assert response.status_code == 503
            assert response.json()["error"]["code"] == "audit_full"
            for path in ("/health/ready", "/v2/health/ready", "/v2/models/tiny/ready"):
                assert service.http.get(path).status_code == 503, path
            assert service.http.get("/health/live").status_code == 200
            assert metric(service, "hal_audit_full") == 1
            assert any(
                line["level"] == "critical" and "No space left" in line["message"] for line in service.served.lines()
            )
            postgres.start()
            until(lambda: service.http.get("/health/ready").status_code == 200)
            assert ask(service, cell, **{"X-Request-ID": "r-last"}).status_code == 200
            until(lambda: metric(service, "hal_audit_waiting_rows") == 0)
            assert service.served.stop() == 0
    finally:
        postgres.start()
    rows = postgres.query("SELECT request_id, count(*) FROM hal_audit_images GROUP BY request_id")
    assert dict(rows) == dict.fromkeys(answered, 8) | {"r-last": 1}
    assert answered


def test_a_full_disk_under_the_log_costs_lines_and_no_answer(bundle: Bundle, cell: bytes) -> None:
    with audited(bundle, program=("-c", FULL_LOG)) as service:
        for _ in range(5):
            assert ask(service, cell).status_code == 200
        assert metric(service, "hal_log_lines_lost_total") >= 5
        assert service.served.stop() == 0


def test_killed_and_started_again_delivers_what_was_on_disk(
    bundle: Bundle, cell: bytes, postgres: Postgres, tmp_path: Path
) -> None:
    journal = tmp_path / "journal"
    settings = {"HAL_AUDIT": postgres.url, "HAL_AUDIT_JOURNAL": str(journal)}
    postgres.stop()
    try:
        with audited(bundle, **settings) as service:
            for _ in range(5):
                assert ask(service, cell).status_code == 200
            service.served.kill()
    finally:
        postgres.start()
    with audited(bundle, **settings) as service:
        until(lambda: metric(service, "hal_audit_rows_total") == 5)
        assert service.served.stop() == 0
    assert postgres.query("SELECT count(*) FROM hal_audit_images") == [(5,)]


def test_an_audit_trail_that_cannot_be_kept_is_one_clear_message(bundle: Bundle, tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    settings = {"HAL_AUDIT": "postgresql://hal@db/hal", "HAL_AUDIT_JOURNAL": str(tmp_path / "file")}
    assert "hal serve: HAL_AUDIT_JOURNAL=" in failing("--port", "0", HAL_BUNDLE=str(bundle.root), **settings)


def test_an_audit_url_with_a_slash_too_few_is_one_clear_message(bundle: Bundle) -> None:
    said = failing("--port", "0", HAL_BUNDLE=str(bundle.root), HAL_AUDIT="sqlite:///var/lib/nowhere/audit.db")
    assert "an absolute path takes one slash more" in said


def test_metrics_that_wait_for_the_journal_hold_up_no_other_request(bundle: Bundle, tmp_path: Path) -> None:
    asked, answered = threading.Event(), threading.Event()

    def read() -> dict[str, int]:
        asked.set()
        assert answered.wait(PATIENCE_S)
        return {"": 0}

    with serving(bundle, audit=SecretStr(f"sqlite:///{tmp_path / 'audit.db'}")) as live, ThreadPoolExecutor(1) as pool:
        live.hal.observer.metrics.audit_waiting_rows.read = read
        scrape = pool.submit(live.http.get, "/metrics")
        assert asked.wait(PATIENCE_S)
        assert live.http.get("/health/live").status_code == 200
        assert not scrape.done()
        answered.set()
        assert scrape.result().status_code == 200
