"""The engine process's side of the connection to one worker."""

import asyncio
import logging
import socket
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from typing import Final

import numpy as np
from numpy.typing import NDArray

from service.batching.batcher import Batcher
from service.batching.queue import Priority
from service.images.refusals import ModelFailedError
from service.observe.audit.rows import Row
from service.observe.tracing import RequestContext, TraceParent, current
from service.serving.lifecycle import Hal
from service.serving.model import ServedModel
from service.workers.endings import refusal
from service.workers.link import Link
from service.workers.messages import (
    Answer,
    Failed,
    Grant,
    Model,
    Open,
    Reload,
    Rows,
    RowsTaken,
    Serves,
    Settled,
    Submit,
    Taken,
    ToEngine,
    ToWorker,
    Withdraw,
    to_engine,
)
from service.workers.slots import SLOTS, Slots

logger = logging.getLogger("hal.workers")

_TAKEN_AT_ONCE: Final = SLOTS // 4
"""Slots are given back with the next message, or when there are so many."""
_UNTIL_ALL_SERVE_S: Final = 10.0
"""A worker that has time answers in milliseconds."""

_Submitted = tuple[NDArray[np.uint8], bool]


@dataclass(slots=True, eq=False)
class _Asked:
    """A request of the worker: its model, and what it submits for the seats that it was granted."""

    opened: Open
    model: ServedModel
    lease: ExitStack = field(default_factory=ExitStack)
    seats: dict[int, asyncio.Future[_Submitted | None]] = field(default_factory=dict)
    task: asyncio.Task[None] | None = None


class Relay:
    """Lets one worker use a :class:`service.serving.lifecycle.Hal`.

    Args:
        hal: the service; it has no HTTP of its own.
        slots: those of the worker.
        reload: reads the bundle again and returns when all workers know the outcome.
        changed: called when seats may have been taken or left.
    """

    def __init__(
        self, hal: Hal, slots: Slots, *, reload: Callable[["Relay", int], None], changed: Callable[[], None]
    ) -> None:
        self._hal = hal
        self._slots = slots
        self._reload = reload
        self._changed = changed
        self._loop = asyncio.get_running_loop()
        self._link: Link[ToWorker, ToEngine] = Link(to_engine, self._received, self._lost)
        self._taken: list[int] = []
        self._requests: dict[int, _Asked] = {}
        self._models: dict[int, tuple[ServedModel, ExitStack]] = {}
        self._agrees = asyncio.Event()
        self.gone = asyncio.Event()

    async def connect(self, end: socket.socket) -> None:
        """Begin to listen to the worker."""
        await self._link.connect(end)

    def announce(self, number: int, model: ServedModel) -> None:
        """Tell the worker what serves now; what it knew before stays open until it has answered."""
        if self._link.lost:
            return
        lease = ExitStack()
        lease.enter_context(model.in_use())
        self._models[number] = model, lease
        self._agrees.clear()
        self.send(
            Model(
                number,
                str(model.bundle.root),
                model.bundle.manifest.model_dump_json(),
                model.device,
                model.network.max_batch,
                model.tuning,
            )
        )

    async def until_it_serves(self) -> None:
        """Wait until the worker uses what was announced, or is gone, or does not answer for too long."""
        try:
            async with asyncio.timeout(_UNTIL_ALL_SERVE_S):
                await self._agrees.wait()
        except TimeoutError:
            logger.warning("an HTTP worker has not taken over the new model yet")

    def send(self, message: ToWorker) -> None:
        """Tell the worker something."""
        self._give_back_slots()
        self._link.send(message)

    def close(self) -> None:
        """End the connection."""
        self._link.close()

    def _give_back_slots(self) -> None:
        if self._taken:
            self._link.send(Taken(tuple(self._taken)))
            self._taken.clear()

    def _received(self, message: ToEngine) -> None:
        match message:
            case Submit():
                self._submitted(message)
            case Open():
                self._open(message)
            case Settled():
                self._settle(message.request, message.index, None)
            case Withdraw():
                if (asked := self._requests.get(message.request)) is not None and asked.task is not None:
                    asked.task.cancel()
            case Rows():
                if (audit := self._hal.observer.audit) is not None:
                    audit.record([Row.from_json(line) for line in message.lines])
                self.send(RowsTaken(len(message.lines)))
                self._changed()
            case Serves():
                for number in [known for known in self._models if known < message.model]:
                    self._models.pop(number)[1].close()
                if message.model == max(self._models):
                    self._agrees.set()
            case Reload():
                self._reload(self, message.call)

    def _submitted(self, message: Submit) -> None:
        asked = self._requests.get(message.request)
        # Copied here and now: as soon as the worker is told, it may write another image there.
        if asked is not None and message.index in asked.seats:
            self._settle(message.request, message.index, (self._slots.read(message.slot), message.embedding))
        self._taken.append(message.slot)
        if len(self._taken) >= _TAKEN_AT_ONCE:
            self._give_back_slots()

    def _settle(self, request: int, index: int, submitted: _Submitted | None) -> None:
        asked = self._requests.get(request)
        seat = None if asked is None else asked.seats.get(index)
        if seat is not None and not seat.done():
            seat.set_result(submitted)

    def _open(self, opened: Open) -> None:
        asked = _Asked(opened, self._models[opened.model][0])
        # Before anything else is read: the worker's next message may let go of the model.
        asked.lease.enter_context(asked.model.in_use())
        self._requests[opened.request] = asked
        asked.task = self._loop.create_task(self._serve(asked))
        asked.task.add_done_callback(lambda _: self._ended(asked))

    def _ended(self, asked: _Asked) -> None:
        del self._requests[asked.opened.request]
        asked.lease.close()
        self._changed()

    async def _serve(self, asked: _Asked) -> None:
        opened = asked.opened
        try:
            with self._in_context_of(opened):
                batcher = self._hal.batcher
                due = None if opened.due_in_s is None else self._loop.time() + opened.due_in_s
                priority = Priority(opened.priority)

                async def one(index: int) -> None:
                    await self._serve_one(asked, batcher, index, priority)

                await batcher.seats.spread(range(opened.images), one, priority=priority, due=due)
        except Exception as error:
            self.send(refusal(opened.request, error))

    async def _serve_one(self, asked: _Asked, batcher: Batcher, index: int, priority: Priority) -> None:
        """What happens in a seat: the worker decodes an image, the network classifies it."""
        request = asked.opened.request
        seat = asked.seats[index] = self._loop.create_future()
        self.send(Grant(request, index))
        self._changed()
        try:
            submitted = await seat
        finally:
            del asked.seats[index]
        if submitted is None:
            self._changed()
            return
        image, embedding = submitted
        network = asked.model.network
        try:
            row = await batcher.infer(
                image, network=network.with_embedding if embedding else network, priority=priority
            )
        except ModelFailedError:
            self.send(Failed(request, index))
        else:
            self.send(Answer(request, index, row.astype(np.float32, copy=False).tobytes()))
        self._changed()

    @contextmanager
    def _in_context_of(self, opened: Open) -> Iterator[None]:
        span = None
        if opened.traceparent is not None:
            span = self._hal.observer.tracer.remote(TraceParent.read(opened.traceparent))
        token = current.set(RequestContext(opened.request_id, opened.key, opened.trace_id, span))
        try:
            yield
        finally:
            current.reset(token)

    def _lost(self) -> None:
        if self._requests:
            logger.warning("an HTTP worker is gone; %d requests of it leave the queue", len(self._requests))
        for asked in self._requests.values():
            if asked.task is not None:
                asked.task.cancel()
        for _, lease in self._models.values():
            lease.close()
        self._models.clear()
        self._agrees.set()
        self.gone.set()
        self._changed()
