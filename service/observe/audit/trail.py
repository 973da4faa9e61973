"""The writer: a thread that brings rows to the database, or to the spool until the database answers again.

Writing is greedy, like batching: while one batch is written the next one gathers. A row is in memory for as long as
that takes; killed with SIGKILL, the service loses those rows, stopped with SIGTERM none. Where neither the database nor
the spool takes rows, the service says so and takes no more images: an audit trail with silent gaps is none.
"""

import json
import logging
import threading
import time
from collections import deque
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Final, Protocol

from service.observe.audit import AuditError
from service.observe.audit.rows import Row, SettingsVersion
from service.observe.audit.spool import Spool, SpoolFullError
from service.settings import Settings

logger = logging.getLogger("hal.audit")

BATCH: Final = 500
_FIRST_RETRY_S: Final = 0.5
_LONGEST_RETRY_S: Final = 15.0
_STOP_S: Final = 3.0
"""What a database that hangs is given at the end before its rows go to the spool."""


@dataclass(frozen=True, slots=True)
class AuditState:
    """How the trail is doing.

    Attributes:
        problem: why the database is away, or ``None``.
        full: whether neither database nor spool takes rows.
        waiting: rows in memory.
        spooled_bytes: rows on disk.
        written: rows that reached the database.
        logged: rows that only the log has: nothing else took them when the service stopped.
    """

    problem: str | None
    full: bool
    waiting: int
    spooled_bytes: int
    written: int
    logged: int


class Trail(Protocol):
    """Takes the rows of an audit trail; see :class:`AuditTrail`."""

    @property
    def full(self) -> bool:
        """Whether no more images should be taken, since their rows would be lost."""
        ...

    def state(self) -> AuditState:
        """How the trail is doing now."""
        ...

    def describe(self, version: SettingsVersion) -> None:
        """Make a version known that rows will name."""
        ...

    def record(self, rows: Iterable[Row]) -> None:
        """Take rows to be written."""
        ...

    def close(self) -> None:
        """Bring every row where it belongs."""
        ...


class AuditTrail:
    """One row for each image. :meth:`record` never blocks and never fails.

    Args:
        settings: ``audit`` is set.

    Raises:
        AuditError: the URL, a missing package or the spool's folder stand in the way. A database that is away does not.
    """

    def __init__(self, settings: Settings) -> None:
        # Here, so that a service without an audit trail does not need SQLAlchemy.
        from service.observe.audit.database import Database, DatabaseAwayError

        if settings.audit is None:
            raise AuditError("HAL_AUDIT is not set")
        self._away_error = DatabaseAwayError
        self._database = Database(settings.audit.get_secret_value())
        self._spool = Spool(settings.audit_spool, settings.audit_spool_bytes)
        self._changed = threading.Condition()
        self._pending: deque[Row] = deque()
        self._in_hand: list[Row] = []
        self._versions: dict[str, SettingsVersion] = {}
        self._unsaved: list[SettingsVersion] = []
        self._stopping = False
        self._problem: str | None = None
        self._full = False
        self._retry_s = _FIRST_RETRY_S
        self._retry_at = 0.0
        self._written = 0
        self._logged = 0
        self._thread = threading.Thread(target=self._work, name="hal-audit", daemon=True)
        self._thread.start()

    @property
    def full(self) -> bool:
        """Whether no more images should be taken, since their rows would be lost."""
        return self._full

    def state(self) -> AuditState:
        """How the trail is doing now."""
        with self._changed:
            waiting = len(self._pending) + len(self._in_hand)
        return AuditState(self._problem, self._full, waiting, self._spool.bytes, self._written, self._logged)

    def describe(self, version: SettingsVersion) -> None:
        """Make a version known that rows will name, so that it is written too."""
        with self._changed:
            if version.version not in self._versions:
                self._versions[version.version] = version
                self._unsaved.append(version)
                self._changed.notify()

    def record(self, rows: Iterable[Row]) -> None:
        """Take rows to be written."""
        with self._changed:
            self._pending.extend(rows)
            self._changed.notify()

    def close(self) -> None:
        """Bring every row to the database or to the spool, and only where both refuse, to the log."""
        with self._changed:
            self._stopping = True
            self._changed.notify()
        self._thread.join(_STOP_S)
        if self._thread.is_alive():
            # The database hangs. Should it take the rows after all, they have the same ids there as in the spool.
            with self._changed:
                rows = [*self._in_hand, *self._pending]
                self._pending.clear()
            self._spool_or_log(rows)
        else:
            self._database.close()

    def _work(self) -> None:
        while (batch := self._next()) is not None:
            try:
                self._settle(batch)
            except Exception:
                logger.exception("the audit trail stumbled; its rows are tried again")
                self._put_off("an unexpected error, see the log")
                self._put_back(batch)
            self._in_hand = []
        while batch := self._take():
            if self._problem or not self._to_database(batch):
                self._spool_or_log(batch)
            self._in_hand = []

    def _next(self) -> list[Row] | None:
        """Wait for rows, which may be none when only the spool is to be delivered; ``None`` when the service stops."""
        with self._changed:
            while not self._stopping:
                patience = self._retry_at - time.monotonic()
                owes = bool(len(self._spool) or self._unsaved or self._full)
                if (self._pending and not self._full) or (owes and patience <= 0):
                    return self._take()
                self._changed.wait(max(patience, 0.0) if owes else None)
            return None

    def _take(self) -> list[Row]:
        with self._changed:
            self._in_hand = [self._pending.popleft() for _ in range(min(len(self._pending), BATCH))]
            return self._in_hand

    def _settle(self, batch: list[Row]) -> None:
        due = time.monotonic() >= self._retry_at
        if due and self._to_database(batch):
            self._full = False
            self._deliver_oldest()
        elif batch and not self._to_spool(batch):
            self._put_back(batch)

    def _to_database(self, batch: Sequence[Row]) -> bool:
        unsaved = self._unsaved[:]
        try:
            self._database.write(batch, unsaved)
        except self._away_error as error:
            self._put_off(str(error))
            return False
        del self._unsaved[: len(unsaved)]
        self._written += len(batch)
        if self._problem:
            logger.info("the database of the audit trail answers again")
        self._problem = None
        self._retry_s = _FIRST_RETRY_S
        return True

    def _deliver_oldest(self) -> None:
        path = self._spool.oldest
        if path is None:
            return
        try:
            rows = self._spool.read(path)
        except ValueError as error:
            logger.error("%s; it is set aside", error)
            self._spool.set_aside(path)
            return
        if self._to_database(rows):
            self._spool.done(path)

    def _to_spool(self, batch: Sequence[Row]) -> bool:
        try:
            self._spool.keep(batch)
        except SpoolFullError as error:
            if not self._full:
                logger.critical("no more images are taken: neither database nor spool keeps their rows: %s", error)
            self._full = True
            # Room may be made at any time.
            self._retry_at = min(self._retry_at, time.monotonic() + _FIRST_RETRY_S)
            return False
        self._full = False
        return True

    def _put_off(self, problem: str) -> None:
        if not self._problem:
            logger.error("the database of the audit trail is away, rows go to the spool: %s", problem)
        self._problem = problem
        self._retry_at = time.monotonic() + self._retry_s
        self._retry_s = min(2 * self._retry_s, _LONGEST_RETRY_S)

    def _put_back(self, batch: Sequence[Row]) -> None:
        with self._changed:
            self._pending.extendleft(reversed(batch))

    def _spool_or_log(self, rows: Sequence[Row]) -> None:
        """The end of the service: what nothing keeps is at least said."""
        for start in range(0, len(rows), BATCH):
            batch = rows[start : start + BATCH]
            if batch and not self._to_spool(batch):
                for row in batch:
                    logger.critical("row of the audit trail", extra={"fields": {"row": json.loads(row.to_json())}})
                self._logged += len(batch)
