"""A load generator that needs nothing but Python: whole requests from files, over kept connections, from one thread.

A process of its own, so that it does not share the service's interpreter lock: ``python load.py < job.json``. It does
as little as possible (one ``send`` and one or two ``recv`` for an image), and says what it cost in its answer.

*Closed*: each connection sends its next request when it has its answer. *Open* (``rate`` is given): requests are due at
times drawn beforehand (exponential gaps, seeded) whatever the service does, and latency counts from the time a request
was due, not from when a connection was free for it (otherwise a slow service would be asked less and look better).
"""

import json
import random
import selectors
import socket
import sys
import time
from collections import Counter, deque
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

_CHUNK = 1 << 18
_FEW = 8
"""Connections that select(2) looks through in no time. It wakes within microseconds of when a request is due, where
epoll counts in whole milliseconds, rounded up: a lateness of the generator that would count as the service's."""


@dataclass(slots=True)
class Connection:
    """One kept connection: what is still to be sent, what has come."""

    socket: socket.socket
    due: float = 0.0
    rest: memoryview = field(default_factory=lambda: memoryview(b""))
    answer: bytearray = field(default_factory=bytearray)
    needed: int = -1
    """Bytes of the whole answer, -1 until its header is read."""


@dataclass(slots=True)
class Tally:
    """What was answered between ``begin`` and ``end``."""

    begin: float
    end: float
    latencies: list[float] = field(default_factory=list)
    statuses: Counter[str] = field(default_factory=Counter)
    broken: int = 0
    last_before: float | None = None
    """When the last answer before ``begin`` came."""
    last: float | None = None
    """When the last counted answer came."""

    def add(self, status: str, due: float, now: float, *, by_due: bool) -> None:
        """Count an answer if it belongs to the measured time: by when it was due, or by when it came."""
        if self.begin <= (due if by_due else now) < self.end:
            self.statuses[status] += 1
            self.latencies.append(now - due)
            self.last = now
        elif now < self.begin:
            self.last_before = now

    def seconds(self, *, by_due: bool) -> float:
        """In which the counted answers were made.

        Answers come in batches: what a batch more or less in the measured time would add is left out by counting from
        the last answer before it to the last one in it.
        """
        if by_due or self.last_before is None or self.last is None:
            return self.end - self.begin
        return self.last - self.last_before


def due_times(rate: float, begin: float, end: float, seed: int) -> Iterator[float]:
    """Times from ``begin`` to ``end`` with exponential gaps of mean ``1 / rate``."""
    gaps = random.Random(seed)  # noqa: S311 - a schedule, not a secret
    due = begin
    while (due := due + gaps.expovariate(rate)) < end:
        yield due


class Load:
    """Sends requests and reads answers until the time is over."""

    def __init__(self, job: dict[str, Any]) -> None:
        self._address = (job["host"], job["port"])
        self._requests = [Path(path).read_bytes() for path in job["requests"]]
        self._turn = 0
        self._rate: float | None = job.get("rate")
        self._selector: selectors.BaseSelector = selectors.DefaultSelector()
        if self._rate is not None and job["connections"] <= _FEW:
            self._selector = selectors.SelectSelector()
        start = time.perf_counter() + 0.05
        begin = start + job["warmup_s"]
        self._start = start
        self._tally = Tally(begin, begin + job["seconds"])
        self._seed = job.get("seed", 1)
        self._idle = [self._connect() for _ in range(job["connections"])]
        self._waiting: deque[float] = deque()

    def run(self) -> dict[str, Any]:
        """The figures of the measured time; latencies in milliseconds."""
        due: Iterator[float] = iter(())
        if self._rate is not None:
            due = due_times(self._rate, self._start, self._tally.end, self._seed)
        upcoming = next(due, None)
        cpu = time.process_time()
        while (now := time.perf_counter()) < self._start:
            time.sleep(self._start - now)
        if self._rate is None:
            for connection in self._idle:
                self._send(connection, time.perf_counter())
            self._idle = []
        total = len(self._idle)
        grace = self._tally.end + 20
        while True:
            now = time.perf_counter()
            while upcoming is not None and upcoming <= now:
                if self._idle:
                    self._send(self._idle.pop(), upcoming)
                else:
                    self._waiting.append(upcoming)
                upcoming = next(due, None)
            if self._rate is None:
                if now >= self._tally.end:
                    break
            elif (upcoming is None and not self._waiting and len(self._idle) == total) or now >= grace:
                break
            timeout = (upcoming if upcoming is not None else self._tally.end + 0.01) - now
            for key, events in self._selector.select(max(timeout, 0)):
                self._serve(key.data, events)
        return self._figures(time.process_time() - cpu)

    def _connect(self) -> Connection:
        connection = Connection(socket.create_connection(self._address, timeout=30))
        connection.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        connection.socket.setblocking(False)
        self._selector.register(connection.socket, selectors.EVENT_READ, connection)
        return connection

    def _send(self, connection: Connection, due: float) -> None:
        connection.due = due
        connection.answer.clear()
        connection.needed = -1
        connection.rest = memoryview(self._requests[self._turn])
        self._turn = (self._turn + 1) % len(self._requests)
        self._push(connection)

    def _push(self, connection: Connection) -> None:
        was_writing = connection.rest.nbytes == 0
        try:
            while connection.rest.nbytes:
                connection.rest = connection.rest[connection.socket.send(connection.rest) :]
        except BlockingIOError:
            self._selector.modify(connection.socket, selectors.EVENT_READ | selectors.EVENT_WRITE, connection)
            return
        except OSError:
            self._replace(connection)
            return
        if not was_writing:
            key = self._selector.get_key(connection.socket)
            if key.events != selectors.EVENT_READ:
                self._selector.modify(connection.socket, selectors.EVENT_READ, connection)

    def _serve(self, connection: Connection, events: int) -> None:
        if events & selectors.EVENT_WRITE and connection.rest.nbytes:
            self._push(connection)
        if not events & selectors.EVENT_READ:
            return
        try:
            received = connection.socket.recv(_CHUNK)
        except BlockingIOError:
            return
        except OSError:
            received = b""
        if not received:
            self._replace(connection)
            return
        answer = connection.answer
        answer += received
        if connection.needed < 0 and (end := answer.find(b"\r\n\r\n")) >= 0:
            connection.needed = end + 4 + _content_length(bytes(answer[:end]))
        if 0 <= connection.needed <= len(answer):
            self._finish(connection)

    def _finish(self, connection: Connection) -> None:
        now = time.perf_counter()
        status = connection.answer[9:12].decode("latin-1")
        self._tally.add(status, connection.due, now, by_due=self._rate is not None)
        if b"connection: close" in connection.answer[: connection.needed].lower():
            self._replace(connection, answered=True)
        elif self._rate is None:
            if now < self._tally.end:
                self._send(connection, now)
        else:
            self._rest(connection)

    def _rest(self, connection: Connection) -> None:
        if self._waiting:
            self._send(connection, self._waiting.popleft())
        else:
            self._idle.append(connection)

    def _replace(self, connection: Connection, *, answered: bool = False) -> None:
        self._selector.unregister(connection.socket)
        connection.socket.close()
        if not answered:
            self._tally.broken += 1
        fresh = self._connect()
        if self._rate is None:
            self._send(fresh, time.perf_counter())
        else:
            self._rest(fresh)

    def _figures(self, cpu_s: float) -> dict[str, Any]:
        tally = self._tally
        ordered = sorted(1000 * latency for latency in tally.latencies)
        seconds = tally.seconds(by_due=self._rate is not None)
        share = (tally.end - tally.begin) / (tally.end - self._start)
        return {
            "requests": len(ordered),
            "per_second": len(ordered) / seconds,
            "statuses": dict(tally.statuses),
            "broken": tally.broken,
            "unanswered": len(self._waiting),
            "latency_ms": {
                name: ordered[min(int(len(ordered) * quantile), len(ordered) - 1)] if ordered else None
                for name, quantile in (("p50", 0.5), ("p90", 0.9), ("p99", 0.99), ("max", 1.0))
            },
            "mean_latency_ms": sum(ordered) / len(ordered) if ordered else None,
            "generator_cpu_us_per_request": 1e6 * cpu_s * share / max(len(ordered), 1),
        }


def _content_length(head: bytes) -> int:
    for line in head.lower().split(b"\r\n"):
        if line.startswith(b"content-length:"):
            return int(line[15:])
    raise ValueError("an answer without Content-Length")


if __name__ == "__main__":
    json.dump(Load(json.load(sys.stdin)).run(), sys.stdout)
