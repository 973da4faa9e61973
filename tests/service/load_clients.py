"""Clients of a service that runs in processes of its own: what they send, and what becomes of it."""

import collections
import contextlib
import threading
import time
from collections.abc import Iterator

import httpx

from contract.classes import CLASS_NAMES
from tests.service.classify_requests import form
from tests.service.live_server import until
from tests.service.process import Process
from tests.service.tiny_bundle import HANG, POISON, coloured, encoded

CELL = 3
"""The class of what :class:`Load` sends."""
ROUNDS = 9_000
"""Of a network that takes its time: about 5 ms an image."""

Answers = collections.Counter[str]

HANGING = encoded(coloured(HANG))
POISONED = encoded(coloured(POISON))


def post(served: Process, *images: bytes, **headers: str) -> httpx.Response:
    """The answer to a request on a connection of its own."""
    with served.http() as client:
        return client.post("/classify", files=form(*images), headers=headers)


def code_of(response: httpx.Response) -> str:
    return str(response.json()["error"]["code"])


def becomes(response: httpx.Response) -> str:
    """What became of a request for cells of the class CELL: ``200`` or the error's code; a wrong answer is none."""
    if response.status_code == 200:
        assert {result["class_name"] for result in response.json()["results"]} == {CLASS_NAMES[CELL]}
        return "200"
    if code_of(response) == "engine_lost":
        assert int(response.headers["Retry-After"]) >= 1
    return code_of(response)


class Load:
    """Clients that ask all the time: what became of their requests so far."""

    def __init__(self) -> None:
        self._enough = threading.Event()
        self._answers: Answers = collections.Counter()
        self._lock = threading.Lock()
        self._asking: list[threading.Thread] = []

    def stop(self) -> Answers:
        """Let them stop, and count what became of all their requests."""
        self._enough.set()
        for client in self._asking:
            client.join()
        return self._answers

    def start(self, served: Process, cell: bytes, clients: int, *, until_refused: bool) -> None:
        self._asking = [
            threading.Thread(target=self._ask, args=(served, cell, until_refused), name=f"client-{number}")
            for number in range(clients)
        ]
        for client in self._asking:
            client.start()

    def _count(self, answer: str) -> None:
        with self._lock:
            self._answers[answer] += 1

    def _ask(self, served: Process, cell: bytes, until_refused: bool) -> None:
        with served.http() as client:
            while not self._enough.is_set():
                try:
                    answer = becomes(client.post("/classify", files=form(cell)))
                except httpx.ConnectError:
                    answer = "refused"
                except httpx.TransportError:
                    answer = "cut off"
                except Exception as error:
                    answer = f"wrong: {error!r}"
                self._count(answer)
                if answer == "refused" and until_refused:
                    return
                if answer != "200":
                    time.sleep(0.01)  # As somebody who was turned away; the machine has something to do meanwhile.


@contextlib.contextmanager
def load(served: Process, cell: bytes, clients: int = 8, *, until_refused: bool = False) -> Iterator[Load]:
    """Clients that ask until the block ends, one request after the other on a connection that is kept while it lives.

    Args:
        served: whom.
        cell: of the class CELL.
        clients: how many.
        until_refused: whether a client stops when nobody listens any more.
    """
    asking = Load()
    asking.start(served, cell, clients, until_refused=until_refused)
    try:
        yield asking
    finally:
        asking.stop()


def answered(served: Process, status: int = 200) -> int:
    """Requests to /classify that the log says were answered so; its lines are written after the answers."""
    lines = [line for line in served.lines() if line.get("path") == "/classify"]
    return sum(line["status"] == status for line in lines)


def until_answered(served: Process, more: int) -> None:
    """Wait until so many more requests were answered with 200."""
    before = answered(served)
    until(lambda: answered(served) >= before + more)
