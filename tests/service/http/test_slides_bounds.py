"""``POST /slides/summary``: bounded in size and time, a client that leaves is noticed, nothing is on the event loop."""

import socket
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import Any

import httpx
import pytest

from service.http.routes import slides
from service.slides import MOST_BYTES, GivenSlide, read_slide
from tests.service.classify_requests import error_of
from tests.service.live_server import PATIENCE_S, LiveServer, until

PATH = "/slides/summary"
BODY: dict[str, Any] = {"results": [{"class_id": "lymphocyte", "hairy_cell": {"flag": False}}]}


@contextmanager
def slow_reading(monkeypatch: pytest.MonkeyPatch) -> Iterator[threading.Event]:
    """Results are read only when the block ends; the event says that one began."""
    begun, carry_on = threading.Event(), threading.Event()

    def read(document: bytes) -> GivenSlide:
        begun.set()
        carry_on.wait(PATIENCE_S)
        return read_slide(document)

    monkeypatch.setattr(slides, "read_slide", read)
    try:
        yield begun
    finally:
        carry_on.set()


def test_reading_results_does_not_keep_health_checks_waiting(live: LiveServer, monkeypatch: pytest.MonkeyPatch) -> None:
    with ThreadPoolExecutor(1) as clients:
        with slow_reading(monkeypatch) as begun:
            summary = clients.submit(live.http.post, PATH, json=BODY)
            assert begun.wait(PATIENCE_S)
            assert httpx.get(f"{live.url}/health/live", timeout=PATIENCE_S / 4).status_code == 200
            assert not summary.done()
        assert summary.result().status_code == 200


def test_a_body_that_declares_too_much_is_refused_unread(live: LiveServer) -> None:
    assert live.hal.settings.max_upload_bytes > MOST_BYTES
    with socket.create_connection(("127.0.0.1", live.port), timeout=10) as client:
        client.sendall(
            b"POST %s HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n"
            % (PATH.encode(), MOST_BYTES + 1)
        )
        answer = client.recv(10_000)
    assert answer.startswith(b"HTTP/1.1 413")
    assert b"at most %d bytes are accepted; leave the probabilities out." % MOST_BYTES in answer


def test_headers_that_are_not_understood_are_refused(live: LiveServer) -> None:
    response = live.http.post(PATH, json=BODY, headers={"X-Request-Timeout-Ms": "soon", "X-Priority": "mine"})
    message = error_of(response, 400)["message"]
    assert "'soon'" in message
    assert "'mine'" in message


def test_the_deadline_of_a_request_holds(live: LiveServer, monkeypatch: pytest.MonkeyPatch) -> None:
    with slow_reading(monkeypatch):
        response = live.http.post(PATH, json=BODY, headers={"X-Request-Timeout-Ms": "100"})
    assert error_of(response, 504)["code"] == "deadline_exceeded"


def test_a_client_that_vanishes_is_counted(live: LiveServer, monkeypatch: pytest.MonkeyPatch) -> None:
    before = live.hal.statistics.disconnected
    with slow_reading(monkeypatch):
        with pytest.raises(httpx.ReadTimeout):
            httpx.post(f"{live.url}{PATH}", json=BODY, timeout=httpx.Timeout(PATIENCE_S, read=0.3))
        # While it is still being read: once that is over, an answer may be made before anybody looks.
        until(lambda: live.hal.statistics.disconnected == before + 1)
