"""The service in one process: uvicorn on a bound socket, with signals that drain it and one that reloads it."""

import asyncio
import errno
import gc
import os
import signal
import socket
from collections.abc import Sequence
from pathlib import Path
from types import FrameType
from typing import Final, cast

import uvicorn
from starlette.middleware.cors import CORSMiddleware
from starlette.types import ASGIApp

from service.errors import UserError
from service.http.app import create_app
from service.http.connections import connections
from service.http.middleware import RequestMiddleware
from service.http.requests import PRIORITY, TIMEOUT
from service.observe import logs
from service.serving.lifecycle import last_wait_s
from service.serving.service import Service
from service.serving.states import State
from service.settings import Settings

_BACKLOG: Final = 2048
"""Connections that wait for the server."""
_EXAMPLE: Final = "service/static/cells/segmented-neutrophil-1.jpg"
_HOST_ADVICE: Final = (
    "set HAL_HOST or --host to 127.0.0.1 for this machine alone, to 0.0.0.0 for all its addresses, or to one of them"
)


class PortError(UserError):
    """The address cannot be listened on."""


def listen(settings: Settings) -> socket.socket:
    """A bound socket, or :class:`PortError`; before the model is loaded, so that a taken port is found out at once."""
    host = f"HAL_HOST={settings.host!r}"
    try:
        family, *_, address = socket.getaddrinfo(settings.host, settings.port, type=socket.SOCK_STREAM)[0]
    except (OSError, UnicodeError) as error:
        reason = getattr(error, "strerror", None) or error
        raise PortError(f"{host} cannot be resolved: {reason}; {_HOST_ADVICE}") from error
    try:
        listener = socket.socket(family)
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind(address)
    except OSError as error:
        if error.errno == errno.EADDRNOTAVAIL:
            raise PortError(f"{host} is not an address of this machine; {_HOST_ADVICE}") from error
        raise PortError(
            f"cannot listen on {settings.host}:{settings.port}: {error.strerror}; choose another with PORT=8001 or "
            "--port 8001, or stop what listens there"
        ) from error
    return listener


def announce(service: Service, listener: socket.socket) -> None:
    """Say where the service is, and let clients wait from then on who would be refused until the server runs."""
    listener.listen(_BACKLOG)
    settings, description, file = service.settings, service.bundle.description, service.file
    url = url_of(listener)
    example = _EXAMPLE if Path(_EXAMPLE).exists() else "cell.jpg"
    key = ' -H "Authorization: Bearer $KEY"' if settings.keys_file else ""
    logs.say(
        f"HAL {description.name} {description.version} ({file.precision}, SHA-256 {file.sha256})\n"
        f"HAL_DEVICE={settings.device}. {description.intended_use}\n"
        f"Listening on {url}, where a page takes images; {url}/docs has the API. Once the model is loaded, try:\n"
        f"  curl{key} -F file=@{example} {url}/classify"
    )


def url_of(listener: socket.socket) -> str:
    host, port, *_ = listener.getsockname()
    return f"http://{f'[{host}]' if ':' in host else host}:{port}"


class _Server(uvicorn.Server):
    """Ends as the service drains: after ``HAL_DRAIN_DELAY_S``, or at once if told twice or by Ctrl-C; and if the
    network cannot be opened. Tells a terminal when it is ready.
    """

    def __init__(self, config: uvicorn.Config, service: Service, url: str) -> None:
        super().__init__(config)
        self._service = service
        self._url = url
        self._told = False

    def stop(self) -> None:
        self.should_exit = True

    async def on_tick(self, counter: int) -> bool:
        self.should_exit |= self._service.failure is not None
        if not self._told and self._service.state is State.READY:
            self._told = True
            stamp = self._service.stamp
            served = f"{stamp.name} {stamp.version} {self._service.file.precision} on {self._service.device}"
            logs.say_on_terminal(f"Ready: {self._url} answers now ({served}).")
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
    config = uvicorn.Config(
        _for_origins(app, settings.cors_origins.split(",")) if settings.cors_origins else app,
        log_config=None,
        access_log=False,
        server_header=False,
        # An upgrade is answered as the plain request that it is; uvicorn would log its path.
        ws="none",
        http=connections(settings, app.observer.metrics.refused_below),
    )
    # Declared as whole seconds, but only given to the event loop.
    config.timeout_keep_alive = cast("int", settings.keep_alive_s)
    config.timeout_graceful_shutdown = cast("int", settings.drain_s - settings.drain_delay_s - last_wait_s(settings))
    return config


def _for_origins(app: ASGIApp, origins: Sequence[str]) -> ASGIApp:
    """Outermost, since a browser asks for permission without a key and must be able to read refusals, too."""
    return CORSMiddleware(
        app,
        allow_origins=origins,
        allow_methods=["GET", "POST"],
        allow_headers=["Authorization", "Content-Type", "X-API-Key", "X-Request-ID", PRIORITY, TIMEOUT],
        expose_headers=["Retry-After", "X-Request-ID"],
    )


def _handle_hangup(server: _Server, service: Service) -> None:
    """SIGHUP asks a service without a terminal to reload; otherwise it says that the terminal was closed, which ends
    the service unless it was started by ``nohup``.
    """
    if not hasattr(signal, "SIGHUP"):
        return
    try:
        os.close(os.open("/dev/tty", os.O_RDWR))
    except OSError:
        signal.signal(signal.SIGHUP, lambda *_: service.request_reload())
    else:
        if signal.getsignal(signal.SIGHUP) is not signal.SIG_IGN:
            signal.signal(signal.SIGHUP, server.handle_exit)


def serve(service: Service, listener: socket.socket) -> None:
    """Serve until a signal ends it or the network cannot be opened, which ``service`` knows then.

    Raises:
        KeysError: the file of keys cannot be used.
    """
    server = _Server(config_for(create_app(service), service.settings), service, url_of(listener))
    _handle_hangup(server, service)
    announce(service, listener)
    # What lives as long as the process (modules, routes, models of the documentation) is not looked through again by
    # every full collection, which would stop all requests for milliseconds.
    gc.collect()
    gc.freeze()
    server.run(sockets=[listener])
