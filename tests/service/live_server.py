"""The service in a thread of the test, behind a real socket."""

import contextlib
import socket
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import httpx
import uvicorn

from contract.bundle import Bundle
from service.engine.onnx import OnnxEngine
from service.http.app import create_app
from service.http.server import config_for
from service.serving.model import OpenEngine
from service.serving.service import Service
from service.settings import Settings

PATIENCE_S = 60


@dataclass(frozen=True)
class LiveServer:
    hal: Service
    url: str
    port: int
    http: httpx.Client
    server: uvicorn.Server

    def begin_stop(self) -> None:
        """What SIGTERM does."""
        self.hal.begin_drain()
        self.server.should_exit = True


def until(condition: Callable[[], bool], patience_s: float = PATIENCE_S, every_s: float = 0.01) -> None:
    """Wait for a state of the service that no event announces to another thread."""
    give_up = time.monotonic() + patience_s
    while not condition():
        assert time.monotonic() < give_up, "it never happened"
        time.sleep(every_s)


@contextlib.contextmanager
def serving(
    bundle: Bundle, *, open_engine: OpenEngine = OnnxEngine.open, wait: bool = True, **settings: Any
) -> Iterator[LiveServer]:
    """Serve until the block ends; ``wait`` for the network to be open."""
    opened = threading.Event()

    def open_and_tell(given: Bundle, options: Settings) -> Any:
        try:
            return open_engine(given, options)
        finally:
            opened.set()

    hal = Service(Settings(bundle=bundle.root, **settings), bundle, open_engine=open_and_tell)
    listener = socket.create_server(("127.0.0.1", 0))
    port = listener.getsockname()[1]
    config = config_for(create_app(hal), hal.settings)
    config.timeout_graceful_shutdown = PATIENCE_S
    server = uvicorn.Server(config)
    thread = threading.Thread(target=server.run, kwargs={"sockets": [listener]})
    thread.start()
    url = f"http://127.0.0.1:{port}"
    try:
        with httpx.Client(base_url=url, timeout=PATIENCE_S) as http:
            if wait:
                assert opened.wait(PATIENCE_S)
                until(lambda: http.get("/health/ready").status_code == 200 or hal.failure is not None)
            yield LiveServer(hal, url, port, http, server)
    finally:
        server.should_exit = True
        thread.join(PATIENCE_S)
        assert not thread.is_alive(), "the server did not stop"
