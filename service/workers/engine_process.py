"""The process that has the network: batcher, model, audit trail, drift; everything but HTTP."""

import asyncio
import gc
import logging
import os
import socket
import sys
import time
from collections.abc import Coroutine
from typing import Any, Final

from contract.bundle import Bundle, BundleError, load
from service.allocator import give_large_blocks_back
from service.engine.onnx import EngineError
from service.observe import logs
from service.observe.audit import AuditError
from service.serving.lifecycle import Hal, last_wait_s
from service.serving.model import ServedModel, ServedNetwork
from service.settings import Settings
from service.workers.board import Board, Field
from service.workers.control import Command, listen
from service.workers.endings import reload_refusal
from service.workers.loops import ignore_signals, runner
from service.workers.memory import Memory
from service.workers.messages import Reloaded, Revised
from service.workers.publisher import Publisher
from service.workers.relay import Relay
from service.workers.slots import Slots

logger = logging.getLogger("hal.workers")

REFUSES_TO_START: Final = 3
"""Exit code: what stands in the way was said, and another try would not help."""


def run(settings: Settings, bundle: Bundle | None, memory: Memory, control: socket.socket) -> None:
    """Live until the parent says stop or is gone.

    Args:
        settings: of the service.
        bundle: the verified bundle; ``None``: whatever HAL_BUNDLE leads to now.
        memory: shared with all processes.
        control: where the parent's commands come from.
    """
    ignore_signals()
    give_large_blocks_back()
    logs.configure(settings.log_level, "engine")
    try:
        hal = Hal(settings, bundle or load(settings.bundle))
        with runner() as loop_runner:
            loop_runner.run(_EngineProcess(hal, memory, control).live())
        if hal.failure is not None:
            raise hal.failure
    except (AuditError, BundleError, EngineError) as error:
        sys.stderr.write(f"hal serve: {error}\n")
        sys.stderr.flush()
        logging.shutdown()
        os._exit(REFUSES_TO_START)
    if hal.abandoned:
        logging.shutdown()
        os._exit(0)


class _EngineProcess:
    def __init__(self, hal: Hal, memory: Memory, control: socket.socket) -> None:
        self._hal = hal
        self._memory = memory
        self._control = control
        self._relays: dict[int, Relay] = {}
        self._number = 0
        self._model: ServedModel | None = None
        self._tasks: set[asyncio.Task[None]] = set()

    async def live(self) -> None:
        hal, board = self._hal, self._memory.board
        self._loop = asyncio.get_running_loop()
        self._stop = asyncio.Event()
        self._publisher = Publisher(hal, board, self._memory.engine_place)
        self._publisher.write()
        hal.on_model = self._announce
        hal.on_failure = self._stop.set
        listen(self._control, self._obey)
        opening = self._loop.create_task(self._open(board))
        await self._stop.wait()
        # Who never served is asked nothing; the parent would wait for this end, and the workers for the parent.
        if self._hal.failure is None:
            await self._until_nobody_asks()
        opening.cancel()
        await asyncio.wait([opening])
        await hal.close()
        self._publisher.write()

    async def _open(self, board: Board) -> None:
        await self._hal.open()
        gc.collect()
        gc.freeze()
        board[Field.START_S] = time.monotonic() - board[Field.ENGINE_STARTED_AT]
        self._publisher.changed()

    async def _until_nobody_asks(self) -> None:
        """The parent stops the workers first; where it is gone they have learned it from that, as this process has."""
        settings = self._hal.settings
        try:
            async with asyncio.timeout(settings.drain_s - last_wait_s(settings)):
                for relay in [*self._relays.values()]:
                    await relay.gone.wait()
        except TimeoutError:
            logger.error("HTTP workers still ask when the engine process has to end")

    def _obey(self, command: Command, place: int, connection: socket.socket | None) -> None:
        match command:
            case Command.CONNECT if connection is not None:
                self._begin(self._connect(place, connection))
            case Command.RELOAD:
                self._hal.request_reload()
            case Command.STOP:
                self._stop.set()

    async def _connect(self, place: int, connection: socket.socket) -> None:
        # A worker that takes over a place takes over its slots: only when nobody reads the former one's any more.
        if (former := self._relays.get(place)) is not None:
            await former.gone.wait()
        relay = self._relays[place] = Relay(
            self._hal, Slots(self._memory.images, place), reload=self._reload, changed=self._publisher.changed
        )
        if self._model is not None:
            relay.announce(self._number, self._model)
        await relay.connect(connection)

    def _announce(self, model: ServedModel) -> None:
        self._number += 1
        self._model = model
        number, network = self._number, model.network

        def tell() -> None:
            self._loop.call_soon_threadsafe(self._tell_revision, number, network)

        network.on_revised = tell
        for relay in self._relays.values():
            relay.announce(self._number, model)
        self._publisher.changed()

    def _tell_revision(self, number: int, network: ServedNetwork) -> None:
        if number == self._number and network.tuning is not None:
            for relay in self._relays.values():
                relay.send(Revised(number, network.tuning))

    def _reload(self, asked_by: Relay, call: int) -> None:
        self._begin(self._reload_for(asked_by, call))

    async def _reload_for(self, asked_by: Relay, call: int) -> None:
        try:
            done = await self._hal.reload()
        except Exception as error:
            asked_by.send(reload_refusal(call, error))
        else:
            # Whichever worker is asked after the answer answers with the new model.
            await asyncio.gather(*(relay.until_it_serves() for relay in self._relays.values()))
            asked_by.send(Reloaded(call, done.before.model_dump_json(), done.now.model_dump_json()))
        self._publisher.changed()

    def _begin(self, work: Coroutine[Any, Any, None]) -> None:
        task = self._loop.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
