"""The file of results, grown line by line and never left half written.

While the work goes on, each result is one line of a journal beside the file, ``NAME.part``, whatever the format. At the
end the file is written anew from what it had and the journal, and takes the old one's place at once. A process that is
killed leaves the journal; the next one cuts off a last line that is incomplete and goes on.
"""

import contextlib
import dataclasses
import hashlib
import json
import os
import sys
from collections.abc import Iterator
from pathlib import Path
from types import TracebackType
from typing import IO, Final, Self

from contract.atomic import replacing
from service.jobs.folders.errors import FoldersError, MixedModelsError
from service.jobs.folders.files import ImageFile
from service.jobs.folders.formats import format_of
from service.jobs.folders.records import STAMP, Entry, Record, entry_of

JOURNAL: Final = ".part"
_TAIL_BYTES: Final = 65536


class Results:
    """Results in ``path`` and its journal, held by one process.

    Raises:
        FoldersError: the format is not known, the file is not one of ours or another process works on it.
        MixedModelsError: it was made with more than one model.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.stamp: tuple[str, ...] | None = None
        self._format = format_of(path)
        self._journal_path = path.with_name(path.name + JOURNAL)
        self._known: dict[str, Entry] = {}
        if path.exists():
            self._read_finished()
        self._journal = self._open_journal()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self._journal.close()

    def has(self, file: ImageFile) -> bool:
        """Whether the file was classified and has not changed: by size and time, or else by its content."""
        entry = self._known.get(file.path)
        if entry is None or not entry.classified:
            return False
        if (entry.bytes, entry.mtime_ns) == (file.bytes, file.mtime_ns):
            return True
        try:
            with Path(file.path).open("rb") as stream:
                return hashlib.file_digest(stream, "sha256").hexdigest() == entry.image_sha256
        except OSError:
            return False

    def add(self, record: Record) -> None:
        """Keep a result; once this returns, the end of the process does not lose it.

        Raises:
            MixedModelsError: it was made with another model than the results that are there.
        """
        self._note(entry_of(record))
        self._journal.write(json.dumps(record) + "\n")
        self._journal.flush()

    def expect(self, stamp: tuple[str, ...]) -> None:
        """Check the model before it is used.

        Raises:
            MixedModelsError: see :meth:`add`.
        """
        if self.stamp is not None and stamp != self.stamp:
            differences = "; ".join(
                f"{name} {old} there, {new} now"
                for name, old, new in zip(STAMP, self.stamp, stamp, strict=True)
                if old != new
            )
            raise MixedModelsError(
                f"the results in {self.path} were made with another model: {differences}. Their probabilities cannot "
                "be mixed: choose another --out, or remove the old results (and their .part file)."
            )
        self.stamp = stamp

    def finish(self) -> None:
        """Write the file with everything in it, and remove the journal."""
        if not self._journal_path.stat().st_size and self.path.exists():
            self._journal_path.unlink()
            return
        with replacing(self.path) as unfinished, self._format.writing(unfinished) as add:
            journaled = {entry_of(record).path: number for number, record in enumerate(self._journaled())}
            if self.path.exists():
                for entry, row in self._format.read(self.path):
                    if entry.path not in journaled:
                        add(row)
            for number, record in enumerate(self._journaled()):
                if journaled[record["path"]] == number:
                    add(self._format.row(record))
        self._journal_path.unlink()

    def _note(self, entry: Entry) -> None:
        if entry.stamp is not None:
            self.expect(entry.stamp)
        self._known[entry.path] = dataclasses.replace(entry, stamp=None)

    def _read_finished(self) -> None:
        try:
            for entry, _ in self._format.read(self.path):
                self._note(entry)
        except FoldersError:
            raise
        except Exception as error:
            # csv.Error, pyarrow's errors, KeyError: whatever a file that is not ours provokes.
            raise FoldersError(
                f"{self.path} is there and was not written by this version of 'hal classify' "
                f"({type(error).__name__}: {error}); choose another --out or remove it"
            ) from error

    def _open_journal(self) -> IO[str]:
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            journal = self._journal_path.open("a+", encoding="utf-8", newline="\n")
        except OSError as error:
            raise FoldersError(f"cannot write {self._journal_path}: {error.strerror}") from error
        with contextlib.ExitStack() as on_error:
            on_error.callback(journal.close)
            try:
                lock(journal)
            except OSError:
                raise FoldersError(f"another 'hal classify' is writing {self.path}; wait for it, or stop it") from None
            _cut_incomplete_line(self._journal_path)
            for number, record in enumerate(self._journaled(), 1):
                try:
                    self._note(entry_of(record))
                except (KeyError, TypeError) as error:
                    raise FoldersError(
                        f"{self._journal_path}, line {number}, is not a result of 'hal classify'; remove the file"
                    ) from error
            on_error.pop_all()
        return journal

    def _journaled(self) -> Iterator[Record]:
        with self._journal_path.open(encoding="utf-8") as stream:
            for number, line in enumerate(stream, 1):
                try:
                    yield json.loads(line)
                except ValueError as error:
                    raise FoldersError(
                        f"{self._journal_path}, line {number}, is damaged ({error}); remove the file and start again"
                    ) from error


def _cut_incomplete_line(path: Path) -> None:
    with path.open("rb+") as stream:
        end = stream.seek(0, os.SEEK_END)
        while end:
            start = max(0, end - _TAIL_BYTES)
            stream.seek(start)
            if (newline := stream.read(end - start).rfind(b"\n")) >= 0:
                stream.truncate(start + newline + 1)
                return
            end = start
        stream.truncate(0)


def lock(stream: IO[str]) -> None:
    """Hold a file until it is closed or the process ends; OSError if another process holds it."""
    if sys.platform != "win32":
        import fcntl

        fcntl.flock(stream, fcntl.LOCK_EX | fcntl.LOCK_NB)
