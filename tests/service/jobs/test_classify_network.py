"""``hal classify --url`` where the way to the service is set up wrongly: one message that names what is wrong."""

import http.server
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from tests.service.jobs.result_files import Classify

NOWHERE = "http://127.0.0.1:9"


@contextmanager
def proxy(status: int) -> Iterator[str]:
    """A proxy that answers every request with a status."""

    class Answer(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(status)
            if status == 301:
                self.send_header("Location", "https://login.example/")
            self.send_header("Content-Length", "0")
            self.end_headers()

        do_CONNECT = do_GET  # noqa: N815

        def log_message(self, *_: Any) -> None:
            pass

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Answer) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()


def told(classify: Classify, folder: Path, url: str, **variables: str) -> str:
    found = classify(folder, "--url", url, **variables)
    assert found.exit_code == 1, found.output
    assert "Traceback" not in found.output
    assert found.exception is None or isinstance(found.exception, SystemExit)
    (line,) = found.stderr.splitlines()
    return line


@pytest.mark.parametrize(
    ("variables", "expected"),
    [
        ({"no_proxy": "localhost,[::1]"}, "no_proxy='localhost,[::1]'"),
        ({"all_proxy": "socks5://127.0.0.1:1"}, "all_proxy='socks5://127.0.0.1:1'"),
        ({"HTTP_PROXY": "ftp://127.0.0.1:1"}, "HTTP_PROXY='ftp://127.0.0.1:1'"),
        ({"http_proxy": "http://127.0.0.1:99999"}, "http_proxy='http://127.0.0.1:99999'"),
        ({"http_proxy": "http://me:secret@127.0.0.1:9"}, "http_proxy='http://...@127.0.0.1:9'"),
        ({"SSL_CERT_FILE": "/nowhere/ca.pem"}, "SSL_CERT_FILE='/nowhere/ca.pem'"),
    ],
)
def test_a_variable_that_cannot_be_used_is_named(
    classify: Classify, folder: Path, variables: dict[str, str], expected: str
) -> None:
    line = told(classify, folder, NOWHERE, **variables)
    assert expected in line
    assert "secret" not in line


def test_a_port_that_is_none_is_named(classify: Classify, folder: Path) -> None:
    assert "'http://127.0.0.1:99999' has the port 99999, expected at most 65535" in told(
        classify, folder, "http://127.0.0.1:99999"
    )


@pytest.mark.parametrize("status", [301, 401, 403, 407, 502])
def test_a_proxy_s_status_is_named(classify: Classify, folder: Path, status: int) -> None:
    with proxy(status) as address:
        line = told(classify, folder, "http://hal.example:8000", http_proxy=address)
        assert f"GET http://hal.example:8000/health/ready was answered {status} " in line
        assert f"http_proxy='{address}'" in line
        assert "https://login.example/" in line or status != 301
        assert str(status) in told(classify, folder, "https://hal.example", https_proxy=address)
