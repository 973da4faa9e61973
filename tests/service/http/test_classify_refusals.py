"""Requests that cannot be used: refused as early as it can be known, with what was expected."""

import base64
import gzip
import socket
from collections.abc import Iterator

import pytest

from contract.bundle import Bundle
from service.batching.queue import Priority
from service.errors import RequestError
from service.http.requests import parse_options
from tests.service.classify_requests import error_of, form
from tests.service.live_server import LiveServer, serving


@pytest.fixture(scope="module")
def server(bundle: Bundle) -> Iterator[LiveServer]:
    with serving(bundle, max_upload_bytes=2_000_000, max_image_bytes=1_000_000, max_files=40) as live:
        yield live


def test_another_field_is_refused_with_a_hint(server: LiveServer, cell: bytes) -> None:
    error = error_of(server.http.post("/classify", files=form(cell, field="image")), 400)
    assert error["code"] == "unknown_field"
    assert "'image'" in error["message"]
    assert "curl -F file=@" in error["message"]
    both = server.http.post("/classify", files=[*form(cell), ("note", (None, b"patient 7"))])
    assert error_of(both, 400)["code"] == "unknown_field"


def test_text_instead_of_a_file_is_refused_with_a_hint(server: LiveServer) -> None:
    error = error_of(server.http.post("/classify", files=[("file", (None, b"cell.jpg"))]), 400)
    assert error["code"] == "not_a_file"


@pytest.mark.parametrize(
    ("content_type", "body"),
    [
        ("multipart/form-data", b"--b\r\n"),
        ("multipart/form-data; boundary=b", b"nonsense"),
        ("multipart/form-data; boundary=b", b""),
        (f"multipart/form-data; boundary={'b' * 999}", b""),
        (
            "multipart/form-data; boundary=b",
            b'--b\r\nContent-Disposition: form-data; name="file"; filename="x"\r\n\r\nxx',
        ),
    ],
    ids=["no boundary", "nonsense", "empty", "long boundary", "cut off"],
)
def test_a_broken_form_is_refused(server: LiveServer, content_type: str, body: bytes) -> None:
    error = error_of(server.http.post("/classify", content=body, headers={"Content-Type": content_type}), 400)
    assert error["code"] == "broken_form"


@pytest.mark.parametrize("content_type", ["image/gif", "application/json", "application/octet-stream", ""])
def test_another_content_type_is_refused_with_a_hint(server: LiveServer, content_type: str) -> None:
    error = error_of(server.http.post("/classify", content=b"x", headers={"Content-Type": content_type}), 415)
    assert "image/jpeg" in error["message"]


@pytest.mark.parametrize("path", ["/classify", "/slides/classify", "/slides/summary"])
def test_a_compressed_body_is_refused_as_what_it_is(server: LiveServer, path: str, cell: bytes) -> None:
    kind = "application/json" if path.endswith("summary") else "image/png"
    headers = {"Content-Type": kind, "Content-Encoding": "gzip"}
    error = error_of(server.http.post(path, content=gzip.compress(cell), headers=headers), 415)
    assert error["code"] == "unsupported_encoding"
    assert "Content-Encoding is 'gzip', expected none" in error["message"]


def test_an_image_as_base64_text_is_told_as_that(server: LiveServer, cell: bytes) -> None:
    head = 'Content-Disposition: form-data; name="file"; filename="x.png"\r\nContent-Transfer-Encoding: base64'
    body = f"--b\r\n{head}\r\n\r\n{base64.b64encode(cell).decode()}\r\n--b--\r\n"
    response = server.http.post(
        "/classify", content=body.encode(), headers={"Content-Type": "multipart/form-data; boundary=b"}
    )
    assert response.status_code == 422
    error = response.json()["results"][0]["error"]
    assert error["code"] == "unsupported_type"
    assert "base64 text" in error["message"]
    assert "send the file's bytes as they are" in error["message"]


def test_a_body_that_declares_too_much_is_refused_unread(server: LiveServer) -> None:
    with socket.create_connection(("127.0.0.1", server.port), timeout=10) as client:
        client.sendall(
            b"POST /classify HTTP/1.1\r\nHost: x\r\nContent-Type: image/png\r\nContent-Length: 2000001\r\n\r\n"
        )
        assert client.recv(1000).startswith(b"HTTP/1.1 413")


def test_a_body_that_grows_too_large_is_refused_while_it_is_read(server: LiveServer) -> None:
    sent = 0

    def chunks() -> Iterator[bytes]:
        nonlocal sent
        for _ in range(2000):
            sent += 10_000
            yield bytes(10_000)

    response = server.http.post("/classify", content=chunks(), headers={"Content-Type": "image/png"})
    assert error_of(response, 413)["code"] == "request_too_large"


def test_too_many_files_are_refused(server: LiveServer) -> None:
    assert error_of(server.http.post("/classify", files=form(*[b"x"] * 41)), 413)["code"] == "too_many_files"


def test_one_image_that_is_too_large_is_refused_alone(server: LiveServer, cell: bytes) -> None:
    response = server.http.post("/classify", files=form(b"BM" + bytes(1_000_000), cell))
    assert response.status_code == 200
    assert response.json()["results"][0]["error"]["code"] == "image_too_large"


def test_a_body_that_does_not_arrive_is_given_up(bundle: Bundle) -> None:
    with (
        serving(bundle, upload_timeout_s=0.1) as live,
        socket.create_connection(("127.0.0.1", live.port), timeout=10) as client,
    ):
        client.sendall(b"POST /classify HTTP/1.1\r\nHost: x\r\nContent-Type: image/png\r\nContent-Length: 9\r\n\r\nBM")
        assert client.recv(1000).startswith(b"HTTP/1.1 408")


def test_headers_that_are_not_understood_are_refused_before_the_body_is_read(server: LiveServer) -> None:
    with socket.create_connection(("127.0.0.1", server.port), timeout=10) as client:
        client.sendall(
            b"POST /classify HTTP/1.1\r\nHost: x\r\nContent-Type: image/png\r\nContent-Length: 9\r\n"
            b"X-Request-Timeout-Ms: soon\r\nX-Priority: mine\r\n\r\n"
        )
        answer = client.recv(2000).decode()
    assert answer.startswith("HTTP/1.1 400")
    assert '"invalid_header"' in answer
    assert "X-Priority is 'mine', expected 'routine' or 'bulk'" in answer
    assert "X-Request-Timeout-Ms is 'soon', expected whole milliseconds" in answer


# X-Priority and X-Request-Timeout-Ms


def test_without_headers_nothing_is_asked_for() -> None:
    assert parse_options({}) == (None, None)


@pytest.mark.parametrize(("given", "priority"), [("bulk", Priority.BULK), (" Routine ", Priority.ROUTINE)])
def test_a_priority_is_read(given: str, priority: Priority) -> None:
    assert parse_options({"x-priority": given})[0] is priority


@pytest.mark.parametrize(("given", "timeout_ms"), [("1", 1), (" 250 ", 250), ("3600000", 3_600_000)])
def test_a_timeout_is_read(given: str, timeout_ms: int) -> None:
    assert parse_options({"x-request-timeout-ms": given})[1] == timeout_ms


@pytest.mark.parametrize("given", ["", "0", "-5", "1.5", "1e3", "1_000", "٣", "3600001", "9" * 500, "soon"])
def test_a_malformed_timeout_is_refused_with_what_is_expected(given: str) -> None:
    with pytest.raises(RequestError, match=r"X-Request-Timeout-Ms is .* expected whole milliseconds from 1 to 3600000"):
        parse_options({"x-request-timeout-ms": given})


def test_everything_that_is_wrong_is_said_at_once() -> None:
    with pytest.raises(
        RequestError, match="X-Priority is 'urgent', expected 'routine' or 'bulk'; X-Request-Timeout-Ms"
    ):
        parse_options({"x-priority": "urgent", "x-request-timeout-ms": "x"})
