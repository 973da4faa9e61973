"""The database of the audit trail: SQLite or PostgreSQL through SQLAlchemy; the only module that knows SQLAlchemy."""

import json
from collections.abc import Sequence
from typing import Any, Final

from service.observe.audit import AuditError
from service.observe.audit.rows import Row, SettingsVersion

try:
    import sqlalchemy as sa
    from sqlalchemy.dialects import postgresql, sqlite
except ModuleNotFoundError as missing:
    raise AuditError(
        f"HAL_AUDIT needs the Python package {missing.name!r}; install it with pip install 'hal-cells[service,audit]'"
    ) from None

_CONNECT_S: Final = 3
_STATEMENT_S: Final = 5

_SQLITE: Final = "sqlite+pysqlite"
_POSTGRESQL: Final = "postgresql+psycopg"
_DRIVERS: Final = {"sqlite": _SQLITE, _SQLITE: _SQLITE, "postgresql": _POSTGRESQL, _POSTGRESQL: _POSTGRESQL}

_METADATA: Final = sa.MetaData()
_JSON: Final = sa.JSON().with_variant(postgresql.JSONB(), "postgresql")

SETTINGS: Final = sa.Table(
    "hal_audit_settings",
    _METADATA,
    sa.Column("version", sa.String(16), primary_key=True),
    sa.Column("document", _JSON, nullable=False),
)
IMAGES: Final = sa.Table(
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
    sa.Column("probabilities", _JSON),
    sa.Column("hairy_flag", sa.Boolean),
    sa.Column("error", sa.String(32)),
    sa.Column("key", sa.String(64)),
)


class DatabaseAwayError(Exception):
    """Rows could not be written now; none of them was."""


class Database:
    """Where the rows end. Opened at the first write; used by one thread.

    Args:
        url: ``sqlite:///file`` or ``postgresql+psycopg://user:password@host/name``.

    Raises:
        AuditError: the URL cannot be understood or its driver is not installed.
    """

    def __init__(self, url: str) -> None:
        try:
            parsed = sa.make_url(url)
        except sa.exc.ArgumentError:
            raise AuditError(
                "HAL_AUDIT is not a database's URL; expected sqlite:////var/lib/hal/audit.db or "
                "postgresql+psycopg://user:password@host/database"
            ) from None
        backend = _DRIVERS.get(parsed.drivername)
        if backend is None:
            raise AuditError(f"HAL_AUDIT names {parsed.drivername!r}; expected sqlite or postgresql+psycopg")
        options: dict[str, Any] = {"timeout": _STATEMENT_S}
        if backend == _POSTGRESQL:
            options = {
                "connect_timeout": _CONNECT_S,
                "options": f"-c statement_timeout={1000 * _STATEMENT_S}",
                "tcp_user_timeout": 1000 * _STATEMENT_S,
                "application_name": "hal",
            }
        try:
            self._engine = sa.create_engine(
                parsed.set(drivername=backend),
                connect_args=options,
                pool_size=1,
                max_overflow=0,
                poolclass=sa.QueuePool,
            )
        except ModuleNotFoundError as missing:
            raise AuditError(
                f"HAL_AUDIT={parsed.render_as_string()} needs the Python package {missing.name!r}; install the extra: "
                "pip install 'hal-cells[service,audit]'"
            ) from None
        self._insert = sqlite.insert if backend == _SQLITE else postgresql.insert
        self._made = False
        self.name = parsed.render_as_string(hide_password=True)

    def write(self, rows: Sequence[Row], settings: Sequence[SettingsVersion]) -> None:
        """Write all rows or none; a row that is there already stays as it is.

        Raises:
            DatabaseAwayError: none was written.
        """
        try:
            if not self._made:
                # Two instances that start at once may both try; the loser finds the tables at its next attempt.
                _METADATA.create_all(self._engine)
                self._made = True
            with self._engine.begin() as connection:
                if settings:
                    documents = [
                        {"version": each.version, "document": json.loads(json.dumps(each.document))}
                        for each in settings
                    ]
                    connection.execute(self._insert(SETTINGS).on_conflict_do_nothing(), documents)
                if rows:
                    connection.execute(self._insert(IMAGES).on_conflict_do_nothing(), [row.values() for row in rows])
        except sa.exc.SQLAlchemyError as error:
            # A connection that broke once is not asked again.
            self._engine.dispose()
            raise DatabaseAwayError(_reason(error)) from error

    def close(self) -> None:
        """Let go of the connection."""
        self._engine.dispose()


def _reason(error: Exception) -> str:
    """The driver's own words, on one line and without the statement and its values."""
    return " ".join(str(getattr(error, "orig", None) or error).split())[:300]
