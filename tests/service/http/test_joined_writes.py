import asyncio
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest
from starlette.requests import Request
from starlette.responses import Response, StreamingResponse
from starlette.types import Receive, Scope, Send

from contract.bundle import Bundle
from service.http.connections import JoinedWrites
from tests.service.live_server import serving


class Recorder:
    def __init__(self) -> None:
        self.written: list[bytes] = []
        self.closed = False
        self.left = 0

    def write(self, data: bytes) -> None:
        assert not self.closed
        self.written.append(data)

    def close(self) -> None:
        self.closed = True

    def is_closing(self) -> bool:
        return self.closed

    def get_write_buffer_size(self) -> int:
        return self.left


def joined() -> tuple[Recorder, Any]:
    recorder = Recorder()
    return recorder, JoinedWrites(recorder, asyncio.get_running_loop())  # type: ignore[arg-type]


HEAD = b"HTTP/1.1 200 OK\r\ncontent-length: 4\r\n\r\n"


def test_a_head_goes_out_with_its_body() -> None:
    async def run() -> list[bytes]:
        recorder, transport = joined()
        transport.write(HEAD)
        transport.write(b"body")
        transport.write(b"more")
        await asyncio.sleep(0)
        return recorder.written

    assert asyncio.run(run()) == [HEAD + b"body", b"more"]


def test_a_head_without_a_body_goes_out_at_the_next_turn_and_once() -> None:
    async def run() -> list[bytes]:
        recorder, transport = joined()
        transport.write(HEAD)
        assert recorder.written == []
        await asyncio.sleep(0)
        transport.write(b"late")
        await asyncio.sleep(0)
        return recorder.written

    assert asyncio.run(run()) == [HEAD, b"late"]


def test_a_head_is_not_lost_when_the_connection_is_closed() -> None:
    async def run() -> Recorder:
        recorder, transport = joined()
        transport.write(HEAD)
        transport.close()
        await asyncio.sleep(0)
        assert transport.is_closing()
        return recorder

    assert asyncio.run(run()).written == [HEAD]


@pytest.mark.parametrize("left", [0, 1])
def test_it_says_when_it_is_closed_with_something_left(left: int) -> None:
    async def run() -> list[int]:
        recorder, told = Recorder(), list[int]()
        recorder.left = left
        JoinedWrites(recorder, asyncio.get_running_loop(), closed=lambda: told.append(1)).close()  # type: ignore[arg-type]
        return told

    assert asyncio.run(run()) == [1] * left


@asynccontextmanager
async def uvicorn_serving(app: Any) -> AsyncIterator[int]:
    import uvicorn

    from service.http.connections import connections
    from service.settings import Settings

    listener = socket.create_server(("127.0.0.1", 0))
    server = uvicorn.Server(
        uvicorn.Config(app, log_config=None, lifespan="off", http=connections(Settings(), lambda _: None))
    )
    task = asyncio.create_task(server.serve(sockets=[listener]))
    try:
        yield listener.getsockname()[1]
    finally:
        server.should_exit = True
        await task


@pytest.mark.parametrize("streamed", [False, True])
def test_answers_arrive_whole_over_uvicorn(streamed: bool) -> None:
    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        body = await Request(scope, receive).body()

        async def parts() -> AsyncIterator[bytes]:
            for _ in range(3):
                await asyncio.sleep(0.001)
                yield body

        response = StreamingResponse(parts()) if streamed else Response(body * 3)
        await response(scope, receive, send)

    async def run() -> list[bytes]:
        import httpx

        async with uvicorn_serving(app) as port, httpx.AsyncClient() as client:
            url = f"http://127.0.0.1:{port}/"
            headers = {"Expect": "100-continue"}
            return [(await client.post(url, content=b"abc", headers=headers)).content for _ in range(3)]

    assert asyncio.run(run()) == [b"abcabcabc"] * 3


def test_an_answer_is_one_packet(bundle: Bundle) -> None:
    with serving(bundle) as live, socket.create_connection(("127.0.0.1", live.port), timeout=10) as client:
        client.sendall(b"GET /health/live HTTP/1.1\r\nHost: x\r\n\r\n")
        answer = client.recv(65536)
        assert answer.startswith(b"HTTP/1.1 200")
        assert answer.endswith(b"}\n")
