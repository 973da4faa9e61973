"""Results of ``hal classify --out``: a journal beside the file while the work goes on, converted at its end.

Each result is a line of JSON in ``NAME.journal``, whatever the format of ``NAME``. A killed process leaves the journal;
the next one cuts off a last line that is incomplete and goes on. The journal stays, so that images can be added.
"""

import hashlib
import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Self

from contract.files import replacing
from service.jobs.exit_codes import JobError
from service.jobs.files import ImageFile, lock
from service.jobs.records import FORMATS, STAMP, Record, write

JOURNAL: Final = ".journal"


@dataclass(frozen=True, slots=True)
class _Entry:
    line: int
    file: tuple[int, int]
    sha256: str
    classified: bool


class Journal:
    """Results for ``out``, held by one process.

    Raises:
        JobError: the format is not known, the file is not one of ours, was made with more than one model, or another
            process works on it.
    """

    def __init__(self, out: Path) -> None:
        if out.suffix.lower() not in FORMATS:
            raise JobError(f"--out {out}: expected a name that ends in {', '.join(FORMATS)}")
        self.out = out
        real = out if out.exists() and not out.is_file() else out.resolve()
        self._path = real.with_name(real.name + JOURNAL)
        self._stamp: tuple[str, ...] | None = None
        self._known: dict[str, _Entry] = {}
        self._lines = 0
        self._added = False
        if out.is_file() and out.stat().st_size and not self._path.exists():
            raise JobError(
                f"{out} is there without its journal {self._path.name}: it was not written by this version of "
                "'hal classify', or the journal was removed. Choose another --out, or remove the file"
            )
        try:
            self._path.parent.mkdir(parents=True, exist_ok=True)
            self._stream = self._path.open("ab+")
        except OSError as error:
            raise JobError(f"cannot write {self._path}: {error.strerror}") from error
        try:
            lock(self._stream, out, "hal classify")
            self._read()
        except BaseException:
            self._stream.close()
            raise

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._stream.close()

    def has(self, file: ImageFile) -> bool:
        """Whether the file was classified and has not changed: by size and time, or else by its content."""
        entry = self._known.get(file.path)
        if entry is None or not entry.classified:
            return False
        if entry.file == (file.bytes, file.mtime_ns):
            return True
        try:
            with Path(file.path).open("rb") as stream:
                return hashlib.file_digest(stream, "sha256").hexdigest() == entry.sha256
        except OSError:
            return False

    def add(self, record: Record) -> None:
        """Keep a result, of the model of those that are there; the end of the process does not lose it from then on.

        Raises:
            JobError: it was made with another model than the results that are there.
        """
        self._note(record)
        self._added = True
        self._stream.write(json.dumps(record).encode() + b"\n")
        self._stream.flush()

    def expect(self, stamp: tuple[str, ...]) -> None:
        """Raise :class:`JobError` if the results that are there are of another model."""
        if self._stamp is not None and stamp != self._stamp:
            differences = "; ".join(
                f"{name} {old} there, {new} now"
                for name, old, new in zip(STAMP, self._stamp, stamp, strict=True)
                if old != new
            )
            raise JobError(
                f"the results in {self.out} were made with another model: {differences}. Their probabilities cannot "
                f"be mixed: choose another --out, or remove the old results and {self._path}."
            )
        self._stamp = stamp

    def finish(self) -> None:
        """Write the file unless it is there and has everything; of several results of an image the last."""
        if self._added or not self.out.is_file() or self.out.stat().st_mtime_ns < self._path.stat().st_mtime_ns:
            with replacing(self.out) as unfinished:
                write(unfinished, self.out.suffix.lower(), self._last())

    def _last(self) -> Iterator[Record]:
        with self._path.open("rb") as stream:
            for number, line in enumerate(stream, 1):
                record = json.loads(line)
                if self._known[record["path"]].line == number:
                    yield record

    def _note(self, record: Record) -> None:
        if (model := record["model"]) is not None:
            self.expect(tuple(str(model[name]) for name in STAMP))
        self._lines += 1
        at = record["file"]["bytes"], record["file"]["mtime_ns"]
        classified = "error" not in record and bool(record["class_id"])
        self._known[record["path"]] = _Entry(self._lines, at, record["image_sha256"], classified)

    def _read(self) -> None:
        complete = 0
        self._stream.seek(0)
        for line in self._stream:
            if not line.endswith(b"\n"):
                self._stream.truncate(complete)
                break
            try:
                self._note(json.loads(line))
            except (KeyError, TypeError, ValueError) as error:
                raise JobError(
                    f"{self._path}, line {self._lines + 1}, is not a result of 'hal classify' "
                    f"({type(error).__name__}: {error}); remove the file and start again"
                ) from error
            complete += len(line)
