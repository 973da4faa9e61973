"""The worker's side of the connection: seats and answers come from the engine process, decoding happens here."""

import asyncio
import contextvars
import itertools
import time
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, Final, TypeVar

import numpy as np

from service.batching.counts import Counts
from service.batching.queue import Image, Logits, Network, Priority
from service.images.refusals import ModelFailedError, QueueFullError
from service.observe.tracing import current, traceparent_of
from service.settings import Settings
from service.workers.board import Board, Field
from service.workers.endings import error_of
from service.workers.link import Link
from service.workers.messages import (
    Answer,
    Failed,
    Grant,
    Open,
    Refused,
    Settled,
    Submit,
    Taken,
    ToEngine,
    ToWorker,
    Withdraw,
)
from service.workers.remote_network import RemoteNetwork
from service.workers.slots import SLOTS, Slots

Item = TypeVar("Item")
Result = TypeVar("Result")

EngineLink = Link[ToEngine, ToWorker]


@dataclass(slots=True, eq=False)
class _Request:
    """One call of :meth:`RemoteIntake.spread`."""

    number: int
    items: Sequence[Any]
    work: Callable[[Any], Awaitable[Any]]
    done: asyncio.Future[list[Any]]
    context: contextvars.Context = field(default_factory=contextvars.copy_context)
    results: dict[int, Any] = field(default_factory=dict)
    answers: dict[int, asyncio.Future[Logits]] = field(default_factory=dict)
    submitted: set[int] = field(default_factory=set)
    sitting: set[asyncio.Task[None]] = field(default_factory=set)
    began: float = field(default_factory=time.monotonic)
    engine_knows: bool = False
    """That it has ended."""

    def fail(self, error: Exception) -> None:
        """End it, unless it has ended."""
        if not self.done.done():
            self.done.set_exception(error)


_seat: Final[contextvars.ContextVar[tuple[_Request, int]]] = contextvars.ContextVar("hal-seat")
"""The seat that the present task sits in."""


class RemoteIntake:
    """What :class:`service.batching.batcher.Batcher` is to a single process, to a worker.

    Args:
        settings: of the service.
        board: tells how many seats are taken.
        slots: for images on their way.
        not_ready: why nothing is accepted while there is no engine process.

    Attributes:
        counts: what happened here.
        model: the number of the model that requests want from now on.
    """

    def __init__(self, settings: Settings, board: Board, slots: Slots, not_ready: Callable[[], Exception]) -> None:
        self.counts = Counts()
        self.model = 0
        self._settings = settings
        self._board = board
        self._slots = slots
        self._not_ready = not_ready
        self._link: EngineLink | None = None
        self._free: asyncio.Queue[int] = asyncio.Queue()
        self._requests: dict[int, _Request] = {}
        self._numbers = itertools.count(1)

    @property
    def seats(self) -> "RemoteIntake":
        """Where requests find seats: here, too."""
        return self

    @property
    def requests(self) -> int:
        """Requests under way."""
        return len(self._requests)

    @property
    def waiting_since(self) -> float | None:
        """When the oldest request under way began, by ``time.monotonic``; ``None`` if there is none."""
        return next((request.began for request in self._requests.values()), None)

    def connected(self, link: EngineLink) -> None:
        """Use this connection; what an earlier engine process had not read is of no use any more."""
        self._link = link
        self._free = asyncio.Queue()
        for slot in range(SLOTS):
            self._free.put_nowait(slot)

    def lost(self) -> None:
        """The engine process is gone: everybody who waits is told so."""
        self._link = None
        for request in self._requests.values():
            request.engine_knows = True
            request.fail(self._not_ready())

    def received(self, message: ToWorker) -> None:
        """Take what the engine process says about requests."""
        match message:
            case Grant(request=number, index=index):
                if (request := self._requests.get(number)) is not None:
                    self._seat_granted(request, index)
            case Taken():
                for slot in message.slots:
                    self._free.put_nowait(slot)
            case Answer():
                answer = self._awaited(message.request, message.index)
                if answer is not None:
                    answer.set_result(np.frombuffer(message.row, np.float32))
            case Failed():
                if (answer := self._awaited(message.request, message.index)) is not None:
                    answer.set_exception(ModelFailedError())
            case Refused():
                if (request := self._requests.get(message.request)) is not None:
                    request.engine_knows = True
                    request.fail(error_of(message))

    def check_room(self, priority: Priority = Priority.ROUTINE) -> None:
        """Find out whether a request would be accepted now, by what the board says and by what waits here.

        Raises:
            QueueFullError: no seat is free for this priority.
        """
        routine, bulk = int(self._board[Field.ROUTINE_TAKEN]), int(self._board[Field.BULK_TAKEN])
        # Each that is accepted has a seat at least. While the engine process stands still the board does not show them.
        for_all = max(routine + bulk, len(self._requests)) < self._settings.queue_limit
        if for_all and (priority is Priority.ROUTINE or bulk < self._settings.bulk_limit):
            return
        self.counts.refused += 1
        is_bulk = priority is Priority.BULK
        retry_after_s = self._board[Field.BULK_RETRY_S if is_bulk else Field.ROUTINE_RETRY_S]
        taken = bulk if is_bulk and for_all else max(routine + bulk, len(self._requests))
        raise QueueFullError(taken, priority, max(1, int(retry_after_s)))

    async def spread(
        self,
        items: Sequence[Item],
        work: Callable[[Item], Awaitable[Result]],
        *,
        priority: Priority = Priority.ROUTINE,
        due: float | None = None,
    ) -> list[Result]:
        """``await work(item)`` for each item once it has a seat; see :meth:`service.batching.admission.Seats.spread`.

        Raises:
            QueueFullError, DrainingError, DeadlineExceededError: as there.
            NotReadyError: the engine process ended.
        """
        if self._link is None:
            raise self._not_ready()
        self.check_room(priority)
        loop = asyncio.get_running_loop()
        request = _Request(next(self._numbers), items, work, loop.create_future())
        self._requests[request.number] = request
        context = current.get()
        try:
            self._send(
                Open(
                    request.number,
                    len(items),
                    self.model,
                    priority,
                    None if due is None else due - loop.time(),
                    context.request_id,
                    context.key,
                    context.trace_id,
                    traceparent_of(context.span),
                )
            )
            results = await request.done
            request.engine_knows = True
            return results
        finally:
            del self._requests[request.number]
            if not request.engine_knows:
                self._send(Withdraw(request.number))
            for task in [*request.sitting]:
                task.cancel()

    async def infer(
        self, image: Image, *, network: Network | None = None, priority: Priority = Priority.ROUTINE
    ) -> Logits:
        """Logits ``[20]`` of one image, in the seat that the present task was given by :meth:`spread`.

        Raises:
            ModelFailedError: the network failed on this image.
        """
        del priority  # It is the request's.
        request, index = _seat.get()
        free = self._free
        slot = await free.get()
        if free is not self._free:
            # The engine process changed meanwhile, and the request has been told so.
            raise asyncio.CancelledError
        answer: asyncio.Future[Logits] = request.done.get_loop().create_future()
        request.answers[index] = answer
        request.submitted.add(index)
        self._slots.write(slot, image)
        self._send(Submit(request.number, index, slot, isinstance(network, RemoteNetwork) and network.embedding))
        return await answer

    def _send(self, message: ToEngine) -> None:
        if self._link is not None:
            self._link.send(message)

    def _awaited(self, number: int, index: int) -> asyncio.Future[Logits] | None:
        request = self._requests.get(number)
        answer = None if request is None else request.answers.pop(index, None)
        return None if answer is None or answer.done() else answer

    def _seat_granted(self, request: _Request, index: int) -> None:
        task = request.done.get_loop().create_task(self._sit(request, index), context=request.context.copy())
        request.sitting.add(task)
        task.add_done_callback(request.sitting.discard)

    async def _sit(self, request: _Request, index: int) -> None:
        _seat.set((request, index))
        try:
            request.results[index] = await request.work(request.items[index])
        except Exception as error:
            request.fail(error)
            return
        if index not in request.submitted:
            self._send(Settled(request.number, index))
        if len(request.results) == len(request.items) and not request.done.done():
            request.done.set_result([request.results[place] for place in range(len(request.items))])
