"""The service in one process: uvicorn on a bound socket, with signals that drain it and one that reloads it."""

import asyncio
import gc
import signal
import socket
from types import FrameType
from typing import cast

import uvicorn
from fastapi import FastAPI

from service.http.app import create_app
from service.http.connections import patient
from service.http.listening import announce
from service.serving.lifecycle import Hal, last_wait_s
from service.settings import Settings


class _Server(uvicorn.Server):
    """Ends as :class:`Hal` drains: after ``HAL_DRAIN_DELAY_S``, or at once if told twice or by Ctrl-C."""

    def __init__(self, config: uvicorn.Config, hal: Hal) -> None:
        super().__init__(config)
        self._hal = hal

    def stop(self) -> None:
        """Accept no more connections and end when the present ones are answered."""
        self.should_exit = True

    def handle_exit(self, sig: int, _: FrameType | None) -> None:
        # uvicorn's own handler raises the signal again at the end, and the exit code would not be 0.
        delay_s = self._hal.settings.drain_delay_s
        again = self._hal.draining
        at_once = again or sig == signal.SIGINT or not delay_s or not self.started
        self._hal.begin_drain(turn_away=at_once)
        self.force_exit = self.should_exit and sig == signal.SIGINT
        if at_once:
            self.stop()
        else:
            loop = asyncio.get_running_loop()
            loop.call_soon_threadsafe(loop.call_later, delay_s, self.stop)


def config_for(app: FastAPI, settings: Settings) -> uvicorn.Config:
    """How uvicorn serves the application, in one process as in each of several."""
    config = uvicorn.Config(
        app,
        log_config=None,
        access_log=False,
        server_header=False,
        # An upgrade is answered as the plain request that it is, by the front door; uvicorn would log its path.
        ws="none",
        http=patient(settings, app.state.hal.observer.metrics.refused_below),
    )
    # Declared as whole seconds, but only given to asyncio.wait_for.
    config.timeout_graceful_shutdown = cast("int", settings.drain_s - settings.drain_delay_s - last_wait_s(settings))
    return config


def serve(hal: Hal, listener: socket.socket) -> None:
    """Serve until a signal ends it or the network cannot be opened, which ``hal`` knows then.

    Raises:
        KeysError: the file of keys cannot be used.
    """
    server = _Server(config_for(create_app(hal), hal.settings), hal)
    hal.on_failure = server.stop
    if hasattr(signal, "SIGHUP"):
        signal.signal(signal.SIGHUP, lambda *_: hal.request_reload())
    announce(hal.settings, hal.bundle, listener)
    # What lives as long as the process (modules, routes, models of the documentation) is not looked through again by
    # every full collection, which would stop all requests for milliseconds.
    gc.collect()
    gc.freeze()
    server.run(sockets=[listener])
