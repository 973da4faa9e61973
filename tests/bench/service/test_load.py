"""The load generator as a process, against real servers."""

import contextlib
import json
import socketserver
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from bench.service.load import Tally, due_times
from bench.service.workload import LOAD


class Answering(socketserver.StreamRequestHandler):
    """Answers each request by what its path asks for: a status, after so many milliseconds, keeping the connection."""

    def handle(self) -> None:
        with contextlib.suppress(ConnectionError):
            self._answer()

    def _answer(self) -> None:
        while head := self.rfile.readline():
            length = 0
            while (line := self.rfile.readline()) not in (b"\r\n", b""):
                if line.lower().startswith(b"content-length:"):
                    length = int(line.split(b":")[1])
            body = self.rfile.read(length)
            _, _, status, ms = head.split()[1].decode().split("/")
            time.sleep(int(ms) / 1000)
            self.wfile.write(b"HTTP/1.1 %s OK\r\nContent-Length: %d\r\n\r\n" % (status.encode(), len(body)) + body)


class Server(socketserver.ThreadingTCPServer):
    daemon_threads = True
    allow_reuse_address = True


@pytest.fixture
def port() -> Iterator[int]:
    with Server(("127.0.0.1", 0), Answering) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield server.server_address[1]
        server.shutdown()


def offered(tmp_path: Path, port: int, path: str, body: bytes = b"x" * 300_000, **job: Any) -> dict[str, Any]:
    request = tmp_path / "request.http"
    request.write_bytes(f"POST {path} HTTP/1.1\r\nHost: x\r\nContent-Length: {len(body)}\r\n\r\n".encode() + body)
    described = {"host": "127.0.0.1", "port": port, "requests": [str(request)], "warmup_s": 0.1, **job}
    done = subprocess.run(
        [sys.executable, str(LOAD)], input=json.dumps(described).encode(), capture_output=True, check=True, timeout=60
    )
    figures: dict[str, Any] = json.loads(done.stdout)
    return figures


def test_a_closed_load_keeps_every_connection_busy(tmp_path: Path, port: int) -> None:
    figures = offered(tmp_path, port, "/a/200/50", b"small", connections=8, seconds=1.0)
    assert figures["statuses"] == {"200": figures["requests"]}
    assert figures["broken"] == 0
    assert figures["latency_ms"]["p50"] >= 50
    assert 8 <= figures["per_second"] <= 8 * 1000 / 50


def test_large_requests_and_answers_arrive_whole(tmp_path: Path, port: int) -> None:
    figures = offered(tmp_path, port, "/a/200/0", connections=2, seconds=0.3)
    assert figures["requests"] > 0
    assert figures["statuses"] == {"200": figures["requests"]}


def test_what_is_not_200_is_counted_by_its_status(tmp_path: Path, port: int) -> None:
    figures = offered(tmp_path, port, "/a/429/1", b"", connections=2, seconds=0.2)
    assert set(figures["statuses"]) == {"429"}


def test_an_open_load_counts_the_wait_for_a_connection(tmp_path: Path, port: int) -> None:
    # 40 a second of 50 ms each on one connection: twice what it can do, so the wait grows to half of the whole time.
    figures = offered(tmp_path, port, "/a/200/50", b"x", connections=1, seconds=1.0, rate=40.0, warmup_s=0.0)
    assert figures["requests"] > 20, "each request that was due is answered and counted"
    assert figures["latency_ms"]["max"] > 400


def test_due_times_have_the_rate_and_are_the_same_each_time() -> None:
    times = list(due_times(1000.0, 5.0, 7.0, seed=3))
    assert times == list(due_times(1000.0, 5.0, 7.0, seed=3))
    assert times == sorted(times)
    assert times[0] > 5
    assert times[-1] < 7
    assert 1800 < len(times) < 2200


def test_a_rate_does_not_depend_on_where_the_measured_time_cuts_the_batches() -> None:
    for shift in (0.0, 0.1, 0.3, 0.6, 0.9):
        tally = Tally(begin=2.0 + shift, end=5.0 + shift)
        for batch in range(1, 9):
            for _ in range(16):
                tally.add("200", batch - 1.0, float(batch), by_due=False)
        assert tally.statuses["200"] / tally.seconds(by_due=False) == 16
    assert Tally(begin=1.0, end=3.0).seconds(by_due=False) == 2.0
