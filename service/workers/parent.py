"""The parent: it starts the engine process and the workers, watches them, starts again what dies, and ends them.

It does nothing for a request, so that there is little that could end it; should it be killed all the same, the others
see the end of their commands and end as if they had been told to stop.
"""

import asyncio
import contextlib
import logging
import resource
import signal
import socket
import time
from collections.abc import Callable
from typing import Any, Final

from contract.bundle import Bundle
from service.serving.lifecycle import last_wait_s
from service.serving.states import State
from service.settings import Settings
from service.workers import engine_process, http_process
from service.workers.board import Field
from service.workers.child import Child, cause_of
from service.workers.control import Command
from service.workers.memory import Memory, shared
from service.workers.publisher import STATES, forget_engine

logger = logging.getLogger("hal.workers")

_STABLE_S: Final = 10.0
"""A process that lived for so long is started again at once."""
_FIRST_PAUSE_S: Final = 0.5
_LONGEST_PAUSE_S: Final = 30.0
_FUTILE_STARTS: Final = 5
"""Engine processes in a row that died before they were ready, after which the service gives up."""
_MERCY_S: Final = 5.0
"""What a process is given beyond its time before it is killed: the audit trail may have 3 s."""

_ENGINE: Final = -1
"""The engine process among the places of the workers."""


def serve(settings: Settings, bundle: Bundle, listener: socket.socket) -> int:
    """Serve until told to stop; the exit code.

    Raises:
        SharedMemoryError: the system gives no shared memory.
    """
    with shared(settings.http_workers) as memory:
        return asyncio.run(_Parent(settings, bundle, listener, memory).live())


class _Parent:
    def __init__(self, settings: Settings, bundle: Bundle, listener: socket.socket, memory: Memory) -> None:
        self._settings = settings
        self._bundle = bundle
        self._listener = listener
        self._memory = memory
        self._board = memory.board
        self._engine: Child | None = None
        self._workers: dict[int, Child] = {}
        self._pauses: dict[int, float] = {}
        self._futile = 0
        self._code = 0

    async def live(self) -> int:
        self._loop = asyncio.get_running_loop()
        self._stop = asyncio.Event()
        self._changed = asyncio.Event()
        for number in (signal.SIGTERM, signal.SIGINT):
            self._loop.add_signal_handler(number, self._told_to_stop, number)
        self._loop.add_signal_handler(signal.SIGHUP, self._told_to_reload)
        self._start_engine()
        for place in range(self._settings.http_workers):
            self._start_worker(place)
        await self._stop.wait()
        await self._end()
        return self._code

    # Starting

    def _start(
        self, target: Callable[..., None], bundle: Bundle | None, *arguments: Any, ended: Callable[[], None]
    ) -> Child | None:
        """A process, or ``None`` if the system gives none; the log says why."""
        try:
            child = Child.start(target, self._settings, bundle, self._memory, *arguments)
        except OSError as error:
            logger.error("no process can be started: %s", error)
            return None
        self._loop.add_reader(child.sentinel, ended)
        return child

    def _start_engine(self) -> None:
        if self._stop.is_set():
            return
        board = self._board
        forget_engine(board)
        board[Field.STATE] = STATES.index(State.STARTING)
        board[Field.ENGINE_STARTED_AT] = time.monotonic()
        board.add(Field.ENGINES)
        # Another one may have taken over since the first start.
        bundle = self._bundle if board[Field.ENGINES] == 1 else None
        self._engine = self._start(engine_process.run, bundle, ended=self._engine_ended)
        if self._engine is None:
            self._later(_ENGINE, self._start_engine)
            return
        board[Field.ENGINES_RUNNING] = 1
        logger.info("the engine process is %d", self._engine.pid)
        for place in self._workers:
            self._connect(place)

    def _start_worker(self, place: int) -> None:
        if self._stop.is_set():
            return
        worker = self._start(
            http_process.run, self._bundle, self._listener, place, ended=lambda: self._worker_ended(place)
        )
        if worker is None:
            self._later(place, lambda: self._start_worker(place))
            return
        self._workers[place] = worker
        self._board[Field.WORKERS_RUNNING] = len(self._workers)
        logger.info("HTTP worker %d is %d", place, worker.pid)
        if self._engine is not None:
            self._connect(place)

    def _connect(self, place: int) -> None:
        """Give the engine process and a worker an end each of a connection."""
        if self._engine is None:
            return
        one, other = socket.socketpair(socket.AF_UNIX, socket.SOCK_STREAM)
        with one, other:
            self._engine.tell(Command.CONNECT, place, one)
            self._workers[place].tell(Command.CONNECT, place, other)

    # Watching

    def _engine_ended(self) -> None:
        engine, self._engine = self._engine, None
        if engine is None:
            return
        code = self._reap(engine)
        board = self._board
        was_ready = STATES[int(board[Field.STATE])] not in (State.STARTING, State.FAILED)
        board[Field.ENGINES_RUNNING] = 0
        board[Field.STATE] = STATES.index(State.STARTING)
        if self._stop.is_set():
            return
        if code > 0 and not was_ready:
            # It has said what stands in the way.
            logger.error("the engine process cannot be started; the service ends")
            self._give_up()
            return
        board.add(Field.ENGINES_LOST)
        self._futile = 0 if was_ready else self._futile + 1
        logger.error("the engine process ended (%s); its requests are answered with 503 engine_lost", cause_of(code))
        if self._futile >= _FUTILE_STARTS:
            logger.critical("%d engine processes ended before they were ready; the service ends", self._futile)
            self._give_up()
            return
        self._again(engine, _ENGINE, self._start_engine)

    def _worker_ended(self, place: int) -> None:
        worker = self._workers.pop(place, None)
        if worker is None:
            return
        code = self._reap(worker)
        self._board[Field.WORKERS_RUNNING] = len(self._workers)
        if self._stop.is_set():
            return
        self._board.add(Field.WORKERS_LOST)
        logger.error("HTTP worker %d ended (%s); its connections are broken", place, cause_of(code))
        self._again(worker, place, lambda: self._start_worker(place))

    def _again(self, ended: Child, place: int, start: Callable[[], None]) -> None:
        """Start again at once what had lived, and after a pause that grows what had not."""
        if time.monotonic() - ended.started_at >= _STABLE_S:
            self._pauses.pop(place, None)
        self._later(place, start)

    def _later(self, place: int, start: Callable[[], None]) -> None:
        """Start in a place after its pause, which is twice as long the next time."""
        pause_s = self._pauses.get(place, 0.0)
        self._pauses[place] = min(max(2 * pause_s, _FIRST_PAUSE_S), _LONGEST_PAUSE_S)
        self._loop.call_later(pause_s, start)

    def _reap(self, child: Child) -> int:
        self._loop.remove_reader(child.sentinel)
        code = child.reap()
        used = resource.getrusage(resource.RUSAGE_CHILDREN)
        self._board[Field.LOST_CPU_S] = used.ru_utime + used.ru_stime
        self._changed.set()
        return code

    # Ending

    def _told_to_reload(self) -> None:
        if self._engine is not None:
            self._engine.tell(Command.RELOAD)

    def _told_to_stop(self, number: int) -> None:
        board, delay_s = self._board, self._settings.drain_delay_s
        again = board[Field.STOPPING] > 0
        if again and number == signal.SIGINT and self._stop.is_set():
            for child in self._children():
                child.kill()
        if again or number == signal.SIGINT or not delay_s:
            board[Field.STOPPING] = 2
            self._stop.set()
        else:
            board[Field.STOPPING] = 1
            self._loop.call_later(delay_s, self._delay_is_over)

    def _delay_is_over(self) -> None:
        self._board[Field.STOPPING] = 2
        self._stop.set()

    def _give_up(self) -> None:
        self._code = 1
        self._board[Field.STOPPING] = 2
        self._stop.set()

    def _children(self) -> list[Child]:
        return [*self._workers.values(), *([] if self._engine is None else [self._engine])]

    async def _end(self) -> None:
        """First the workers, which finish what they have accepted; then the engine process, which nobody needs then."""
        self._listener.close()
        settings = self._settings
        for worker in self._workers.values():
            worker.tell(Command.STOP)
        await self._until(lambda: not self._workers, settings.drain_s - settings.drain_delay_s + _MERCY_S)
        if self._engine is not None:
            self._engine.tell(Command.STOP)
        await self._until(lambda: self._engine is None, last_wait_s(settings) + _MERCY_S)

    async def _until(self, gone: Callable[[], bool], patience_s: float) -> None:
        try:
            async with asyncio.timeout(patience_s):
                while not gone():
                    self._changed.clear()
                    await self._changed.wait()
        except TimeoutError:
            logger.error("processes did not end in time and are killed")
            for child in [*self._workers.values()] or self._children():
                with contextlib.suppress(ValueError):
                    child.kill()
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(_MERCY_S):
                    while not gone():
                        self._changed.clear()
                        await self._changed.wait()
