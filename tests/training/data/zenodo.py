"""A server that speaks Zenodo's REST API, with the faults of the way to it."""

import hashlib
import json
import re
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any


@dataclass
class Zenodo:
    """Files of one record, and what goes wrong with them.

    Attributes:
        url: of the server.
        files: contents by name.
        asked: method, path and range of each request.
        cut_after: bytes after which each answer breaks off.
        chunk_pause_s: between chunks of 1,000 bytes.
        ranges: whether the server goes on in the middle.
        lie: changes the contents that are sent.
        refusals: statuses of the next answers, each with its headers.
        changes: of the record before it is sent.
    """

    number: int = 14277609
    url: str = ""
    files: dict[str, bytes] = field(default_factory=dict)
    asked: list[tuple[str, str]] = field(default_factory=list)
    cut_after: int | None = None
    chunk_pause_s: float = 0.0
    ranges: bool = True
    lie: Callable[[bytes], bytes] = bytes
    refusals: list[tuple[int, dict[str, str]]] = field(default_factory=list)
    change: Callable[[dict[str, Any]], object] = lambda record: record

    def record(self) -> bytes:
        record = {
            "id": self.number,
            "metadata": {"title": "Cells", "license": {"id": "cc-by-4.0"}, "doi": "10.5281/zenodo.1"},
            "files": [
                {
                    "id": "0",
                    "key": name,
                    "size": len(content),
                    "checksum": f"md5:{hashlib.md5(content, usedforsecurity=False).hexdigest()}",
                    "links": {"self": f"{self.url}/api/records/{self.number}/files/{name}/content"},
                }
                for name, content in self.files.items()
            ],
        }
        self.change(record)
        return json.dumps(record).encode()

    def ranges_asked_for(self) -> list[str]:
        return [span for path, span in self.asked if path.endswith("/content")]


@contextmanager
def zenodo(**files: bytes) -> Iterator[Zenodo]:
    """Serve a record until the block ends; a name's double underscore is its dot."""
    served = Zenodo(files={name.replace("__", "."): content for name, content in files.items()})

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def log_message(self, *_: object) -> None:
            pass

        def do_GET(self) -> None:
            served.asked.append((self.path, self.headers.get("Range", "")))
            if served.refusals:
                status, headers = served.refusals.pop(0)
                self._send(status, b"", headers)
            elif self.path == f"/api/records/{served.number}":
                self._send(200, served.record(), {"Content-Type": "application/json"})
            elif found := re.fullmatch(rf"/api/records/{served.number}/files/(.+)/content", self.path):
                self._send_file(served.files[found[1]])
            else:
                self._send(404, b'{"status": 404, "message": "The persistent identifier does not exist."}', {})

        def _send_file(self, content: bytes) -> None:
            asked = re.fullmatch(r"bytes=(\d+)-", self.headers.get("Range", ""))
            begin = int(asked[1]) if asked and served.ranges else 0
            headers = {"Content-Range": f"bytes {begin}-{len(content) - 1}/{len(content)}"} if served.ranges else {}
            self._send(206 if served.ranges else 200, served.lie(content)[begin:], headers, served.cut_after)

        def _send(self, status: int, body: bytes, headers: dict[str, str], cut_after: int | None = None) -> None:
            self.send_response(status)
            for name, value in {"Content-Length": str(len(body)), **headers}.items():
                self.send_header(name, value)
            self.end_headers()
            for place in range(0, len(body), 1000):
                if cut_after is not None and place >= cut_after:
                    self.close_connection = True
                    return
                self.wfile.write(body[place : place + 1000])
                time.sleep(served.chunk_pause_s)

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.handle_error = lambda *_: None  # type: ignore[method-assign]  # clients that go away are part of the test
    served.url = f"http://127.0.0.1:{server.server_port}"
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    try:
        yield served
    finally:
        server.shutdown()
        thread.join()
        server.server_close()
