"""Mutated requests, byte by byte over sockets: each is answered without a 500, or its connection is closed."""

import asyncio
import contextlib
import json
import re
from collections.abc import Iterator
from dataclasses import dataclass, replace
from random import Random
from typing import Final

import numpy as np

from contract.classes import BY_ID
from tests.fuzz.images import corpus
from tests.fuzz.mutate import mutated
from tests.fuzz.service import Findings, check_end, fuzz_target, resident_bytes

AT_ONCE: Final = 8
_PATIENCE_S: Final = 30
_PATHS: Final = (
    *("/", "/health/live", "/health/ready", "/health/startup", "/model", "/metrics", "/openapi.json", "/docs"),
    *("/v2", "/v2/health/ready", "/v2/models/tiny", "/v2/models/tiny/versions/1/ready"),
)
_JSON_VALUE: Final = re.compile(rb'"[^"]*"(?!\s*:)|-?\d+')
_JSON: Final = (
    *(b"null", b"true", b"[]", b"{}", b"-1", b"0", b"1.5", b"1e999", b"NaN", b'""', b'"\\u0000"', b'"\\ud800"'),
    *(b"9" * 400, b"[" * 2000 + b"]" * 2000, b'"' + b"x" * 9999 + b'"', b"9223372036854775808", b"[[1, [2]], 3]"),
)


@dataclass(frozen=True)
class Request:
    """A request in parts, so that one of them can be changed and the rest stays as it must be."""

    method: str
    path: bytes
    headers: tuple[tuple[bytes, bytes], ...] = ()
    body: bytes = b""
    chunked: bool = False

    def bytes(self) -> bytes:
        """As it goes over the wire."""
        framing = (b"Transfer-Encoding", b"chunked") if self.chunked else (b"Content-Length", b"%d" % len(self.body))
        headers = ((b"Host", b"x"), *self.headers, framing)
        head = b"%s %s HTTP/1.1\r\n" % (self.method.encode(), self.path)
        lines = b"".join(b"%s: %s\r\n" % header for header in headers)
        body = b"%x\r\n%s\r\n0\r\n\r\n" % (len(self.body), self.body) if self.chunked else self.body
        return head + lines + b"\r\n" + body


def requests() -> list[Request]:
    """What the service answers."""
    image = min(corpus()[:20], key=len)
    part = b'--b\r\nContent-Disposition: form-data; name="file"; filename="c.jpg"\r\nContent-Type: image/jpeg\r\n\r\n'
    form = b"".join(part + image + b"\r\n" for _ in range(2)) + b"--b--\r\n"
    pixels = np.zeros((1, 256, 256, 3), np.uint8).tobytes()
    tensor = {"name": "image", "shape": [1, 256, 256, 3], "datatype": "UINT8"}
    binary = json.dumps({"inputs": [tensor | {"parameters": {"binary_data_size": len(pixels)}}]}).encode()
    numbers = {"id": "1", "inputs": [tensor | {"data": [0, 1, 2]}], "outputs": [{"name": "logits"}]}
    cell = {"id": "1", "inputs": [tensor | {"data": np.zeros((1, 256, 256, 3), int).tolist()}]}
    cells = [
        {"class_id": [*BY_ID][place % 20], "hairy_cell": {"flag": place % 7 == 0, "probability": place / 400}}
        for place in range(400)
    ]
    multipart = (b"Content-Type", b"multipart/form-data; boundary=b")
    jpeg, as_json = (b"Content-Type", b"image/jpeg"), (b"Content-Type", b"application/json")
    infer = b"/v2/models/tiny/infer"
    trace = (b"traceparent", b"00-%s-%s-01" % (b"a" * 32, b"b" * 16))
    return [
        *(Request("GET", path.encode()) for path in _PATHS),
        Request("POST", b"/classify", (multipart,), form),
        Request("POST", b"/classify", (jpeg, (b"X-Priority", b"bulk"), (b"X-Request-ID", b"r-1")), image),
        Request("POST", b"/classify", (jpeg, (b"X-Request-Timeout-Ms", b"900"), trace), image),
        Request("POST", b"/classify", (jpeg,), image, chunked=True),
        Request("POST", b"/slides/classify", (multipart,), form),
        Request("POST", b"/slides/summary", (as_json,), b'{"results": []}'),
        Request("POST", b"/slides/summary", (as_json,), json.dumps({"results": cells}).encode()),
        Request("POST", infer, (as_json,), json.dumps(numbers).encode()),
        Request("POST", infer, (as_json,), json.dumps(cell).encode()),
        Request("POST", infer, ((b"Inference-Header-Content-Length", b"%d" % len(binary)),), binary + pixels),
        Request("GET", b"/metrics", ((b"Accept", b"application/openmetrics-text"), (b"X-API-Key", b"x"))),
    ]


def mutations(count: int, seed: int) -> Iterator[bytes]:
    """Mutated requests: the whole one, its body, one of its headers, its path, or a value of its JSON."""
    random, seeds = Random(seed), requests()  # noqa: S311
    wires = [request.bytes() for request in seeds]
    words = [word for request in seeds for word in (request.path, *(value for _, value in request.headers))]
    for _ in range(count):
        request, part = random.choice(seeds), random.randrange(10)
        if part == 0:
            yield mutated(request.bytes(), wires, random)
        elif part < 3:
            yield replace(request, path=_one_line(mutated(request.path, words, random)) or b"/").bytes()
        elif part < 5 and request.headers:
            place = random.randrange(len(request.headers))
            name, value = request.headers[place]
            headers = [*request.headers]
            headers[place] = (name, _one_line(mutated(value, words, random)))
            yield replace(request, headers=tuple(headers)).bytes()
        elif part < 7 and request.body.startswith(b"{"):
            yield replace(request, body=_other_values(request.body, random)).bytes()
        else:
            yield replace(request, body=mutated(request.body, wires, random)).bytes()


def _one_line(value: bytes) -> bytes:
    """Without what would end a line: the rest of the request stays whole."""
    return value.translate(None, b"\r\n\0 ")[:4096]


def _other_values(body: bytes, random: Random) -> bytes:
    """JSON with some of its values replaced by others of any type."""
    values = list(_JSON_VALUE.finditer(body))
    for found in sorted(random.sample(values, min(len(values), random.randint(1, 3))), key=lambda m: -m.start()):
        body = body[: found.start()] + random.choice(_JSON) + body[found.end() :]
    return body


def fuzz_requests(count: int, seed: int) -> Findings:
    """Send ``count`` mutated requests; reproducible by its seed."""
    settings = {"HAL_UPLOAD_TIMEOUT_S": "2", "HAL_LOG_LEVEL": "error", "HAL_MAX_UPLOAD_BYTES": "2000000"}
    findings = Findings()
    with fuzz_target(**settings) as served:
        source = mutations(count, seed)
        for part in (count // 4, count - count // 4):
            early = 0 if not findings.sent else resident_bytes(served)
            asyncio.run(_send_all(served.port, [next(source) for _ in range(part)], findings))
        check_end(served, early, findings)
    return findings


async def _send_all(port: int, todo: list[bytes], findings: Findings) -> None:
    waiting = iter(todo)

    async def work() -> None:
        for request in waiting:
            await _send(port, request, findings)

    async with asyncio.TaskGroup() as group:
        for _ in range(AT_ONCE):
            group.create_task(work())


async def _send(port: int, request: bytes, findings: Findings) -> None:
    findings.sent += 1
    try:
        async with asyncio.timeout(_PATIENCE_S):
            outcome = await _exchange(port, request)
    except TimeoutError:
        findings.problem("neither an answer nor an end of the connection", request)
        return
    findings.count(outcome)
    if outcome == "500":
        findings.problem("status 500", request)


async def _exchange(port: int, request: bytes) -> str:
    """The status of the last answer to what was sent, or how the connection ended."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    try:
        writer.write(request)
        with contextlib.suppress(OSError):  # it is closed already
            writer.write_eof()
        answer = await reader.read()
    except ConnectionError:
        return "reset"
    finally:
        writer.close()
    statuses = [line.split(b" ")[1] for line in answer.split(b"\n") if line.startswith(b"HTTP/1.1 ")]
    if b"500" in statuses:
        return "500"
    return statuses[0].decode("latin-1") if statuses else "closed"
