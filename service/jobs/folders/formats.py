"""Files of results: JSON lines, CSV and Parquet."""

import contextlib
import csv
import json
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, Final, Protocol

from service.jobs.folders.errors import FoldersError
from service.jobs.folders.records import (
    COLUMNS,
    FINDING_COLUMNS,
    Entry,
    Finding,
    Record,
    entry_of,
    finding_of,
    flat,
    flat_entry,
    flat_finding,
)

ROW_GROUP: Final = 8192
Add = Callable[[Any], None]


class Format(Protocol):
    """How results are written. A row is of the format's own kind: what :meth:`read` gives, :meth:`writing` takes."""

    def read(self, path: Path) -> Iterator[tuple[Entry, Any]]:
        """The rows of a file; KeyError, TypeError or ValueError for a file that is not one of ours."""
        ...

    def row(self, record: Record) -> Any:
        """A record as a row."""
        ...

    def findings(self, path: Path) -> Iterator[Finding]:
        """What the rows of a file say; errors as of :meth:`read`."""
        ...

    def writing(self, path: Path) -> contextlib.AbstractContextManager[Add]:
        """Gives the function that writes one row."""
        ...


class JsonLines:
    """One record a line. Paths that are not UTF-8 survive as escaped surrogates."""

    def read(self, path: Path) -> Iterator[tuple[Entry, Record]]:  # noqa: D102
        with path.open(encoding="utf-8") as stream:
            for line in stream:
                record = json.loads(line)
                yield entry_of(record), record

    def row(self, record: Record) -> Record:  # noqa: D102
        return record

    def findings(self, path: Path) -> Iterator[Finding]:  # noqa: D102
        return (finding_of(record) for _, record in self.read(path))

    @contextlib.contextmanager
    def writing(self, path: Path) -> Iterator[Add]:  # noqa: D102
        with path.open("w", encoding="utf-8", newline="\n") as stream:
            yield lambda record: print(json.dumps(record), file=stream)


class Csv:
    """A row an image with :data:`~service.jobs.folders.records.COLUMNS`; flags are ``true`` and ``false``."""

    def read(self, path: Path) -> Iterator[tuple[Entry, dict[str, Any]]]:  # noqa: D102
        with path.open(encoding="utf-8", errors="surrogateescape", newline="") as stream:
            reader = csv.DictReader(stream, strict=True)
            if list(reader.fieldnames or ()) != list(COLUMNS):
                raise ValueError(f"its columns are {', '.join(reader.fieldnames or ())[:200]}")
            for row in reader:
                yield flat_entry(row), row

    def row(self, record: Record) -> dict[str, Any]:  # noqa: D102
        row = flat(record)
        if row["hairy_flag"] is not None:
            row["hairy_flag"] = str(row["hairy_flag"]).lower()
        return row

    def findings(self, path: Path) -> Iterator[Finding]:  # noqa: D102
        return (flat_finding(row) for _, row in self.read(path))

    @contextlib.contextmanager
    def writing(self, path: Path) -> Iterator[Add]:  # noqa: D102
        with path.open("w", encoding="utf-8", errors="surrogateescape", newline="") as stream:
            writer = csv.DictWriter(stream, list(COLUMNS), lineterminator="\n")
            writer.writeheader()
            yield writer.writerow


class Parquet:
    """The columns of the CSV with their types."""

    def __init__(self) -> None:
        try:
            import pyarrow
            import pyarrow.parquet
        except ImportError:
            raise FoldersError(
                "Parquet needs pyarrow, which is not installed: pip install 'hal-cells[parquet]', or write .csv or "
                ".jsonl"
            ) from None
        self._arrow = pyarrow
        kinds = {str: pyarrow.string(), float: pyarrow.float64(), int: pyarrow.int64(), bool: pyarrow.bool_()}
        self._schema = pyarrow.schema([(name, kinds[kind]) for name, kind in COLUMNS.items()])

    def read(self, path: Path) -> Iterator[tuple[Entry, dict[str, Any]]]:  # noqa: D102
        return ((flat_entry(row), row) for row in self._rows(path, self._schema.names))

    def _rows(self, path: Path, columns: Sequence[str]) -> Iterator[dict[str, Any]]:
        with self._arrow.parquet.ParquetFile(path) as file:
            if file.schema_arrow.names != self._schema.names:
                raise ValueError(f"its columns are {', '.join(file.schema_arrow.names)[:200]}")
            for batch in file.iter_batches(ROW_GROUP, columns=columns):
                yield from batch.to_pylist()

    def row(self, record: Record) -> dict[str, Any]:  # noqa: D102
        row = flat(record)
        row["path"] = row["path"].encode("utf-8", "surrogateescape").decode("utf-8", "backslashreplace")
        return row

    def findings(self, path: Path) -> Iterator[Finding]:  # noqa: D102
        # Of millions of rows, only what is asked for.
        return (flat_finding(row) for row in self._rows(path, FINDING_COLUMNS))

    @contextlib.contextmanager
    def writing(self, path: Path) -> Iterator[Add]:  # noqa: D102
        with self._arrow.parquet.ParquetWriter(path, self._schema, compression="zstd") as writer:
            rows: list[dict[str, Any]] = []

            def write() -> None:
                writer.write_table(self._arrow.Table.from_pylist(rows, self._schema))
                rows.clear()

            def add(row: dict[str, Any]) -> None:
                rows.append(row)
                if len(rows) == ROW_GROUP:
                    write()

            yield add
            write()


FORMATS: Final[dict[str, Callable[[], Format]]] = {".jsonl": JsonLines, ".csv": Csv, ".parquet": Parquet}


def format_of(path: Path) -> Format:
    """The format that the name of a file asks for.

    Raises:
        FoldersError: it asks for none, or its library is not installed.
    """
    if (kind := FORMATS.get(path.suffix.lower())) is None:
        raise FoldersError(f"--out {path}: expected a name that ends in {', '.join(FORMATS)}")
    return kind()
