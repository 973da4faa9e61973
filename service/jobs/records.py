"""One image's result: as a record (JSON), as a flat row, and as files of either: JSON lines, CSV, Parquet."""

import csv
import json
import re
from collections.abc import Iterable, Iterator, Mapping
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from contract.classes import CELL_CLASSES

if TYPE_CHECKING:
    from service.jobs.files import ImageFile

STAMP: Final = ("name", "version", "sha256", "precision", "decision_policy", "calibration", "preprocessing")
"""What two results must share to be compared; the rest of an answer's model is prose."""

Record = dict[str, Any]
"""A result of ``POST /classify`` without ``index`` and ``client_ref``, with ``path``, ``file``, ``model`` and
``hairy_threshold``."""

PROBABILITIES: Final = {f"p_{cell.id}": cell.id for cell in CELL_CLASSES}
COLUMNS: Final[Mapping[str, type]] = {
    "path": str,
    "class_id": str,
    "class_name": str,
    "confidence": float,
    "hairy_probability": float,
    "hairy_flag": bool,
    "hairy_threshold": float,
    "novelty_score": float,
    "unfamiliar": bool,
    "review": str,
    "error_code": str,
    "error_message": str,
    "image_sha256": str,
    "file_bytes": int,
    "file_mtime_ns": int,
    **{f"model_{name}": str for name in STAMP},
    **dict.fromkeys(PROBABILITIES, float),
}
"""Columns of a row. ``review`` has the codes with ``;`` between them; what does not apply is empty."""

FORMATS: Final = (".jsonl", ".csv", ".parquet")
_ROW_GROUP: Final = 8192
_FORMULA: Final = re.compile(r"[=+\-@\t\r]")


def record_of(
    file: "ImageFile", result: Mapping[str, Any], model: Mapping[str, Any] | None, hairy_threshold: float | None
) -> Record:
    """The record of ``file``; ``model`` is ``None`` if no network saw it."""
    return {
        "path": file.path,
        **{name: value for name, value in result.items() if name not in ("index", "client_ref")},
        "file": {"bytes": file.bytes, "mtime_ns": file.mtime_ns},
        "model": model and {name: model[name] for name in STAMP},
        "hairy_threshold": hairy_threshold,
    }


def refusal(code: str, message: str) -> dict[str, Any]:
    """The result of a file that no network saw, in the form that ``POST /classify`` gives it."""
    return {"error": {"code": code, "message": message}, "image_sha256": ""}


def row_of(record: Record) -> dict[str, Any]:
    row: dict[str, Any] = dict.fromkeys(COLUMNS)
    row |= {
        "path": record["path"],
        "image_sha256": record["image_sha256"],
        "file_bytes": record["file"]["bytes"],
        "file_mtime_ns": record["file"]["mtime_ns"],
    }
    if record["model"] is not None:
        row |= {f"model_{name}": str(record["model"][name]) for name in STAMP}
    if "error" in record:
        return row | {"error_code": record["error"]["code"], "error_message": record["error"]["message"]}
    hairy, probabilities = record["hairy_cell"], record["probabilities"]
    # Not a service's of a release without it.
    novelty = record.get("novelty") or {}
    return row | {
        "class_id": record["class_id"],
        "class_name": record["class_name"],
        "confidence": record["confidence"],
        "hairy_probability": hairy["probability"],
        "hairy_flag": hairy["flag"],
        "hairy_threshold": record["hairy_threshold"],
        "novelty_score": novelty.get("score"),
        "unfamiliar": novelty.get("unfamiliar"),
        "review": ";".join(reason["code"] for reason in record["review"]),
        **{column: probabilities[name] for column, name in PROBABILITIES.items()},
    }


def printable(path: str) -> str:
    """A path for people and for formats that know only Unicode: bytes that are not UTF-8 as ``\\xff``."""
    return path.encode("utf-8", "surrogateescape").decode("utf-8", "backslashreplace")


def write(path: Path, format: str, records: Iterable[Record]) -> None:
    """Write a file of results in one of :data:`FORMATS`.

    In JSON lines and CSV (flags ``true`` and ``false``) paths that are not UTF-8 survive, by escaped surrogates and by
    their bytes. In CSV a path that a spreadsheet would take for a formula begins with ``./``: it is the same file's.
    """
    match format:
        case ".jsonl":
            with path.open("w", encoding="utf-8", newline="\n") as stream:
                stream.writelines(json.dumps(record) + "\n" for record in records)
        case ".csv":
            with path.open("w", encoding="utf-8", errors="surrogateescape", newline="") as stream:
                writer = csv.DictWriter(stream, list(COLUMNS), lineterminator="\n")
                writer.writeheader()
                flags, columns = {True: "true", False: "false", None: None}, ("hairy_flag", "unfamiliar")
                for row in map(row_of, records):
                    if _FORMULA.match(row["path"]):
                        row["path"] = f"./{row['path']}"
                    writer.writerow(row | {name: flags[row[name]] for name in columns})
        case _:
            _write_parquet(path, map(row_of, records))


def _write_parquet(path: Path, rows: Iterator[dict[str, Any]]) -> None:
    import pyarrow
    import pyarrow.parquet

    kinds = {str: pyarrow.string(), float: pyarrow.float64(), int: pyarrow.int64(), bool: pyarrow.bool_()}
    schema = pyarrow.schema([(name, kinds[kind]) for name, kind in COLUMNS.items()])
    with pyarrow.parquet.ParquetWriter(path, schema, compression="zstd") as writer:
        while group := [row | {"path": printable(row["path"])} for row in islice(rows, _ROW_GROUP)]:
            writer.write_table(pyarrow.Table.from_pylist(group, schema))
