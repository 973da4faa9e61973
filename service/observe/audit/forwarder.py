"""Moves rows from the journal to PostgreSQL; the only module that knows psycopg."""

import logging
import threading
from collections.abc import Sequence
from typing import Any, Final
from urllib.parse import urlsplit

import psycopg
from psycopg.conninfo import conninfo_to_dict

from service.observe.audit import AuditError
from service.observe.audit.journal import INDEXES, AuditJournal
from service.observe.audit.rows import Row, SettingsVersion
from service.threads import start_thread

logger = logging.getLogger("hal.audit")

_BATCH: Final = 500
_CONNECT_S: Final = 3
_STATEMENT_S: Final = 5
_FIRST_RETRY_S: Final = 0.5
_LONGEST_RETRY_S: Final = 15.0
_LOOK_S: Final = 15.0
"""How often the journal is looked at for rows that another service left in it."""
_STOP_S: Final = 3.0

_TABLES: Final = """
CREATE TABLE IF NOT EXISTS hal_audit_settings (version VARCHAR(16) PRIMARY KEY, document JSONB NOT NULL);
CREATE TABLE IF NOT EXISTS hal_audit_images (
    id VARCHAR(32) PRIMARY KEY, time TIMESTAMPTZ NOT NULL, request_id VARCHAR(128) NOT NULL,
    image_index INTEGER NOT NULL, image_sha256 VARCHAR(64) NOT NULL, model_sha256 VARCHAR(64) NOT NULL,
    settings_version VARCHAR(16) NOT NULL, predicted_class VARCHAR(32), probabilities JSONB, hairy_flag BOOLEAN,
    novelty_score DOUBLE PRECISION, error VARCHAR(32), key VARCHAR(64)
);
"""
_INSERT_SETTINGS: Final = "INSERT INTO hal_audit_settings VALUES (%s, %s) ON CONFLICT DO NOTHING"
_INSERT_IMAGES: Final = (
    f"INSERT INTO hal_audit_images ({', '.join(Row._fields)}) "  # noqa: S608 - names of our own
    f"VALUES ({', '.join(['%s'] * len(Row._fields))}) ON CONFLICT DO NOTHING"
).encode()


class Forwarder:
    """A thread that moves rows, each once: what the database has committed is deleted from the journal.

    Attributes:
        problem: why the database takes no rows now, or ``None``.
        delivered: rows that the database has got.

    Raises:
        AuditError: the URL cannot be understood.
    """

    def __init__(self, url: str, journal: AuditJournal) -> None:
        self._journal = journal
        self._conninfo = _conninfo(url)
        self._connection: psycopg.Connection[Any] | None = None
        self.problem: str | None = None
        self.delivered = 0
        self._known: set[str] = set()
        self._stopping = threading.Event()
        self._given_up = False
        self._thread = start_thread(self._work, "hal-audit-forwarder")

    def close(self) -> None:
        """Move what is left, as far as the database takes it in three seconds; the rest waits in the journal."""
        self._stopping.set()
        self._journal.committed.set()
        self._thread.join(_STOP_S)
        self._given_up = True

    def _work(self) -> None:
        retry_s = _FIRST_RETRY_S
        while not self._given_up:
            self._journal.committed.clear()
            try:
                moved = self._move()
            except Exception as error:
                self._tell(error)
                if self._stopping.wait(retry_s):
                    return
                retry_s = min(2 * retry_s, _LONGEST_RETRY_S)
                continue
            retry_s = _FIRST_RETRY_S
            if not moved:
                if self._stopping.is_set():
                    break
                self._journal.committed.wait(_LOOK_S)
        self._disconnect()

    def _tell(self, error: Exception) -> None:
        problem = " ".join(str(error).split())[:300]
        if not self.problem:
            known = isinstance(error, psycopg.Error)
            logger.error("the audit trail's rows stay in the journal: %s", problem, exc_info=not known)
        self.problem = problem
        # A connection that broke once is not asked again.
        self._disconnect()

    def _move(self) -> int:
        connection = self._connection = self._connection or self._connect()
        versions, rows = self._journal.oldest(_BATCH)
        if rows:
            self._insert(connection, [each for each in versions if each.version not in self._known], rows)
            self._known = {each.version for each in versions}
        if self.problem:
            logger.info("the database of the audit trail answers again")
        self.problem = None
        if rows:
            self._journal.delete(rows)
            self.delivered += len(rows)
        return len(rows)

    def _connect(self) -> psycopg.Connection[Any]:
        connection = psycopg.connect(
            self._conninfo,
            autocommit=True,
            connect_timeout=_CONNECT_S,
            options=f"-c statement_timeout={1000 * _STATEMENT_S}",
            tcp_user_timeout=1000 * _STATEMENT_S,
            application_name="hal",
        )
        try:
            # Two services that start at once may both try; the loser finds the tables at its next attempt.
            connection.execute(_TABLES + INDEXES)
        except psycopg.Error:
            connection.close()
            raise
        return connection

    def _disconnect(self) -> None:
        connection, self._connection = self._connection, None
        if connection is not None:
            connection.close()

    @staticmethod
    def _insert(connection: psycopg.Connection[Any], versions: Sequence[SettingsVersion], rows: Sequence[Row]) -> None:
        with connection.transaction(), connection.cursor() as cursor:
            cursor.executemany(_INSERT_SETTINGS, versions)
            # SQLite has no truth values.
            flags = (None if row.hairy_flag is None else bool(row.hairy_flag) for row in rows)
            cursor.executemany(
                _INSERT_IMAGES, [row._replace(hairy_flag=flag) for row, flag in zip(rows, flags, strict=True)]
            )


def _conninfo(url: str) -> str:
    scheme, _, rest = url.partition("://")
    conninfo = f"postgresql://{rest}"
    try:
        if not (rest and urlsplit(conninfo).port != 0 and conninfo_to_dict(conninfo)):
            raise ValueError
    except (ValueError, psycopg.ProgrammingError):
        raise AuditError(
            "HAL_AUDIT is not a database's URL; expected sqlite:////var/lib/hal/audit.db or "
            "postgresql+psycopg://user:password@host/database"
        ) from None
    if scheme not in ("postgresql", "postgresql+psycopg"):
        raise AuditError(f"HAL_AUDIT names {scheme!r}; expected sqlite or postgresql+psycopg")
    return conninfo
