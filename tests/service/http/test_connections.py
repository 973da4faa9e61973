import asyncio
import contextlib
import http.client
import json
import re
import select
import socket
import time
from collections.abc import Iterator
from unittest.mock import Mock

import pytest
import uvicorn
from uvicorn.server import ServerState

from contract.bundle import Bundle
from service.http.connections import connections
from service.settings import Settings
from tests.service.live_server import LiveServer, serving, until
from tests.service.process import running
from tests.service.slow_device import SlowDevice
from tests.service.tiny_bundle import TinyNetwork, encoded

HEAD = b"POST /classify HTTP/1.1\r\nHost: x\r\nContent-Type: image/png\r\nContent-Length: %d\r\n"
LIMIT_S = 0.5


@pytest.fixture(scope="module")
def server(bundle: Bundle) -> Iterator[LiveServer]:
    with serving(bundle, header_timeout_s=LIMIT_S) as live:
        yield live


def connected(server: LiveServer) -> socket.socket:
    return socket.create_connection(("127.0.0.1", server.port), timeout=10)


def drip(client: socket.socket, byte: bytes) -> bytes:
    """Send a byte now and then until the other side has had enough; what it said."""
    said = b""
    client.settimeout(LIMIT_S / 10)
    give_up = time.monotonic() + 10
    while time.monotonic() < give_up:
        try:
            client.sendall(byte)
            received = client.recv(1000)
        except TimeoutError:
            continue
        except (ConnectionResetError, BrokenPipeError):
            return said
        if not received:
            return said
        said += received
    raise AssertionError("the connection was never closed")


def test_a_head_that_drips_is_given_up(server: LiveServer) -> None:
    start = time.monotonic()
    with connected(server) as client:
        client.sendall(b"POST /classify HTTP/1.1\r\nHost: ")
        assert drip(client, b"x").startswith(b"HTTP/1.1 408")
    assert time.monotonic() - start > LIMIT_S * 0.8


def test_a_body_that_was_refused_unread_cannot_drip_on(server: LiveServer) -> None:
    with connected(server) as client:
        client.sendall(HEAD % 10**9 + b"\r\n")
        assert client.recv(1000).startswith(b"HTTP/1.1 413")
        drip(client, b"x")


def test_the_head_of_a_second_request_is_given_up_like_the_first(server: LiveServer) -> None:
    before = counted(server, "upload_timeout")
    with connected(server) as client:
        client.sendall(b"GET /health/live HTTP/1.1\r\nHost: x\r\n\r\n")
        assert client.recv(1000).startswith(b"HTTP/1.1 200")
        client.sendall(b"GET /")
        assert drip(client, b"x").startswith(b"HTTP/1.1 408")
    assert counted(server, "upload_timeout") == before + 1


def test_a_slow_body_and_a_slow_client_between_requests_are_none_of_its_business(
    server: LiveServer, network: TinyNetwork
) -> None:
    image = encoded(network.cell(1))
    client = http.client.HTTPConnection("127.0.0.1", server.port, timeout=10)
    for _ in range(2):
        client.putrequest("POST", "/classify")
        client.putheader("Content-Type", "image/png")
        client.putheader("Content-Length", str(len(image)))
        client.endheaders()
        time.sleep(1.3 * LIMIT_S)  # longer than a head may take
        client.send(image)
        response = client.getresponse()
        assert response.status == 200
        response.read()
        time.sleep(1.3 * LIMIT_S)
    client.close()


@pytest.mark.parametrize("begin", [b"GET /health/live HTTP/1.1\r\nX-Long: ", b"GET /"], ids=["value", "path"])
def test_a_head_without_end_is_refused_and_the_others_do_not_notice(server: LiveServer, begin: bytes) -> None:
    with connected(server) as client:
        client.sendall(begin)
        said, sent = b"", 0
        while not said and sent < 10_000_000:
            with contextlib.suppress(ConnectionError):
                client.sendall(b"x" * 65_536)
            sent += 65_536
            client.settimeout(0.01)
            with contextlib.suppress(TimeoutError, ConnectionError):
                said = client.recv(1000)
            assert server.http.get("/health/live").status_code == 200
        assert said.startswith(b"HTTP/1.1 431 ")
        assert sent < 2_000_000, "what a socket holds and the limit"


@pytest.mark.serial
def test_a_head_in_pieces_before_a_long_body_is_not_too_long(server: LiveServer) -> None:
    with connected(server) as client:
        head = HEAD % 500_000 + b"Connection: close\r\n\r\n"
        client.sendall(head[:20])
        time.sleep(0.05)
        client.sendall(head[20:] + b"x" * 500_000)
        assert client.recv(1000).startswith(b"HTTP/1.1 422")


def test_an_upgrade_is_a_plain_request_whose_path_stays_out_of_the_log(bundle: Bundle) -> None:
    upgrade = {
        "Connection": "Upgrade",
        "Upgrade": "websocket",
        "Sec-WebSocket-Version": "13",
        "Sec-WebSocket-Key": "dGhlIHNhbXBsZSBub25jZQ==",
    }
    with running(bundle.root, HAL_LOG_LEVEL="debug") as served, served.http() as http:
        answer = http.get("/classify/svensson.jpg", headers=upgrade)
        assert answer.status_code == 404
        assert answer.headers["x-request-id"]
        assert served.stop() == 0
        assert "svensson" not in str(served.lines())


COUNTED = {400: "bad_request", 408: "upload_timeout", 431: "head_too_large"}


def counted(server: LiveServer, outcome: str) -> float:
    text = server.http.get("/metrics").text
    found = re.search(rf'hal_requests_total{{outcome="{outcome}",route="other"}} (\S+)', text)
    return float(found[1]) if found else 0.0


@pytest.mark.parametrize(
    ("begin", "status"),
    [(b"GET / HTTP/1.1\r\nHo", 408), (b"no HTTP at all\r\n\r\n", 400), (b"GET /" + b"x" * 500_000, 431)],
    ids=["head that ends nowhere", "no HTTP", "head without end"],
)
def test_what_never_becomes_a_request_is_counted(server: LiveServer, begin: bytes, status: int) -> None:
    before = counted(server, COUNTED[status])
    with connected(server) as client:
        client.sendall(begin)
        assert client.recv(1000).startswith(b"HTTP/1.1 %d " % status)
    assert counted(server, COUNTED[status]) == before + 1


def test_a_body_that_is_no_http_is_counted_as_its_request(server: LiveServer) -> None:
    before = server.http.get("/metrics").text
    refused = counted(server, "bad_request")
    with connected(server) as client:
        client.sendall(
            b"POST /classify HTTP/1.1\r\nHost: x\r\nContent-Type: image/png\r\nTransfer-Encoding: chunked\r\n\r\n"
        )
        client.sendall(b"no length\r\n")
        assert client.recv(1000).startswith(b"HTTP/1.1 400")
    gone = 'hal_requests_total{outcome="client_gone",route="/classify"} 1.0\n'
    until(lambda: gone in server.http.get("/metrics").text)
    assert gone not in before
    assert counted(server, "bad_request") == refused


def test_a_connection_on_which_nothing_is_said_is_closed_and_no_refusal(server: LiveServer) -> None:
    before = counted(server, "upload_timeout")
    with connected(server) as client:
        assert client.recv(1000).startswith(b"HTTP/1.1 408")
        assert client.recv(1) == b""
    assert counted(server, "upload_timeout") == before


ASKED = 400
DOCUMENT = b"GET /openapi.json HTTP/1.1\r\nHost: x\r\n\r\n"
"""Its answers, ASKED times, are more than sockets hold."""


@pytest.fixture(scope="module")
def impatient(bundle: Bundle) -> Iterator[LiveServer]:
    with serving(bundle, answer_timeout_s=LIMIT_S, keep_alive_s=LIMIT_S) as live:
        yield live


def reluctant(server: LiveServer) -> socket.socket:
    """A client that holds little of what it has not read."""
    client = socket.socket()
    client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
    client.settimeout(10)
    client.connect(("127.0.0.1", server.port))
    return client


def test_answers_that_nobody_takes_are_not_kept(impatient: LiveServer) -> None:
    with reluctant(impatient) as client:
        client.sendall(DOCUMENT * ASKED)
        ended = select.poll()
        ended.register(client, select.POLLHUP)
        assert ended.poll(20_000), "the connection is still there"
    until(lambda: not impatient.server.server_state.connections)


class Stuck(asyncio.Transport):
    """Holds what its client does not take; ``taken`` of it is taken before it is asked about."""

    def __init__(self, left: int, taken: int) -> None:
        super().__init__({"socket": Mock()})
        self.left, self.taken = left, taken
        self.aborted = asyncio.Event()

    def get_write_buffer_size(self) -> int:
        self.left -= self.taken
        return max(self.left, 1)

    def is_closing(self) -> bool:
        return False

    def close(self) -> None:
        """It would close once all is taken."""

    def abort(self) -> None:
        self.aborted.set()


@pytest.mark.parametrize(("taken", "looks"), [(0, 1), (10, 3)], ids=["nothing", "something, for a while"])
def test_the_rest_of_an_answer_is_not_kept_beyond_the_end_of_a_connection(taken: int, looks: int) -> None:
    async def close() -> float:
        kind = connections(Settings(answer_timeout_s=0.05), lambda _: None)
        connection = kind(uvicorn.Config(Mock(), log_config=None, lifespan="off"), ServerState(), {})
        transport = Stuck(50, taken)
        connection.connection_made(transport)
        begin = time.monotonic()
        connection.transport.close()
        async with asyncio.timeout(10):
            await transport.aborted.wait()
        connection.connection_lost(None)
        return time.monotonic() - begin

    assert asyncio.run(close()) >= 0.04 * looks


@pytest.mark.serial
def test_a_client_that_takes_its_answers_slowly_gets_them_all(impatient: LiveServer) -> None:
    whole = len(impatient.http.get("/openapi.json").content)
    with reluctant(impatient) as client:
        client.sendall(DOCUMENT * ASKED)
        begin, received = time.monotonic(), 0
        while received < ASKED * whole:
            piece = client.recv(whole * ASKED // 20)
            assert piece, "the connection was closed"
            received += len(piece)
            behind = 4 * LIMIT_S * received / (ASKED * whole) - (time.monotonic() - begin)
            time.sleep(max(0.0, behind))  # as slow as a line that takes several limits for all of it


def test_a_client_that_ends_its_sending_side_gets_its_answer(bundle: Bundle, network: TinyNetwork) -> None:
    device, image = SlowDevice(held=True), encoded(network.cell(1))
    with serving(bundle, open_engine=lambda *_: device) as slow, connected(slow) as client:
        client.sendall(HEAD % len(image) + b"\r\n" + image)
        client.shutdown(socket.SHUT_WR)
        until(lambda: device.batches != [])
        time.sleep(0.3)  # longer than it takes to find out who went away
        device.let_go()
        response = http.client.HTTPResponse(client)
        response.begin()  # leaves interim responses out
        assert response.status == 200
        assert response.read()
        assert client.recv(1) == b"", "nothing else can be asked on this connection"


@pytest.mark.parametrize("version", [b"1.0", b"1.1"])
def test_a_quick_answer_to_such_a_client_is_whole_too(server: LiveServer, version: bytes) -> None:
    with connected(server) as client:
        client.sendall(b"GET /model HTTP/%s\r\nHost: x\r\n\r\n" % version)
        client.shutdown(socket.SHUT_WR)
        response = http.client.HTTPResponse(client)
        response.begin()
        assert response.status == 200
        assert json.loads(response.read())["name"] == "tiny"


def test_all_pipelined_requests_of_such_a_client_are_answered(server: LiveServer) -> None:
    with connected(server) as client:
        client.sendall(b"GET /health/live HTTP/1.1\r\nHost: x\r\n\r\n" * 3)
        client.shutdown(socket.SHUT_WR)
        said = b""
        while received := client.recv(10_000):
            said += received
    assert said.count(b"HTTP/1.1 200 ") == 3


def test_a_request_that_such_a_client_did_not_finish_is_over(server: LiveServer) -> None:
    before = server.hal.statistics.disconnected
    with connected(server) as client:
        client.sendall(HEAD % 1000 + b"\r\nx")
        client.shutdown(socket.SHUT_WR)
        assert client.recv(1000) == b""
    until(lambda: server.hal.statistics.disconnected == before + 1)


@pytest.mark.serial
def test_a_connection_is_kept_as_long_as_is_set(bundle: Bundle) -> None:
    with serving(bundle, keep_alive_s=1) as live, connected(live) as client:
        client.sendall(b"GET /health/live HTTP/1.1\r\nHost: x\r\n\r\n")
        assert client.recv(10_000).startswith(b"HTTP/1.1 200")
        start = time.monotonic()
        assert client.recv(1) == b""
        assert 0.8 < time.monotonic() - start < 4
