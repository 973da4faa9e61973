"""What the engine process writes on the board: its state and seats at once, its account a few times a second.

While it has nothing to do it writes nothing.
"""

import asyncio
import logging
import os
import time

from service.batching.queue import Priority
from service.observe.logs import lost_lines
from service.observe.readings import EngineReading
from service.serving.lifecycle import Hal
from service.serving.states import State
from service.workers.accounts import Account, sum_of
from service.workers.board import HEARTBEAT_S, Board, Field

logger = logging.getLogger("hal.workers")

STATES = tuple(State)


class Publisher:
    """Keeps the board true to a service without HTTP.

    Args:
        hal: the service.
        board: where to write.
        place: of the account.
    """

    def __init__(self, hal: Hal, board: Board, place: int) -> None:
        self._hal = hal
        self._board = board
        self._place = place
        self._before = Account.read(board, place)
        hal.observer.metrics.add(self._before.metrics())
        self._loop = asyncio.get_running_loop()
        self._soon: asyncio.Handle | None = None
        self._beat: asyncio.TimerHandle | None = None

    def changed(self) -> None:
        """Write at the end of this turn of the loop, and again until all is calm."""
        if self._soon is None:
            self._soon = self._loop.call_soon(self._write_soon)

    def write(self) -> None:
        """Write everything now."""
        self._write_numbers()
        reading = EngineReading.of(self._hal)
        counts = sum_of(self._before.counts, reading.counts)
        account = Account.of(
            self._hal.observer.metrics,
            counts,
            pid=os.getpid(),
            lost_lines=self._before.lost_lines + lost_lines(),
            engine=reading,
        )
        try:
            account.write(self._board, self._place)
        except ValueError as error:
            logger.error("what was counted cannot be told: %s", error)

    def _write_soon(self) -> None:
        self._soon = None
        self._write_numbers()
        if self._beat is None:
            self._beat = self._loop.call_later(HEARTBEAT_S, self._write_again)

    def _write_again(self) -> None:
        self._beat = None
        self.write()
        if self._restless():
            self._beat = self._loop.call_later(HEARTBEAT_S, self._write_again)

    def _restless(self) -> bool:
        """Whether there may be something to tell although no message comes."""
        batcher, audit = self._hal.observed_batcher, self._hal.observer.audit
        if batcher is not None and (batcher.seats.taken or batcher.busy_s):
            return True
        state = None if audit is None else audit.state()
        return state is not None and (state.full or state.problem is not None or state.waiting > 0)

    def _write_numbers(self) -> None:
        board, batcher, audit = self._board, self._hal.observed_batcher, self._hal.observer.audit
        now = time.monotonic()
        board[Field.STATE] = STATES.index(self._hal.state)
        board[Field.SEEN_AT] = now if batcher is not None and batcher.seats.taken else -now
        if batcher is not None:
            busy_s = batcher.busy_s
            board[Field.BUSY_SINCE] = now - busy_s if busy_s else 0.0
            board[Field.BROKEN] = batcher.broken
            board[Field.ROUTINE_TAKEN] = batcher.seats.taken_by(Priority.ROUTINE)
            board[Field.BULK_TAKEN] = batcher.seats.taken_by(Priority.BULK)
            board[Field.ROUTINE_RETRY_S] = batcher.seats.retry_after_s(Priority.ROUTINE)
            board[Field.BULK_RETRY_S] = batcher.seats.retry_after_s(Priority.BULK)
        if audit is not None:
            board[Field.AUDIT_FULL] = audit.full
            board[Field.AUDIT_AWAY] = audit.state().problem is not None


def forget_engine(board: Board) -> None:
    """Take back what an engine process wrote that is no more."""
    for number in (
        *(Field.BUSY_SINCE, Field.SEEN_AT, Field.ROUTINE_TAKEN, Field.BULK_TAKEN, Field.ROUTINE_RETRY_S),
        *(Field.BULK_RETRY_S, Field.AUDIT_FULL, Field.AUDIT_AWAY, Field.BROKEN),
    ):
        board[number] = 0
