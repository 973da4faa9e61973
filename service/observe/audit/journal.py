"""The audit journal: a SQLite file that one thread writes, all waiting rows in one commit.

``synchronous=FULL``: a commit has reached the disk before the answer is sent, so that neither ``kill -9`` nor a power
cut loses the row of an answer. It costs the wait for the disk, once for all rows that wait together.
"""

import contextlib
import errno
import logging
import os
import queue
import shutil
import sqlite3
import threading
import time
from collections.abc import Sequence
from concurrent.futures import Future
from pathlib import Path
from typing import Final, NamedTuple

from service.observe.audit import AuditError, AuditFullError
from service.observe.audit.rows import Row, SettingsVersion
from service.threads import start_thread

logger = logging.getLogger("hal.audit")

PAGE_BYTES: Final = 4096
_RESERVE_BYTES: Final = 2 << 20
"""Left free on the disk: rows that the database has got can be deleted only where there is room to write."""
_PROBE_BYTES: Final = 64 << 10
_RETRY_S: Final = 0.5
_BUSY_S: Final = 5.0
_STOP_S: Final = 3.0

_TABLES: Final = """
CREATE TABLE IF NOT EXISTS hal_audit_settings (version TEXT PRIMARY KEY, document TEXT NOT NULL);
CREATE TABLE IF NOT EXISTS hal_audit_images (
    id TEXT PRIMARY KEY, time TEXT NOT NULL, request_id TEXT NOT NULL, image_index INTEGER NOT NULL,
    image_sha256 TEXT NOT NULL, model_sha256 TEXT NOT NULL, settings_version TEXT NOT NULL, predicted_class TEXT,
    probabilities TEXT, hairy_flag BOOLEAN, novelty_score REAL, error TEXT, key TEXT
);
"""
INDEXES: Final = """
CREATE INDEX IF NOT EXISTS ix_hal_audit_images_time ON hal_audit_images (time);
CREATE INDEX IF NOT EXISTS ix_hal_audit_images_request_id ON hal_audit_images (request_id);
CREATE INDEX IF NOT EXISTS ix_hal_audit_images_image_sha256 ON hal_audit_images (image_sha256);
"""
_INSERT_SETTINGS: Final = "INSERT INTO hal_audit_settings VALUES (?, ?) ON CONFLICT DO NOTHING"
_INSERT_IMAGES: Final = (
    f"INSERT INTO hal_audit_images ({', '.join(Row._fields)}) "  # noqa: S608 - names of our own
    f"VALUES ({', '.join('?' * len(Row._fields))}) ON CONFLICT DO NOTHING"
)


class _CorruptError(sqlite3.DatabaseError):
    sqlite_errorname = "SQLITE_CORRUPT"


class _Entry(NamedTuple):
    version: SettingsVersion
    rows: Sequence[Row]
    written: "Future[None]"


class AuditJournal:
    """A file of rows, made if it is not there. Several services of one machine may share it.

    Args:
        setting: what to name in messages about it.
        max_bytes: most bytes in use; ``None`` where the file is the database itself and grows as the disk allows.

    Attributes:
        problem: why it takes no rows now, or ``None``.
        written: rows that were committed.
        committed: set after each commit; for the forwarder to wait for.

    Raises:
        AuditError: the file cannot be opened or written.
    """

    def __init__(self, path: Path, *, setting: str, max_bytes: int | None = None) -> None:
        self._path = path
        self._max_bytes = max_bytes
        self.problem: str | None = None
        self.written = 0
        self.committed = threading.Event()
        try:
            self._connection = self._open()
        except sqlite3.Error as error:
            corrupt = getattr(error, "sqlite_errorname", "") in ("SQLITE_NOTADB", "SQLITE_CORRUPT")
            if not corrupt or max_bytes is None:
                raise AuditError(f"{setting}: {path} cannot be used as a SQLite file: {error}") from error
            self._set_aside(error)
            self._connection = self._open()
        self._inbox: queue.SimpleQueue[_Entry | None] = queue.SimpleQueue()
        self._thread = start_thread(self._work, "hal-audit-journal")

    def record(self, version: SettingsVersion, rows: Sequence[Row]) -> "Future[None]":
        """Write rows that were answered under ``version``; done when they are on the disk.

        The future raises AuditFullError if they could not be written; cancelled in time, it has nothing written.
        """
        entry = _Entry(version, rows, Future())
        self._inbox.put(entry)
        return entry.written

    def oldest(self, count: int) -> tuple[list[SettingsVersion], list[Row]]:
        """The rows that came first, at most ``count``, and all versions; safe to call from any thread."""
        with contextlib.closing(self._connect()) as connection:
            rows = connection.execute(
                f"SELECT {', '.join(Row._fields)} FROM hal_audit_images ORDER BY rowid LIMIT ?",  # noqa: S608
                (count,),
            ).fetchall()
            versions = connection.execute("SELECT version, document FROM hal_audit_settings").fetchall()
        return [SettingsVersion(*each) for each in versions], [Row(*each) for each in rows]

    def delete(self, rows: Sequence[Row]) -> None:
        """Forget rows that the database has got; safe to call from any thread."""
        with contextlib.closing(self._connect()) as connection, connection:
            connection.executemany("DELETE FROM hal_audit_images WHERE id = ?", [(row.id,) for row in rows])

    def waiting(self) -> int:
        return self._ask("SELECT count(*) FROM hal_audit_images")

    def bytes(self) -> int:
        """Bytes in use; pages that deleted rows left are used again."""
        return PAGE_BYTES * (self._ask("PRAGMA page_count") - self._ask("PRAGMA freelist_count"))

    def close(self) -> None:
        """Write what was recorded, then close the file; a disk that hangs is given up."""
        self._inbox.put(None)
        self._thread.join(_STOP_S)
        if not self._thread.is_alive():
            self._connection.close()

    def _ask(self, question: str) -> int:
        with contextlib.closing(self._connect()) as connection:
            return int(connection.execute(question).fetchone()[0])

    def _connect(self) -> sqlite3.Connection:
        connection = sqlite3.connect(self._path, timeout=_BUSY_S, check_same_thread=False)
        connection.execute("PRAGMA synchronous=FULL")
        # Checkpointed each MiB, so that the write-ahead log does not outgrow a small volume.
        connection.execute(f"PRAGMA wal_autocheckpoint={(1 << 20) // PAGE_BYTES}")
        if self._max_bytes is not None:
            connection.execute(f"PRAGMA max_page_count={self._max_bytes // PAGE_BYTES}")
        return connection

    def _open(self) -> sqlite3.Connection:
        connection = self._connect()
        try:
            connection.execute(f"PRAGMA page_size={PAGE_BYTES}")
            connection.execute("PRAGMA journal_mode=WAL")
            if self._max_bytes is None:
                connection.executescript(_TABLES + INDEXES)
            else:
                connection.executescript(_TABLES)
                if (found := connection.execute("PRAGMA quick_check(1)").fetchone()[0]) != "ok":
                    raise _CorruptError(found)
            self._probe(connection)
        except sqlite3.Error:
            connection.close()
            raise
        return connection

    def _set_aside(self, error: Exception) -> None:
        aside = self._path.with_name(f"{self._path.name}.{time.time_ns()}.unreadable")
        for ending in ("", "-wal", "-shm"):
            with contextlib.suppress(FileNotFoundError):
                Path(f"{self._path}{ending}").rename(f"{aside}{ending}")
        logger.critical("the audit journal is damaged (%s); it is kept as %s and a new one begun", error, aside)

    def _work(self) -> None:
        while True:
            try:
                entries = [self._inbox.get(timeout=_RETRY_S if self.problem else None)]
            except queue.Empty:
                entries = []  # Is there room again?
            with contextlib.suppress(queue.Empty):
                while None not in entries:
                    entries.append(self._inbox.get_nowait())
            self._settle([entry for entry in entries if entry and entry.written.set_running_or_notify_cancel()])
            if None in entries:
                return

    def _settle(self, entries: Sequence[_Entry]) -> None:
        try:
            self._commit(entries)
        except (sqlite3.Error, OSError) as error:
            if not self.problem:
                logger.critical("no images are taken: the audit journal %s takes no rows: %s", self._path, error)
            self.problem = str(error)
            for entry in entries:
                entry.written.set_exception(AuditFullError())
        else:
            if self.problem:
                logger.info("the audit journal takes rows again")
            self.problem = None
            self.written += sum(len(entry.rows) for entry in entries)
            for entry in entries:
                entry.written.set_result(None)
            self.committed.set()

    def _commit(self, entries: Sequence[_Entry]) -> None:
        if self.problem:
            self._probe(self._connection)
        if self._room() < _RESERVE_BYTES:
            # Gives the room of the write-ahead log back.
            self._connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
            if self._room() < _RESERVE_BYTES:
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        with self._connection:
            self._connection.executemany(_INSERT_SETTINGS, {entry.version for entry in entries})
            self._connection.executemany(_INSERT_IMAGES, [row for entry in entries for row in entry.rows])

    def _room(self) -> int:
        (unused,) = self._connection.execute("PRAGMA freelist_count").fetchone()
        return shutil.disk_usage(self._path.parent).free + PAGE_BYTES * int(unused)

    def _probe(self, connection: sqlite3.Connection) -> None:
        """Write and take back some pages: a disk or a limit that has no room for them has none for rows."""
        with connection:
            connection.execute("INSERT INTO hal_audit_settings VALUES ('probe', zeroblob(?))", (_PROBE_BYTES,))
            connection.execute("DELETE FROM hal_audit_settings WHERE version = 'probe'")
