"""The threads between an upload and the queue: bytes to pixels, several images a hop.

A hop from the event loop to a thread and back costs as much as a third of a decoding, so it is shared: a thread that is
free takes what is waiting, its part of it when others are free too, and hands all of it back at once. A large image
goes alone, so that no small one waits for it. Routine images go first, as before the device, and every fourth turn is
bulk's.
"""

import asyncio
import contextlib
import hashlib
import itertools
from collections import deque
from collections.abc import Callable, Sequence
from queue import Empty, SimpleQueue
from typing import Final, NamedTuple, TypeAlias

import numpy as np
from numpy.typing import NDArray

from contract.refusals import ImageRefusedError
from service.batching.queue import BULK_TURN, Priority, deliver
from service.threads import start_thread

_MOST_IMAGES: Final = 8
_MOST_BYTES: Final = 1 << 17
"""Of one hop; about 2 ms of work."""

Pixels: TypeAlias = NDArray[np.uint8]
Decode: TypeAlias = Callable[[bytes], Pixels]


class Decoded(NamedTuple):
    """What became of an encoded image: its SHA-256, and its pixels or why there are none."""

    sha256: str
    outcome: Pixels | ImageRefusedError


_Job: TypeAlias = tuple[bytes, asyncio.Future[Decoded]]
_Done: TypeAlias = tuple[asyncio.Future[Decoded], Decoded | BaseException]


class Decoders:
    """Threads that call ``decode``, which gives pixels or refuses. To be used in one event loop."""

    def __init__(self, threads: int, decode: Decode) -> None:
        self.decode_one = decode
        self._waiting: dict[Priority, deque[_Job]] = {priority: deque() for priority in Priority}
        self._turns = itertools.count(1)
        self._tokens: SimpleQueue[bool] = SimpleQueue()
        """One for each job that waits; ``False`` ends a thread."""
        self._threads = threads
        self._running = 0
        self._new = 0

    def start(self) -> None:
        """Start the threads that do not run, for the running event loop; after NoThreadError to be called again."""
        while self._running < self._threads:
            start_thread(self._work, f"hal-decode_{self._running}", asyncio.get_running_loop())
            self._running += 1

    def decode(self, data: bytes, priority: Priority = Priority.ROUTINE) -> asyncio.Future[Decoded]:
        """What becomes of ``data``. Cancelling it saves the work if it has not begun."""
        loop = asyncio.get_running_loop()
        answer: asyncio.Future[Decoded] = loop.create_future()
        self._waiting[priority].append((data, answer))
        # At the end of the loop's turn: a thread that is woken earlier only waits for the interpreter's lock, and finds
        # one image where it would find all of the turn.
        if not self._new:
            loop.call_soon(self._announce)
        self._new += 1
        return answer

    def _announce(self) -> None:
        new, self._new = self._new, 0
        for _ in range(new):
            self._tokens.put(True)

    def close(self) -> None:
        for _ in range(self._running):
            self._tokens.put(False)

    def _work(self, loop: asyncio.AbstractEventLoop) -> None:
        while self._tokens.get():
            done = [self._do(job) for job in self._take()]
            try:
                loop.call_soon_threadsafe(_deliver, done)
            except RuntimeError:
                return  # The loop was closed: nobody waits any more.

    def _take(self) -> list[_Job]:
        """The jobs of one hop, the first of them for a token that the caller has."""
        order = [Priority.BULK, Priority.ROUTINE] if next(self._turns) % BULK_TURN == 0 else [*Priority]
        waiting, job = self._first(order)
        jobs, size = [job], len(job[0])
        share = min(1 + self._tokens.qsize() // self._threads, _MOST_IMAGES)
        while len(jobs) < share and size < _MOST_BYTES:
            try:
                if not self._tokens.get_nowait():
                    self._tokens.put(False)
                    break
                job = waiting.popleft()
            except Empty:
                break
            except IndexError:
                self._tokens.put(True)  # It stands for a job of the other priority.
                break
            if len(job[0]) > _MOST_BYTES:
                waiting.appendleft(job)
                self._tokens.put(True)
                break
            jobs.append(job)
            size += len(job[0])
        return jobs

    def _first(self, order: Sequence[Priority]) -> tuple[deque[_Job], _Job]:
        # There is one for each token, but another thread may take what is looked at second meanwhile.
        while True:
            for priority in order:
                waiting = self._waiting[priority]
                with contextlib.suppress(IndexError):
                    return waiting, waiting.popleft()

    def _do(self, job: _Job) -> _Done:
        data, answer = job
        if answer.cancelled():
            return answer, asyncio.CancelledError()
        try:
            sha256 = hashlib.sha256(data).hexdigest()
            try:
                return answer, Decoded(sha256, self.decode_one(data))
            except ImageRefusedError as refusal:
                # Without its traceback, which would keep the file and what was decoded of it.
                return answer, Decoded(sha256, refusal.with_traceback(None))
        except BaseException as error:
            return answer, error


def _deliver(done: Sequence[_Done]) -> None:
    for answer, outcome in done:
        deliver(answer, outcome)
