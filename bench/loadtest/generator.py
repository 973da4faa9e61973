"""The load generator: one event loop that sends prepared requests and notes when each was due, sent and answered."""

import asyncio
import json
import random
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from itertools import count

import aiohttp

from bench.loadtest.plan import MOST_IN_FLIGHT, Load, Target
from bench.loadtest.requests import Form

OK = "ok"
NOT_SENT = "not_sent"
_CLASSIFY = "/classify"


@dataclass(frozen=True, slots=True)
class Sample:
    """One request.

    Attributes:
        due: when it should have been sent, in seconds since the measured time began.
        sent: when it was.
        ended: when its whole answer was there, or the failure.
        outcome: ``ok``, or the service's error code, or the kind of failure.
        images: in it.
    """

    due: float
    sent: float
    ended: float
    outcome: str
    images: int


@dataclass(slots=True)
class Run:
    """What happened under one load; samples of the warm-up have a ``due`` below 0."""

    load: Load
    samples: list[Sample] = field(default_factory=list)
    cpu_share: float = 0.0
    """Of one core, that the generator itself used."""


def due_times(load: Load) -> Iterator[float]:
    """When the requests of an open loop are due, from ``-warmup_s`` to ``duration_s``."""
    if load.rate is None:
        raise ValueError("a closed loop has no schedule")
    gaps = random.Random(load.seed)  # noqa: S311 - a schedule, not a secret
    due = -load.warmup_s
    while True:
        due += 1 / load.rate if load.even else gaps.expovariate(load.rate)
        if due >= load.duration_s:
            return
        yield due


def session_for(target: Target) -> aiohttp.ClientSession:
    """A session with as many connections as requests at once."""
    return aiohttp.ClientSession(
        base_url=target.url,
        headers=target.headers,
        timeout=aiohttp.ClientTimeout(total=target.timeout_s),
        connector=aiohttp.TCPConnector(limit=0, keepalive_timeout=60),
    )


async def run(target: Target, forms: Sequence[Form], load: Load) -> Run:
    """Put the load on the target and wait until everything that was sent has ended."""
    found = Run(load)
    cpu, wall = time.process_time(), time.perf_counter()
    async with session_for(target) as session:
        begin = time.perf_counter() + load.warmup_s + 0.01
        sender = _Sender(session, forms, begin, found.samples)
        await (_open_loop(sender, load) if load.rate is not None else _closed_loop(sender, load))
    found.cpu_share = (time.process_time() - cpu) / (time.perf_counter() - wall)
    return found


class _Sender:
    def __init__(
        self, session: aiohttp.ClientSession, forms: Sequence[Form], begin: float, samples: list[Sample]
    ) -> None:
        self._session = session
        self._forms = forms
        self._turn = count()
        self._begin = begin
        self.samples = samples

    def now(self) -> float:
        return time.perf_counter() - self._begin

    async def send(self, due: float) -> None:
        form = self._forms[next(self._turn) % len(self._forms)]
        sent = self.now()
        try:
            async with self._session.post(
                _CLASSIFY, data=form.body, headers={"Content-Type": form.content_type}
            ) as answer:
                body = await answer.read()
                outcome = OK if answer.status == 200 else code_of(answer.status, body)
        except TimeoutError:
            outcome = "timeout"
        except aiohttp.ClientError as error:
            outcome = type(error).__name__
        self.samples.append(Sample(due, sent, self.now(), outcome, form.images))

    def leave(self, due: float) -> None:
        self.samples.append(Sample(due, due, due, NOT_SENT, 0))


def code_of(status: int, body: bytes) -> str:
    """The service's code of an error, or else its status."""
    try:
        return f"{status} {json.loads(body)['error']['code']}"
    except (ValueError, KeyError, TypeError):
        return str(status)


async def _open_loop(sender: _Sender, load: Load) -> None:
    in_flight: set[asyncio.Task[None]] = set()
    for due in due_times(load):
        if (wait := due - sender.now()) > 0:
            await asyncio.sleep(wait)
        else:
            # Behind its schedule it would never give the loop to the requests.
            await asyncio.sleep(0)
        if len(in_flight) >= MOST_IN_FLIGHT:
            sender.leave(due)
            continue
        task = asyncio.create_task(sender.send(due))
        in_flight.add(task)
        task.add_done_callback(in_flight.discard)
    await asyncio.gather(*in_flight)


async def _closed_loop(sender: _Sender, load: Load) -> None:
    async def client() -> None:
        while (now := sender.now()) < load.duration_s:
            await sender.send(now)

    await asyncio.gather(*(client() for _ in range(load.concurrency or 1)))
