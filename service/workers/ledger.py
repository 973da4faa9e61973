"""What an HTTP worker has counted: on the board soon after each request, and summed with what the others have there."""

import asyncio
import logging
import os
from dataclasses import replace

from service.batching.counts import Counts
from service.observe.logs import lost_lines
from service.observe.metrics import Metrics
from service.observe.readings import EngineReading, ProcessesReading, Reading
from service.serving.states import State
from service.workers.accounts import Account, sum_of
from service.workers.board import HEARTBEAT_S, Field
from service.workers.memory import Memory

logger = logging.getLogger("hal.workers")


class CountingMetrics(Metrics):
    """Metrics that tell when something was counted, which happens at the end of every request."""

    def __init__(self) -> None:
        super().__init__()
        self.on_request = _nothing

    def request(self, route: str, status: int, seconds: float, images: int) -> None:  # noqa: D102
        super().request(route, status, seconds, images)
        self.on_request()


def _nothing() -> None:
    """Nobody listens yet."""


class Ledger:
    """Keeps the account of a worker on the board, and reads those of all processes.

    To be made in the loop that serves.

    Args:
        memory: shared with all processes.
        place: of the worker's account, which goes on from that of whatever process had the place before.
        counts: what happens to images here.

    Attributes:
        metrics: what is to be counted in.
    """

    def __init__(self, memory: Memory, place: int, counts: Counts) -> None:
        self._board = memory.board
        self._engine_place = memory.engine_place
        self._place = place
        self._counts = counts
        self._loop = asyncio.get_running_loop()
        self._before = Account.read(self._board, place)
        self._beat: asyncio.TimerHandle | None = None
        self.metrics = CountingMetrics()
        self.metrics.add(self._before.metrics())
        self.metrics.on_request = self._write_soon

    def write(self) -> None:
        """Put what was counted on the board."""
        account = Account.of(
            self.metrics,
            sum_of(self._before.counts, self._counts),
            pid=os.getpid(),
            lost_lines=self._before.lost_lines + lost_lines(),
        )
        try:
            account.write(self._board, self._place)
        except ValueError as error:
            logger.error("what was counted cannot be told: %s", error)

    def read(self, state: State, queue_limit: int) -> Reading:
        """What all processes have counted; what others have is up to :data:`HEARTBEAT_S` old.

        Args:
            state: of the service.
            queue_limit: of the service.
        """
        self.write()
        board = self._board
        accounts = [Account.read(board, place) for place in range(board.processes)]
        metrics = Metrics()
        for account in accounts:
            metrics.add(account.metrics())
        engine = accounts[self._engine_place].engine or EngineReading()
        engine = replace(engine, counts=sum_of(*(account.counts for account in accounts)))
        if state is State.ENGINE_LOST:
            nobody = EngineReading()
            engine = replace(engine, waiting=nobody.waiting, seats_taken=nobody.seats_taken)
        return Reading(
            metrics,
            state,
            queue_limit,
            engine,
            sum(account.lost_lines for account in accounts),
            ProcessesReading(
                {"http": int(board[Field.WORKERS_RUNNING]), "engine": int(board[Field.ENGINES_RUNNING])},
                {"http": int(board[Field.WORKERS_LOST]), "engine": int(board[Field.ENGINES_LOST])},
            ),
        )

    @property
    def lost_cpu_s(self) -> float:
        """Seconds of processor time of processes that have ended."""
        return self._board[Field.LOST_CPU_S]

    def pids(self) -> list[int]:
        """All processes of the service, the parent first."""
        board = self._board
        return [os.getppid(), *(Account.read(board, place).pid for place in range(board.processes))]

    def _write_soon(self) -> None:
        if self._beat is None:
            self._beat = self._loop.call_later(HEARTBEAT_S, self._beaten)

    def _beaten(self) -> None:
        self._beat = None
        self.write()
