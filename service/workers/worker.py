"""The service as an HTTP worker has it: everything but the network, which is in the engine process."""

import asyncio
import itertools
import logging
import math
import os
import socket
import time
from pathlib import Path
from typing import Final

from contract.bundle import Bundle
from contract.description import Manifest
from service.http.schemas import ModelStamp
from service.observe.audit import AuditFullError
from service.observe.readings import Reading
from service.serving.lifecycle import MOST_DECODERS
from service.serving.model import ServedModel
from service.serving.observer import Observer
from service.serving.service import Reloaded, Service
from service.serving.states import NotReadyError, State
from service.settings import Device, Settings, available_cores
from service.workers.board import Board, Field
from service.workers.endings import reload_error_of
from service.workers.intake import EngineLink, RemoteIntake
from service.workers.ledger import Ledger
from service.workers.link import Link
from service.workers.memory import Memory
from service.workers.messages import Model, Reload, Revised, RowsTaken, Serves, ToWorker, to_worker
from service.workers.messages import Reloaded as ReloadedMessage
from service.workers.publisher import STATES
from service.workers.remote_network import RemoteNetwork
from service.workers.slots import Slots
from service.workers.trail import RemoteTrail

logger = logging.getLogger("hal.workers")

_LONGEST_RETRY_S: Final = 60
_MISTAKE: Final = 70
"""Exit code, EX_SOFTWARE of sysexits.h."""
_AT_WORK: Final = (STATES.index(State.READY), STATES.index(State.STALLED))
_NEW_ENGINE_S: Final = 5.0
"""In which the parent, on however busy a machine, has noticed that the engine process ended."""


class Worker(Service):
    """A bundle that is at work in the engine process.

    Args:
        settings: of the service.
        bundle: what is served until the engine process says otherwise.
        memory: shared with all processes.
        place: of this worker, counted from 0.

    Attributes:
        ledger: what was counted, here and in the other processes.
    """

    def __init__(self, settings: Settings, bundle: Bundle, memory: Memory, place: int) -> None:
        self._loop = asyncio.get_running_loop()
        self._board: Board = memory.board
        self._trail = None if settings.audit is None else RemoteTrail(self._board)
        share = math.ceil(min(available_cores(), MOST_DECODERS) / settings.http_workers)
        # Embeddings are compared and rows are written by the engine process.
        own = settings.model_copy(update={"audit": None, "drift": False})
        self._intake = RemoteIntake(own, self._board, Slots(memory.images, place), self.not_ready)
        self.ledger = Ledger(memory, place, self._intake.counts)
        observer = Observer(own, self._trail)
        observer.metrics = self.ledger.metrics
        super().__init__(own, bundle, observer, decoders=settings.decode_threads or share)
        self._link: EngineLink | None = None
        self._model: ServedModel | None = None
        self._network: RemoteNetwork | None = None
        self._serves = False
        self._lost_at = 0.0
        self._calls = itertools.count(1)
        self._reloads: dict[int, asyncio.Future[Reloaded]] = {}
        self.ledger.write()

    async def open(self) -> None:
        """There is nothing to open: the engine process says when it is ready."""

    async def connect(self, end: socket.socket) -> None:
        """Use a connection to an engine process, which will say what it serves."""
        if self._link is not None:
            # The end of the former engine process has not been seen yet.
            self._lost(self._link)

        def received(message: ToWorker) -> None:
            # What a former engine process has still sent is about slots that the present one has given again.
            if link is self._link:
                self._received(message)

        link: EngineLink = Link(to_worker, received, lambda: self._lost(link))
        self._link = link
        await link.connect(end)

    async def close(self) -> None:
        """Wait until the engine process has what it must have, and leave it."""
        if self._trail is not None:
            await self._trail.until_taken()
        self._decoders.close()
        await asyncio.to_thread(self.observer.close)
        self.ledger.write()
        if self._link is not None:
            self._link.close()

    async def reload(self) -> Reloaded:  # noqa: D102
        if self._link is None or self.state is not State.READY:
            raise self.not_ready()
        call = next(self._calls)
        answer: asyncio.Future[Reloaded] = self._loop.create_future()
        self._reloads[call] = answer
        self._link.send(Reload(call))
        try:
            return await answer
        finally:
            del self._reloads[call]

    @property
    def state(self) -> State:
        """What the service is doing."""
        if self.draining:
            return State.DRAINING
        if not self._serves or self._board[Field.STATE] not in _AT_WORK:
            first = self._board[Field.ENGINES] <= 1 and self._model is None
            return State.STARTING if first else State.ENGINE_LOST
        return State.STALLED if self.stalled else State.READY

    @property
    def draining(self) -> bool:  # noqa: D102
        return self._board[Field.STOPPING] > 0

    @property
    def stalled(self) -> bool:
        """Whether the engine process lives and does nothing."""
        board = self._board
        now, patience_s = time.monotonic(), self.settings.stall_s
        busy_since, seen_at, since = board[Field.BUSY_SINCE], board[Field.SEEN_AT], self._intake.waiting_since
        if board[Field.BROKEN] or (busy_since and now - busy_since > patience_s):
            return True
        # With work to do it writes on the board all the time, even if it only waits for the device.
        has_work = since is not None or seen_at > 0
        return has_work and now - max(abs(seen_at), since or 0.0) > patience_s

    def not_ready(self) -> NotReadyError:
        """Why nothing is accepted, and when to come back if the engine process is being started again."""
        state = self.state
        if state is not State.ENGINE_LOST:
            return NotReadyError(state)
        # The next one is ready as fast as the last one was, counted from now if its start has not begun.
        began_at = max(self._board[Field.ENGINE_STARTED_AT], self._lost_at)
        wait_s = math.ceil(began_at + self._board[Field.START_S] - time.monotonic())
        return NotReadyError(state, min(max(1, wait_s), _LONGEST_RETRY_S))

    @property
    def batcher(self) -> RemoteIntake:  # noqa: D102
        state = self.state
        serves_on = state is State.DRAINING and self._serves and self._board[Field.STOPPING] < 2
        if state is not State.READY and not serves_on:
            raise self.not_ready()
        if self._trail is not None and self._trail.full:
            raise AuditFullError
        return self._intake

    @property
    def model(self) -> ServedModel:  # noqa: D102
        assert self._model is not None  # noqa: S101 - there is one once there is a batcher
        return self._model

    def read(self) -> Reading:
        """What all processes have counted."""
        return self.ledger.read(self.state, self.settings.queue_limit)

    def _received(self, message: ToWorker) -> None:
        match message:
            case Model():
                self._take_over(message)
            case Revised():
                self._revise(message)
            case RowsTaken() if self._trail is not None:
                self._trail.taken(message.count)
            case ReloadedMessage():
                self._reloaded(message)
            case _:
                self._intake.received(message)

    def _take_over(self, message: Model) -> None:
        bundle = Bundle(Path(message.root), Manifest.model_validate_json(message.manifest))
        network = RemoteNetwork(message.number, message.max_batch, message.tuning)
        model = ServedModel(bundle, self.settings, Device(message.device), network)
        self._model, self._network = model, network
        self.bundle, self.file, self.device = model.bundle, model.file, model.device
        self.observer.serves(model)
        link = self._link
        assert link is not None  # noqa: S101 - it has just said this
        if not self._serves:
            self._serves = True
            self._intake.connected(link)
            if self._trail is not None:
                self._trail.connected(link)
        self._intake.model = message.number
        link.send(Serves(message.number))

    def _revise(self, message: Revised) -> None:
        network = self._network
        if network is not None and network.number == message.number:
            network.tuning, network.max_batch = message.tuning, message.tuning.limit

    def _reloaded(self, message: ReloadedMessage) -> None:
        answer = self._reloads.get(message.call)
        if answer is None or answer.done():
            return
        if message.kind:
            answer.set_exception(reload_error_of(message))
        else:
            stamps = (ModelStamp.model_validate_json(stamp) for stamp in (message.before, message.now))
            answer.set_result(Reloaded(*stamps))

    def _lost(self, link: EngineLink) -> None:
        if link is not self._link:
            return
        served, self._serves, self._link = self._serves, False, None
        self._loop.call_later(_NEW_ENGINE_S, self._check_loss, self._board[Field.ENGINES])
        self._lost_at = time.monotonic()
        if self.draining and not self._intake.requests:
            return
        if served:
            logger.error("the engine process is gone; %d requests are told to come back", self._intake.requests)
        self._intake.lost()
        if self._trail is not None:
            self._trail.lost()
        for answer in self._reloads.values():
            if not answer.done():
                answer.set_exception(self.not_ready())

    def _check_loss(self, engines: float) -> None:
        """End if the engine process lives and only the connection is lost, by a mistake of ours: the next has one."""
        board = self._board
        same = board[Field.ENGINES_RUNNING] > 0 and board[Field.ENGINES] == engines
        if self._link is None and same and not self.draining:
            logger.critical("the connection to the engine process is lost; another worker takes over")
            os._exit(_MISTAKE)
