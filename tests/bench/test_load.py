"""The load generator against real sockets."""

import contextlib
import socketserver
import threading
import time
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest

from bench.load import OK, Load, Samples, due_times, send
from bench.requests import Request, Target, fetch
from bench.statistics import figures_of, latencies_ms


class Answering(socketserver.StreamRequestHandler):
    """Answers each request by what its path asks for: a status, after so many milliseconds, keeping the connection."""

    def handle(self) -> None:
        with contextlib.suppress(ConnectionError):
            while head := self.rfile.readline():
                length = 0
                while (line := self.rfile.readline()) not in (b"\r\n", b""):
                    if line.lower().startswith(b"content-length:"):
                        length = int(line.split(b":")[1])
                body = self.rfile.read(length)
                self.answer(head.split()[1].decode(), body)

    def answer(self, path: str, body: bytes) -> None:
        _, status, ms = path.split("/")
        while (left := self.server.stalled_until - time.monotonic()) > 0:  # type: ignore[attr-defined]
            time.sleep(left)
        time.sleep(int(ms) / 1000)
        if status == "0":
            raise ConnectionError
        if status == "chunked":
            self.wfile.write(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\n{}\r\n0\r\n\r\n")
            return
        close = b"Connection: close\r\n" if ms == "1" else b""
        head = b"HTTP/1.1 %s OK\r\n%sContent-Length: %d\r\n\r\n" % (status.encode(), close, len(body))
        self.wfile.write(head + body)
        if close:
            raise ConnectionError


class Server(socketserver.ThreadingTCPServer):
    daemon_threads = True
    allow_reuse_address = True
    request_queue_size = 128
    stalled_until = 0.0
    connections = 0

    def process_request(self, *arguments: Any) -> None:
        self.connections += 1
        super().process_request(*arguments)


@pytest.fixture
def server() -> Iterator[Server]:
    with Server(("127.0.0.1", 0), Answering) as started:
        threading.Thread(target=started.serve_forever, daemon=True).start()
        yield started
        started.shutdown()


def sent(server: Server, path: str, load: Load, body: bytes = b"{}", timeout_s: float = 30.0) -> Samples:
    target = Target(f"http://127.0.0.1:{server.server_address[1]}", timeout_s=timeout_s)
    return send(target, [Request(path, "image/jpeg", body)], load)


def closed(connections: int = 2, duration_s: float = 0.3) -> Load:
    return Load(connections=connections, duration_s=duration_s, warmup_s=0.1)


@pytest.mark.serial
def test_a_closed_load_keeps_every_connection_busy(server: Server) -> None:
    load = closed(connections=8, duration_s=0.6)
    figures = figures_of(sent(server, "/200/50", load), load)
    assert set(figures.outcomes) == {OK}
    assert (figures.latency_ms["p50"] or 0) >= 50
    assert 8 <= figures.requests_s <= 1.1 * 8 * 1000 / 50
    assert server.connections == 8, "each is kept"


@pytest.mark.parametrize("path", ["/200/0", "/200/1", "/chunked/0"], ids=["kept", "closed after each", "chunked"])
def test_large_requests_and_answers_arrive_whole(server: Server, path: str) -> None:
    samples = sent(server, path, closed(), b"x" * 300_000)
    assert len(samples.outcomes) > 2
    assert set(samples.outcomes) == {OK}


def test_errors_are_counted_by_status_and_code(server: Server) -> None:
    assert set(sent(server, "/429/0", closed(), b'{"error": {"code": "queue_full"}}').outcomes) == {"429 queue_full"}
    assert set(sent(server, "/500/0", closed(), b"no JSON").outcomes) == {"500"}


def test_failures_are_counted_by_their_kind(server: Server) -> None:
    even = Load(rate=20, duration_s=0.2, warmup_s=0, even=True)
    assert set(sent(server, "/0/0", even).outcomes) == {"connection lost"}
    assert set(sent(server, "/200/400", even, timeout_s=0.1).outcomes) == {"timeout"}
    assert set(sent(server, "/abc/0", even).outcomes) == {"not HTTP"}
    server.shutdown()
    server.server_close()
    for load in (even, closed()):
        assert set(sent(server, "/200/0", load).outcomes) == {"ConnectionRefusedError"}


@pytest.mark.serial
def test_a_stall_is_felt_by_every_request_that_was_due_in_it(server: Server) -> None:
    """An open loop has no coordinated omission; a closed loop asks a stalled service once and waits."""

    def slow_ones(load: Load) -> int:
        server.stalled_until = time.monotonic() + 0.6
        return int((latencies_ms(sent(server, "/200/0", load), load) > 300).sum())

    assert slow_ones(Load(rate=100, duration_s=0.5, warmup_s=0, even=True)) >= 20
    assert slow_ones(Load(connections=1, duration_s=0.5, warmup_s=0)) <= 3


def test_requests_without_a_free_connection_wait_and_that_counts(server: Server) -> None:
    # 40 a second of 50 ms each on one connection are twice what it can do, so the wait grows to half of the time.
    load = Load(rate=40, connections=1, duration_s=1, warmup_s=0)
    figures = figures_of(sent(server, "/200/50", load), load)
    assert sum(figures.outcomes.values()) == len(list(due_times(load))), "each that was due is answered and counted"
    assert (figures.slowest_ms or 0) > 400
    assert figures.late_ms > 300


@pytest.mark.serial
def test_a_request_is_sent_when_it_is_due(server: Server) -> None:
    samples = sent(server, "/200/0", Load(rate=100, duration_s=0.5, warmup_s=0, even=True))
    lateness = np.array(samples.sent) - samples.due
    assert (lateness >= 0).all(), "never early"
    assert np.median(lateness) < 0.005


def test_poisson_arrivals_have_their_rate_and_exponential_gaps() -> None:
    load = Load(rate=1000, duration_s=20, warmup_s=1)
    due = list(due_times(load))
    gaps = np.diff(due)
    assert due == sorted(due)
    assert -1 < due[0] < -0.9
    assert due[-1] < 20
    assert len(due) == pytest.approx(21000, rel=0.03)
    assert gaps.std() == pytest.approx(gaps.mean(), rel=0.05), "as of an exponential distribution"
    assert due == list(due_times(load)), "a schedule that can be had again"
    assert due != list(due_times(Load(rate=1000, duration_s=20, warmup_s=1, seed=2)))


def test_even_arrivals_have_equal_gaps() -> None:
    due = list(due_times(Load(rate=10, duration_s=1, warmup_s=0, even=True)))
    assert np.diff(due) == pytest.approx([0.1] * (len(due) - 1))


def test_one_request_is_fetched_with_status_and_body(server: Server) -> None:
    target = Target(f"http://127.0.0.1:{server.server_address[1]}")
    assert fetch(target, "/200/0", Request("/classify", "text/plain", b"body")) == (200, b"body")
    assert fetch(target, "/404/0", Request("/classify", "text/plain", b"gone")) == (404, b"gone")
