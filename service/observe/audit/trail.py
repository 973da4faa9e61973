"""The audit trail as the service sees it: a journal, and what forwards it where HAL_AUDIT is PostgreSQL."""

import sqlite3
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Final, Literal

from service.observe.audit import AuditError, AuditFullError
from service.observe.audit.journal import AuditJournal
from service.observe.metrics import Metrics
from service.settings import Settings

_SQLITE: Final = ("sqlite", "sqlite+pysqlite")


class AuditTrail:
    """One row for each image that is answered; ``forwarder`` is ``None`` where the journal is the database.

    Raises:
        AuditError: the URL or the journal stands in the way. A database that is away does not.
    """

    def __init__(self, settings: Settings) -> None:
        url = "" if settings.audit is None else settings.audit.get_secret_value()
        if url.partition(":")[0] in _SQLITE:
            self.forwarder = None
            self.journal = AuditJournal(_file(url), setting="HAL_AUDIT")
            return
        # Here, so that a service without PostgreSQL does not need its driver.
        from service.observe.audit.forwarder import Forwarder

        folder = settings.audit_journal
        setting = f"HAL_AUDIT_JOURNAL={folder}"
        try:
            folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise AuditError(f"{setting} cannot be made ({error.strerror}); name a writable folder") from error
        self.journal = AuditJournal(folder / "journal.db", setting=setting, max_bytes=settings.audit_journal_bytes)
        try:
            self.forwarder = Forwarder(url, self.journal)
        except AuditError:
            self.journal.close()
            raise

    @property
    def goes_to(self) -> Literal["database", "journal"]:
        return "journal" if self.forwarder is not None and self.forwarder.problem else "database"

    def check_room(self) -> None:
        """Raise :class:`AuditFullError` if the rows of more images could not be kept."""
        if self.journal.problem:
            raise AuditFullError

    def show(self, metrics: Metrics) -> None:
        journal, forwarder = self.journal, self.forwarder
        metrics.audit_database_up.read = lambda: {"": self.goes_to == "database"}
        metrics.audit_full.read = lambda: {"": journal.problem is not None}
        metrics.audit_journal_bytes.read = _readable(journal.bytes)
        metrics.audit_waiting_rows.read = _readable(journal.waiting) if forwarder else lambda: {"": 0}
        metrics.audit_rows.read = lambda: {"": forwarder.delivered if forwarder else journal.written}

    def close(self) -> None:
        """Write what was recorded, and forward what the database takes."""
        self.journal.close()
        if self.forwarder is not None:
            self.forwarder.close()


def _readable(read: Callable[[], int]) -> Callable[[], Mapping[str, float]]:
    """No sample while the journal cannot be read."""

    def safely() -> Mapping[str, float]:
        try:
            return {"": read()}
        except sqlite3.Error:
            return {}

    return safely


def _file(url: str) -> Path:
    """The file of ``sqlite:///relative`` or ``sqlite:////absolute``."""
    path = url.partition(":")[2]
    if not path.startswith("///") or not path[3:].strip("/"):
        raise AuditError(
            f"HAL_AUDIT={url} names no file; expected sqlite:////var/lib/hal/audit.db, or with one slash less a file "
            "relative to the working directory"
        )
    file = Path(path[3:])
    if not file.parent.is_dir():
        hint = "" if file.is_absolute() else f" in {Path.cwd()}; an absolute path takes one slash more"
        raise AuditError(f"HAL_AUDIT={url}: there is no folder {file.parent}{hint}")
    return file
