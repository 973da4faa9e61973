"""The load generator: prepared requests over kept connections, from one event loop.

*Closed loop*: each connection sends its next request when it has its answer. *Open loop*: requests are due at times
that are drawn beforehand, whatever the service does. Latency counts from when a request was due, not from when a
connection was free for it; otherwise a slow service would be asked less and look better (coordinated omission).
"""

import asyncio
import random
import select
import selectors
import ssl
import sys
import time
from array import array
from collections import deque
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from itertools import cycle
from typing import Final
from urllib.parse import SplitResult, urlsplit

import httptools

from bench.requests import Request, Target, code_of

OK: Final = "ok"
MOST_CONNECTIONS: Final = 4096
_MOST_WATCH_S: Final = 0.5
"""Until the next look at requests that may have timed out."""
_RETRY_S: Final = 0.05
"""Until a client of a closed loop that was refused a connection tries again."""


@dataclass(frozen=True, slots=True)
class Load:
    """How often requests are sent.

    Attributes:
        rate: requests a second of an open loop; ``None``: a closed loop.
        connections: clients of a closed loop; most connections of an open loop, whose requests wait for one.
        duration_s: measured seconds.
        warmup_s: seconds of the same load before them.
        even: equal gaps instead of exponential ones (Poisson arrivals).
        seed: of the gaps.
    """

    rate: float | None = None
    connections: int = MOST_CONNECTIONS
    duration_s: float = 10.0
    warmup_s: float = 2.0
    even: bool = False
    seed: int = 1

    def __str__(self) -> str:
        if self.rate is not None:
            return f"open loop, {self.rate:.3g} requests/s, {'equal gaps' if self.even else 'Poisson arrivals'}"
        return f"closed loop, {self.connections} clients"


@dataclass(slots=True)
class Samples:
    """One entry a request, in the order of the answers; times in seconds since the measured time began.

    Attributes:
        due: when it should have been sent; below 0 in the warm-up.
        sent: when it was.
        ended: when its whole answer had arrived, or it failed.
        outcomes: ``ok``, the service's error code, or the kind of failure.
        cpu_share: of one core, used by the generator.
    """

    due: "array[float]" = field(default_factory=lambda: array("d"))
    sent: "array[float]" = field(default_factory=lambda: array("d"))
    ended: "array[float]" = field(default_factory=lambda: array("d"))
    outcomes: list[str] = field(default_factory=list)
    cpu_share: float = 0.0

    def add(self, due: float, sent: float, ended: float, outcome: str) -> None:
        self.due.append(due)
        self.sent.append(sent)
        self.ended.append(ended)
        self.outcomes.append(outcome)


def due_times(load: Load) -> Iterator[float]:
    """When the requests of an open loop are due, from ``-warmup_s`` to ``duration_s``."""
    if load.rate is None:
        raise ValueError("a closed loop has no schedule")
    gaps = random.Random(load.seed)  # noqa: S311 - a schedule, not a secret
    due = -load.warmup_s
    while (due := due + (1 / load.rate if load.even else gaps.expovariate(load.rate))) < load.duration_s:
        yield due


def send(target: Target, requests: Sequence[Request], load: Load) -> Samples:
    """Put the load on the target and wait until every request has been answered or has failed."""
    with asyncio.Runner(loop_factory=lambda: asyncio.SelectorEventLoop(_Selector())) as runner:
        return runner.run(_Generator(target, requests, load).run())


class _Generator:
    def __init__(self, target: Target, requests: Sequence[Request], load: Load) -> None:
        self._target, self._load = target, load
        self._address = urlsplit(target.url)
        self._tls = ssl.create_default_context() if self._address.scheme == "https" else None
        self.requests = cycle([_on_the_wire(self._address, target, request) for request in requests])
        self.connections: set[_Connection] = set()
        self._idle: list[_Connection] = []
        self._waiting: deque[float] = deque()
        self._opened = 0
        self._under_way = 0
        self._tasks: set[asyncio.Task[None]] = set()
        self._all_ended = asyncio.Event()
        self._begin = 0.0
        self.samples = Samples()

    async def run(self) -> Samples:
        load, loop = self._load, asyncio.get_running_loop()
        self._begin = time.perf_counter() + load.warmup_s + 0.01
        watching = loop.create_task(self._watch())
        cpu = loop.create_task(self._cpu_share())
        self._under_way = 1  # This schedule: requests may all have ended while more are still to come.
        if load.rate is None:
            for _ in range(load.connections):
                self._start(self.now())
        else:
            for due in due_times(load):
                # Behind its schedule the loop still has to read answers.
                await asyncio.sleep(max(due - self.now(), 0))
                self._start(due)
        self.samples.cpu_share = await cpu
        self._end_one()
        await self._all_ended.wait()
        watching.cancel()
        for connection in self.connections:
            connection.fail("")
        return self.samples

    async def _cpu_share(self) -> float:
        await asyncio.sleep(-self.now())
        before = time.process_time()
        await asyncio.sleep(self._load.duration_s - self.now())
        return (time.process_time() - before) / self._load.duration_s

    def now(self) -> float:
        return time.perf_counter() - self._begin

    def ended(self, due: float, sent: float, outcome: str, connection: "_Connection | None") -> None:
        """Record an answer or failure; the connection, if it is kept, has its next request."""
        now = self.now()
        self.samples.add(due, sent, now, outcome)
        if connection is None:
            self._opened -= 1
        else:
            self._idle.append(connection)
        if self._load.rate is None:
            if now < self._load.duration_s:
                self._start(now)
        elif self._waiting:
            self._under_way -= 1
            self._start(self._waiting.popleft())
        self._end_one()

    def lost(self, connection: "_Connection") -> None:
        """The service has closed a connection that was idle."""
        if connection in self._idle:
            self._idle.remove(connection)
            self._opened -= 1

    def _start(self, due: float) -> None:
        self._under_way += 1
        if self._idle:
            self._idle.pop().send(due)
        elif self._opened < self._load.connections:
            self._opened += 1
            task = asyncio.get_running_loop().create_task(self._open(due))
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)
        else:
            self._waiting.append(due)

    async def _open(self, due: float) -> None:
        sent, port = self.now(), self._address.port or (443 if self._tls else 80)
        try:
            async with asyncio.timeout(self._target.timeout_s):
                _, connection = await asyncio.get_running_loop().create_connection(
                    lambda: _Connection(self), self._address.hostname or "", port, ssl=self._tls
                )
        except (OSError, TimeoutError) as error:
            if self._load.rate is None:
                await asyncio.sleep(_RETRY_S)
            self.ended(due, sent, "timeout" if isinstance(error, TimeoutError) else type(error).__name__, None)
        else:
            connection.send(due)

    async def _watch(self) -> None:
        while True:
            await asyncio.sleep(min(_MOST_WATCH_S, self._target.timeout_s / 4))
            overdue = self.now() - self._target.timeout_s
            for connection in [*self.connections]:
                if connection.busy and connection.sent < overdue:
                    connection.fail("timeout")
            while self._waiting and self._waiting[0] < overdue:
                due = self._waiting.popleft()
                self.samples.add(due, due, self.now(), "timeout")
                self._end_one()

    def _end_one(self) -> None:
        self._under_way -= 1
        if not self._under_way:
            self._all_ended.set()


class _Connection(asyncio.Protocol):
    """One kept connection with one request at a time."""

    def __init__(self, generator: _Generator) -> None:
        self._generator = generator
        self._parser = httptools.HttpResponseParser(self)
        self._error = b""
        self._complete = self._kept = False
        self.due = self.sent = 0.0
        self.busy = False

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)  # noqa: S101
        self._transport = transport
        self._generator.connections.add(self)

    def send(self, due: float) -> None:
        self._error, self._complete = b"", False
        self.due, self.sent, self.busy = due, self._generator.now(), True
        self._transport.write(next(self._generator.requests))

    def data_received(self, data: bytes) -> None:
        try:
            self._parser.feed_data(data)
        except httptools.HttpParserError:
            self.fail("not HTTP")
        if self.busy and self._complete:
            status = self._parser.get_status_code()
            self._finish(OK if status == 200 else code_of(status, self._error), kept=self._kept)

    def on_body(self, body: bytes) -> None:
        if self._parser.get_status_code() != 200:
            self._error += body

    def on_message_complete(self) -> None:
        """Called by the parser, which knows only now whether the connection is kept."""
        self._complete, self._kept = True, self._parser.should_keep_alive()

    def connection_lost(self, _: Exception | None) -> None:
        self._generator.connections.discard(self)
        self.fail("connection lost")

    def fail(self, outcome: str) -> None:
        """Close the connection; the request, if there is one, has this outcome."""
        if self.busy:
            self._finish(outcome, kept=False)
        else:
            self._generator.lost(self)
            self._transport.abort()

    def _finish(self, outcome: str, *, kept: bool) -> None:
        self.busy = False
        if not kept:
            self._transport.abort()
        self._generator.ended(self.due, self.sent, outcome, self if kept else None)


def _on_the_wire(address: SplitResult, target: Target, request: Request) -> bytes:
    headers = target.headers | {
        "Host": address.netloc.rpartition("@")[2],
        "Accept": "*/*",
        "Content-Type": request.content_type,
        "Content-Length": str(len(request.body)),
    }
    lines = "".join(f"{name}: {value}\r\n" for name, value in headers.items())
    return f"POST {address.path.rstrip('/')}{request.path} HTTP/1.1\r\n{lines}\r\n".encode("latin-1") + request.body


if sys.platform == "linux":

    class _Selector(selectors.EpollSelector):
        """Wakes within microseconds of when a request is due; epoll itself waits whole milliseconds, rounded up."""

        def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
            ready = super().select(0)
            if ready or timeout == 0:
                return ready
            select.select([self.fileno()], [], [], timeout)
            return super().select(0)

else:
    _Selector = selectors.DefaultSelector
