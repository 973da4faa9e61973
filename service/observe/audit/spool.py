"""Rows on disk while the database is away: one file for each batch, whole or not there."""

import contextlib
import os
import time
import uuid
from collections import deque
from collections.abc import Sequence
from pathlib import Path
from typing import Final

from contract.atomic import UNFINISHED, replacing
from service.observe.audit import AuditError
from service.observe.audit.rows import Row

_SUFFIX: Final = ".jsonl"


class SpoolFullError(Exception):
    """Rows could not be kept: the limit was reached or the disk refused them."""


class Spool:
    """A folder of rows. Several services may share one: a row that is delivered twice is one row in the database.

    Args:
        folder: made if it is not there.
        max_bytes: most bytes of its own files and those that it found, together.

    Attributes:
        bytes: what they take now.

    Raises:
        AuditError: nothing can be written into the folder.
    """

    def __init__(self, folder: Path, max_bytes: int) -> None:
        self._folder = folder
        self._max_bytes = max_bytes
        try:
            folder.mkdir(parents=True, exist_ok=True)
            probe = folder / f"probe-{uuid.uuid4().hex}{UNFINISHED}"
            probe.touch()
            probe.unlink()
        except OSError as error:
            raise AuditError(
                f"HAL_AUDIT_SPOOL={folder} cannot be written to ({error.strerror}), so rows would be lost while the "
                "database is away; name a folder on a writable volume"
            ) from error

        self._files = deque(sorted(path for path in folder.iterdir() if path.suffix == _SUFFIX))
        self.bytes = sum(path.stat().st_size for path in self._files)

    def __len__(self) -> int:
        return len(self._files)

    @property
    def oldest(self) -> Path | None:
        """The batch to deliver next."""
        return self._files[0] if self._files else None

    def keep(self, rows: Sequence[Row]) -> None:
        """Write a batch and see that it has reached the disk.

        Raises:
            SpoolFullError: it was not written.
        """
        text = "".join(row.to_json() + "\n" for row in rows).encode()
        if self.bytes + len(text) > self._max_bytes:
            raise SpoolFullError(f"{self.bytes} of {self._max_bytes} bytes are taken (HAL_AUDIT_SPOOL_BYTES)")
        name = f"{time.time_ns():020d}-{uuid.uuid4().hex[:8]}"
        whole = self._folder / (name + _SUFFIX)
        try:
            with replacing(whole) as partial:
                partial.write_bytes(text)
            _sync(self._folder)
        except OSError as error:
            raise SpoolFullError(f"{error.strerror} (HAL_AUDIT_SPOOL={self._folder})") from error
        self._files.append(whole)
        self.bytes += len(text)

    @staticmethod
    def read(path: Path) -> list[Row]:
        """The rows of a batch; none if another service has delivered it meanwhile.

        Raises:
            ValueError: it is not a batch that :meth:`keep` wrote.
        """
        try:
            return [Row.from_json(line) for line in path.read_text(encoding="utf-8").splitlines()]
        except FileNotFoundError:
            return []
        except (KeyError, TypeError, ValueError) as error:
            raise ValueError(f"{path} is not a batch of the audit trail: {error}") from error

    def set_aside(self, path: Path) -> None:
        """Keep a batch that cannot be read for a person to look at."""
        self._forget(path)
        path.rename(path.with_suffix(".unreadable"))

    def done(self, path: Path) -> None:
        """The batch is in the database."""
        self._forget(path)
        path.unlink(missing_ok=True)

    def _forget(self, path: Path) -> None:
        self._files.remove(path)
        with contextlib.suppress(FileNotFoundError):
            self.bytes -= path.stat().st_size


def _sync(folder: Path) -> None:
    """See that the new name has reached the disk."""
    if os.name != "posix":
        return
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
