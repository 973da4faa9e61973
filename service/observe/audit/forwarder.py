"""Moves rows from the journal to PostgreSQL; the only module that knows SQLAlchemy."""

import json
import logging
import threading
from collections.abc import Sequence
from datetime import datetime
from typing import Any, Final

import sqlalchemy as sa
from sqlalchemy.dialects import postgresql

from service.observe.audit import AuditError
from service.observe.audit.journal import AuditJournal
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

_METADATA: Final = sa.MetaData()
_SETTINGS: Final = sa.Table(
    "hal_audit_settings",
    _METADATA,
    sa.Column("version", sa.String(16), primary_key=True),
    sa.Column("document", postgresql.JSONB, nullable=False),
)
_IMAGES: Final = sa.Table(
    "hal_audit_images",
    _METADATA,
    sa.Column("id", sa.String(32), primary_key=True),
    sa.Column("time", sa.DateTime(timezone=True), nullable=False, index=True),
    sa.Column("request_id", sa.String(128), nullable=False, index=True),
    sa.Column("image_index", sa.Integer, nullable=False),
    sa.Column("image_sha256", sa.String(64), nullable=False, index=True),
    sa.Column("model_sha256", sa.String(64), nullable=False),
    sa.Column("settings_version", sa.String(16), nullable=False),
    sa.Column("predicted_class", sa.String(32)),
    sa.Column("probabilities", postgresql.JSONB(none_as_null=True)),
    sa.Column("hairy_flag", sa.Boolean),
    sa.Column("novelty_score", sa.Float),
    sa.Column("error", sa.String(32)),
    sa.Column("key", sa.String(64)),
)


class Forwarder:
    """A thread that moves rows, each once: what the database has committed is deleted from the journal.

    Args:
        url: ``postgresql+psycopg://user:password@host/database``.
        journal: where the rows are.

    Attributes:
        problem: why the database takes no rows now, or ``None``.
        delivered: rows that the database has got.

    Raises:
        AuditError: the URL cannot be understood.
    """

    def __init__(self, url: str, journal: AuditJournal) -> None:
        self._journal = journal
        self._engine = _engine(url)
        self.problem: str | None = None
        self.delivered = 0
        self._tables_made = False
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
        if not self._thread.is_alive():
            self._engine.dispose()

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
                    return
                self._journal.committed.wait(_LOOK_S)

    def _tell(self, error: Exception) -> None:
        # The driver's own words, without the statement and its values.
        problem = " ".join(str(getattr(error, "orig", None) or error).split())[:300]
        if not self.problem:
            known = isinstance(error, sa.exc.SQLAlchemyError)
            logger.error("the audit trail's rows stay in the journal: %s", problem, exc_info=not known)
        self.problem = problem
        # A connection that broke once is not asked again.
        self._engine.dispose()

    def _move(self) -> int:
        if not self._tables_made:
            # Two services that start at once may both try; the loser finds the tables at its next attempt.
            _METADATA.create_all(self._engine)
            self._add_column()
            self._tables_made = True
        versions, rows = self._journal.oldest(_BATCH)
        if rows:
            self._insert([each for each in versions if each.version not in self._known], rows)
            self._known = {each.version for each in versions}
        if self.problem:
            logger.info("the database of the audit trail answers again")
        self.problem = None
        if rows:
            self._journal.delete(rows)
            self.delivered += len(rows)
        return len(rows)

    def _add_column(self) -> None:
        """Bring tables of a release without ``novelty_score`` up to date."""
        if "novelty_score" not in {column["name"] for column in sa.inspect(self._engine).get_columns(_IMAGES.name)}:
            with self._engine.begin() as connection:
                connection.execute(
                    sa.text(f"ALTER TABLE {_IMAGES.name} ADD COLUMN IF NOT EXISTS novelty_score DOUBLE PRECISION")
                )

    def _insert(self, versions: Sequence[SettingsVersion], rows: Sequence[Row]) -> None:
        documents = [{"version": each.version, "document": json.loads(each.document)} for each in versions]
        with self._engine.begin() as connection:
            if documents:
                connection.execute(postgresql.insert(_SETTINGS).on_conflict_do_nothing(), documents)
            connection.execute(postgresql.insert(_IMAGES).on_conflict_do_nothing(), [_values(row) for row in rows])


def _values(row: Row) -> dict[str, Any]:
    return row._asdict() | {
        "time": datetime.fromisoformat(row.time),
        "probabilities": None if row.probabilities is None else json.loads(row.probabilities),
        "hairy_flag": None if row.hairy_flag is None else bool(row.hairy_flag),
    }


def _engine(url: str) -> sa.Engine:
    try:
        parsed = sa.make_url(url)
    except (sa.exc.ArgumentError, ValueError):
        raise AuditError(
            "HAL_AUDIT is not a database's URL; expected sqlite:////var/lib/hal/audit.db or "
            "postgresql+psycopg://user:password@host/database"
        ) from None
    if parsed.drivername not in ("postgresql", "postgresql+psycopg"):
        raise AuditError(f"HAL_AUDIT names {parsed.drivername!r}; expected sqlite or postgresql+psycopg")
    return sa.create_engine(
        parsed.set(drivername="postgresql+psycopg"),
        pool_size=1,
        max_overflow=0,
        connect_args={
            "connect_timeout": _CONNECT_S,
            "options": f"-c statement_timeout={1000 * _STATEMENT_S}",
            "tcp_user_timeout": 1000 * _STATEMENT_S,
            "application_name": "hal",
        },
    )
