"""Clients that vanish or never finish, of a service that is a process of its own; see docs/reliability.md."""

import contextlib
import select
import socket
from pathlib import Path

import httpx

from contract.bundle import Bundle
from tests.service.classify_requests import form
from tests.service.live_server import until
from tests.service.load_clients import becomes, load, post, until_answered
from tests.service.process import Process, running


def test_clients_that_vanish_are_noticed_at_once_and_hurt_nobody(slow: Path, cell: bytes) -> None:
    head = "POST /classify HTTP/1.1\r\nHost: x\r\nX-Request-ID: %s\r\nContent-Type: %s\r\nContent-Length: %d\r\n\r\n"
    request = httpx.Request("POST", "http://x/classify", files=form(*[cell] * 40))
    images, kind = request.read(), request.headers["Content-Type"]
    with running(slow, HAL_MAX_BATCH="2") as served, load(served, cell, clients=4) as clients:
        for number in range(20):
            with served.connect() as while_sending, served.connect() as while_waiting:
                while_sending.sendall((head % (f"sending-{number}", "image/png", 99_999)).encode() + cell[:50])
                while_waiting.sendall((head % (f"waiting-{number}", kind, len(images))).encode() + images)
        until(lambda: len(statuses(served, "sending-")) == len(statuses(served, "waiting-")) == 20)
        until_answered(served, 10)
        assert set(clients.stop()) == {"200"}
        assert set(statuses(served, "sending-")) == {499}
        # Where the machine has halted this process for so long that the answer was there, nobody has vanished.
        assert {499} <= set(statuses(served, "waiting-")) <= {499, 200}
        assert served.answers("/health/ready") == 200
        assert served.stop() == 0


def statuses(served: Process, prefix: str) -> list[int]:
    """What the log says of the requests whose ID begins so."""
    return [
        line["status"]
        for line in served.lines()
        if line["message"] == "request" and line["request_id"].startswith(prefix)
    ]


def test_slow_loris_is_shown_the_door_and_the_others_do_not_notice(bundle: Bundle, cell: bytes) -> None:
    limits = {"HAL_HEADER_TIMEOUT_S": "3", "HAL_UPLOAD_TIMEOUT_S": "3"}
    with running(bundle.root, **limits) as served, contextlib.ExitStack() as stack:
        heads = [stack.enter_context(served.connect()) for _ in range(100)]
        bodies = [stack.enter_context(served.connect()) for _ in range(100)]
        for client in heads:
            client.sendall(b"POST /classify HTTP/1.1\r\nHo")
        for client in bodies:
            client.sendall(
                b"POST /classify HTTP/1.1\r\nHost: x\r\nContent-Type: image/png\r\nContent-Length: 999\r\n\r\nx"
            )
        assert becomes(post(served, cell)) == "200"
        assert not all(said_something(client) for client in (*heads, *bodies)), "while they were still dripping"
        for client in (*heads, *bodies):
            assert client.recv(1000).startswith(b"HTTP/1.1 408")
        assert served.stop() == 0


def said_something(client: socket.socket) -> bool:
    """Whether there is something to read."""
    return bool(select.select([client], [], [], 0)[0])
