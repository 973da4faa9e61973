"""The bodies of all requests together take a bounded part of the memory."""

import contextlib
import json
import socket
from collections.abc import Iterator

import pytest

from contract.bundle import Bundle
from service.http.uploads import SMALL, UploadBudget
from service.settings import Settings
from tests.service.live_server import LiveServer, serving, until
from tests.service.tiny_bundle import TinyNetwork, encoded

ROOM = 3 * SMALL
LARGE = 2 * SMALL
HEAD = "POST {path} HTTP/1.1\r\nHost: x\r\nContent-Type: {type}\r\n{framing}\r\n\r\n"
CHUNKED, DECLARED = "Transfer-Encoding: chunked", f"Content-Length: {LARGE}"


@pytest.fixture(scope="module")
def live(bundle: Bundle) -> Iterator[LiveServer]:
    with serving(bundle, max_upload_bytes=ROOM, max_uploads_bytes=ROOM, max_json_bytes=ROOM) as server:
        yield server


@pytest.fixture(autouse=True)
def empty(live: LiveServer) -> None:
    """What the clients of another test have left is gone."""
    until(lambda: budget_of(live).taken == 0)


def budget_of(live: LiveServer) -> UploadBudget:
    budget = live.server.config.app.budget  # type: ignore[union-attr]
    assert isinstance(budget, UploadBudget)
    return budget


@contextlib.contextmanager
def uploading(live: LiveServer, framing: str, sent: int, path: str = "/classify") -> Iterator[socket.socket]:
    """A client that has sent so many bytes of a large body, and has been read."""
    budget = budget_of(live)
    before = budget.taken
    with socket.create_connection(("127.0.0.1", live.port), timeout=20) as client:
        kind = "image/jpeg" if path == "/classify" else "application/json"
        client.sendall(HEAD.format(path=path, type=kind, framing=framing).encode())
        for begin in range(0, sent, SMALL // 4):
            piece = b"x" * min(SMALL // 4, sent - begin)
            client.sendall(b"%x\r\n%s\r\n" % (len(piece), piece) if framing == CHUNKED else piece)
        if sent < LARGE:
            until(lambda: budget.taken >= before + sent)
        yield client


def small(live: LiveServer, network: TinyNetwork) -> int:
    image = encoded(network.cell(1))
    return live.http.post("/classify", content=image, headers={"Content-Type": "image/png"}).status_code


def large(live: LiveServer, path: str = "/classify") -> tuple[int, str]:
    """Status and text of a large body's answer; it is no image, so 422 is what it gets where there is room."""
    answer = live.http.post(path, content=b"x" * LARGE, headers={"Content-Type": "image/jpeg"})
    return answer.status_code, answer.headers.get("retry-after", "")


@pytest.mark.parametrize("framing", [DECLARED, CHUNKED], ids=["declared", "chunked"])
def test_a_body_for_which_there_is_no_room_comes_again(live: LiveServer, network: TinyNetwork, framing: str) -> None:
    with uploading(live, framing, LARGE - SMALL // 4):
        assert large(live) == (429, "1")
        assert small(live, network) == 200, "there is room for that"
    until(lambda: large(live) == (422, ""))


@pytest.mark.parametrize("path", ["/slides/summary", "/v2/models/tiny/infer"])
def test_whatever_the_body_is_for_it_is_told_in_the_way_of_its_path(live: LiveServer, path: str) -> None:
    with uploading(live, DECLARED, LARGE - SMALL // 4, path), uploading(live, DECLARED, LARGE, path) as second:
        said = second.recv(65_536).decode()
    assert said.startswith("HTTP/1.1 429 ")
    assert "HAL_MAX_UPLOADS_BYTES" in str(json.loads(said.partition("\r\n\r\n")[2])["error"])


def test_a_large_body_that_is_announced_and_not_sent_keeps_nobody_out(live: LiveServer) -> None:
    with contextlib.ExitStack() as stack:
        for _ in range(10):
            stack.enter_context(uploading(live, DECLARED, 0))
        assert large(live) == (422, "")


def test_small_bodies_take_their_room_when_they_are_announced(live: LiveServer, network: TinyNetwork) -> None:
    with contextlib.ExitStack() as stack:
        for _ in range(3):
            stack.enter_context(uploading(live, f"Content-Length: {SMALL}", SMALL // 2))
        assert small(live, network) == 429
    until(lambda: small(live, network) == 200)


def test_room_for_less_than_one_upload_is_refused_at_the_start() -> None:
    with pytest.raises(ValueError, match="raise the first or lower the second"):
        Settings(max_upload_bytes=2, max_uploads_bytes=1)
