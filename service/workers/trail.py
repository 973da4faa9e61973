"""The audit trail as a worker sees it: its rows go to the engine process, which writes them."""

import asyncio
import json
import logging
from collections import deque
from collections.abc import Iterable
from typing import Final

from service.observe.audit.rows import Row, SettingsVersion
from service.observe.audit.trail import AuditState
from service.workers.board import Board, Field
from service.workers.intake import EngineLink
from service.workers.messages import Rows

logger = logging.getLogger("hal.audit")

_STOP_S: Final = 3.0


class RemoteTrail:
    """Sends rows before their answer is sent, and keeps each until the engine process has it.

    Should that process be killed, the next one is sent what the former did not confirm; what both have is one row.

    Args:
        board: tells how the database is doing.
    """

    def __init__(self, board: Board) -> None:
        self._board = board
        self._loop = asyncio.get_running_loop()
        self._link: EngineLink | None = None
        self._kept: deque[Row] = deque()
        self._none_kept = asyncio.Event()
        self._none_kept.set()

    @property
    def full(self) -> bool:
        """Whether no more images should be taken, since their rows would be lost."""
        return bool(self._board[Field.AUDIT_FULL])

    def state(self) -> AuditState:
        """Whether the database answers; the counts are the engine process's."""
        problem = "see the log" if self._board[Field.AUDIT_AWAY] else None
        return AuditState(problem, self.full, len(self._kept), 0, 0, 0)

    def describe(self, version: SettingsVersion) -> None:
        """The engine process has described it already."""

    def record(self, rows: Iterable[Row]) -> None:
        """Send rows; from another thread than the loop's they are sent before the loop goes on with their request."""
        kept = list(rows)
        try:
            asyncio.get_running_loop()
        except RuntimeError:
            self._loop.call_soon_threadsafe(self._record, kept)
        else:
            self._record(kept)

    def connected(self, link: EngineLink) -> None:
        """Another engine process: it has not what the former one did not confirm."""
        self._link = link
        self._send(list(self._kept))

    def lost(self) -> None:
        """The engine process is gone."""
        self._link = None

    def taken(self, count: int) -> None:
        """The engine process has the oldest ``count`` rows."""
        for _ in range(min(count, len(self._kept))):
            self._kept.popleft()
        if not self._kept:
            self._none_kept.set()

    async def until_taken(self) -> None:
        """Wait until the engine process has every row, or has none the log is told them."""
        try:
            async with asyncio.timeout(_STOP_S):
                await self._none_kept.wait()
        except TimeoutError:
            for row in self._kept:
                logger.critical("row of the audit trail", extra={"fields": {"row": json.loads(row.to_json())}})

    def close(self) -> None:
        """Nothing is left to do: :meth:`until_taken` comes first."""

    def _record(self, rows: list[Row]) -> None:
        self._kept.extend(rows)
        self._none_kept.clear()
        self._send(rows)

    def _send(self, rows: list[Row]) -> None:
        if self._link is not None and rows:
            self._link.send(Rows(tuple(row.to_json() for row in rows)))
            # The answer is about to be written, and should this process be killed then, the rows are under way.
            self._link.flush()
