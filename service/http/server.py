"""The service in one process: uvicorn on a bound socket, with signals that drain it and one that reloads it."""

import asyncio
import gc
import signal
import socket
import sys
from types import FrameType
from typing import Final, cast

import typer
import uvicorn

from contract.bundle import Bundle
from service.http.app import create_app
from service.http.connections import connections
from service.http.middleware import RequestMiddleware
from service.serving.lifecycle import last_wait_s
from service.serving.service import Service
from service.settings import Settings

_BACKLOG: Final = 2048
"""Connections that wait for the server."""


class PortError(Exception):
    """The address cannot be listened on."""


def listen(settings: Settings) -> socket.socket:
    """A bound socket, before the model is loaded: a taken port is found out at once.

    Raises:
        PortError: the address cannot be listened on.
    """
    try:
        family, *_, address = socket.getaddrinfo(settings.host, settings.port, type=socket.SOCK_STREAM)[0]
        listener = socket.socket(family)
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind(address)
    except OSError as error:
        raise PortError(
            f"cannot listen on {settings.host}:{settings.port}: {error.strerror}; choose another with PORT=8001 or "
            "--port 8001, or stop what listens there"
        ) from error
    return listener


def announce(settings: Settings, bundle: Bundle, listener: socket.socket) -> None:
    """Say where the service is, and let clients wait from then on who would be refused until the server runs."""
    listener.listen(_BACKLOG)
    description, file = bundle.description, bundle.file(settings.precision)
    host, port, *_ = listener.getsockname()
    url = f"http://{f'[{host}]' if ':' in host else host}:{port}"
    typer.echo(
        f"HAL {description.name} {description.version} ({file.precision}, SHA-256 {file.sha256})\n"
        f"HAL_DEVICE={settings.device}. {description.intended_use}\n"
        f"Listening on {url}, where a page takes images; {url}/docs has the API. Try:\n"
        f"  curl -F file=@tests/data/cells/segmented-neutrophil-1.jpg {url}/classify"
    )
    sys.stdout.flush()


class _Server(uvicorn.Server):
    """Ends as the service drains: after ``HAL_DRAIN_DELAY_S``, or at once if told twice or by Ctrl-C; and if the
    network cannot be opened.
    """

    def __init__(self, config: uvicorn.Config, service: Service) -> None:
        super().__init__(config)
        self._service = service

    def stop(self) -> None:
        """Accept no more connections and end when the present ones are answered."""
        self.should_exit = True

    async def on_tick(self, counter: int) -> bool:
        self.should_exit |= self._service.failure is not None
        return await super().on_tick(counter)

    def handle_exit(self, sig: int, _: FrameType | None) -> None:
        # uvicorn's own handler raises the signal again at the end, and the exit code would not be 0.
        delay_s = self._service.settings.drain_delay_s
        again = self._service.draining
        at_once = again or sig == signal.SIGINT or not delay_s or not self.started
        self._service.begin_drain(turn_away=at_once)
        self.force_exit = self.should_exit and sig == signal.SIGINT
        if at_once:
            self.stop()
        else:
            loop = asyncio.get_running_loop()
            loop.call_soon_threadsafe(loop.call_later, delay_s, self.stop)


def config_for(app: RequestMiddleware, settings: Settings) -> uvicorn.Config:
    """How uvicorn serves the application."""
    config = uvicorn.Config(
        app,
        log_config=None,
        access_log=False,
        server_header=False,
        # An upgrade is answered as the plain request that it is; uvicorn would log its path.
        ws="none",
        http=connections(settings, app.observer.metrics.refused_below),
    )
    # Declared as whole seconds, but only given to asyncio.wait_for.
    config.timeout_graceful_shutdown = cast("int", settings.drain_s - settings.drain_delay_s - last_wait_s(settings))
    return config


def serve(service: Service, listener: socket.socket) -> None:
    """Serve until a signal ends it or the network cannot be opened, which ``service`` knows then.

    Raises:
        KeysError: the file of keys cannot be used.
    """
    server = _Server(config_for(create_app(service), service.settings), service)
    if hasattr(signal, "SIGHUP"):
        signal.signal(signal.SIGHUP, lambda *_: service.request_reload())
    announce(service.settings, service.bundle, listener)
    # What lives as long as the process (modules, routes, models of the documentation) is not looked through again by
    # every full collection, which would stop all requests for milliseconds.
    gc.collect()
    gc.freeze()
    server.run(sockets=[listener])
