"""Head and body of an answer go out together, over uvicorn and real sockets."""

import asyncio
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import httpx
import pytest
import uvicorn
from starlette.requests import Request
from starlette.responses import Response, StreamingResponse
from starlette.types import Receive, Scope, Send

from contract.bundle import Bundle
from service.http.connections import connections
from service.settings import Settings
from tests.service.live_server import serving


@asynccontextmanager
async def uvicorn_serving(app: Any) -> AsyncIterator[int]:
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
