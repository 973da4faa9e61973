"""One image's line in the results: as JSON, and flat for tables."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

from contract.classes import CELL_CLASSES
from service.jobs.folders.files import ImageFile

STAMP: Final = ("name", "version", "sha256", "precision", "decision_policy", "calibration", "preprocessing")
"""What two results must share to be compared; the rest of an answer's model is prose."""

Record = dict[str, Any]
"""A result of ``POST /classify`` without its ``index``, with ``path``, ``file`` and ``model``."""


@dataclass(frozen=True, slots=True)
class Entry:
    """What must be known of a line that is there already."""

    path: str
    image_sha256: str
    bytes: int
    mtime_ns: int
    classified: bool
    stamp: tuple[str, ...] | None


@dataclass(frozen=True, slots=True)
class Finding:
    """What a line says, without its numbers; ``predicted_class`` is ``None`` for a refused image."""

    path: str
    predicted_class: str | None
    hairy_flag: bool | None
    error_code: str | None
    error_message: str | None


def record_of(file: ImageFile, result: Mapping[str, Any], model: Mapping[str, Any] | None) -> Record:
    """The line of ``file``; ``model`` is ``None`` if no network saw it."""
    return {
        "path": file.path,
        **{name: value for name, value in result.items() if name != "index"},
        "file": {"bytes": file.bytes, "mtime_ns": file.mtime_ns},
        "model": model and {name: model[name] for name in STAMP},
    }


def entry_of(record: Mapping[str, Any]) -> Entry:
    """Raises KeyError or TypeError for what :func:`record_of` has not made."""
    model = record["model"]
    return Entry(
        path=record["path"],
        image_sha256=record["image_sha256"],
        bytes=record["file"]["bytes"],
        mtime_ns=record["file"]["mtime_ns"],
        classified="error" not in record,
        stamp=model and tuple(str(model[name]) for name in STAMP),
    )


def finding_of(record: Mapping[str, Any]) -> Finding:
    """What a record says."""
    if "error" in record:
        return Finding(record["path"], None, None, record["error"]["code"], record["error"]["message"])
    return Finding(record["path"], record["predicted_class"], record["hairy_cell"]["flag"], None, None)


PROBABILITIES: Final = {f"p_{cell.slug.replace('-', '_')}": cell.name for cell in CELL_CLASSES}
COLUMNS: Final[Mapping[str, type]] = {
    "path": str,
    "predicted_class": str,
    "probability": float,
    "hairy_probability": float,
    "hairy_flag": bool,
    "hairy_threshold": float,
    "review": str,
    "error_code": str,
    "error_message": str,
    "image_sha256": str,
    "file_bytes": int,
    "file_mtime_ns": int,
    **{f"model_{name}": str for name in STAMP},
    **dict.fromkeys(PROBABILITIES, float),
}
"""Columns of the flat form. ``review`` has the codes with ``;`` between them; what does not apply is empty."""


def flat(record: Record) -> dict[str, Any]:
    """A record as one row with :data:`COLUMNS`."""
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
    return row | {
        "predicted_class": record["predicted_class"],
        "probability": probabilities[record["predicted_class"]],
        "hairy_probability": hairy["probability"],
        "hairy_flag": hairy["flag"],
        "hairy_threshold": hairy["threshold"],
        "review": ";".join(reason["code"] for reason in record["review"]),
        **{column: probabilities[name] for column, name in PROBABILITIES.items()},
    }


def flat_entry(row: Mapping[str, Any]) -> Entry:
    """Raises KeyError, TypeError or ValueError for what :func:`flat` has not made."""
    return Entry(
        path=row["path"],
        image_sha256=row["image_sha256"] or "",
        bytes=int(row["file_bytes"]),
        mtime_ns=int(row["file_mtime_ns"]),
        classified=not row["error_code"],
        stamp=tuple(row[f"model_{name}"] for name in STAMP) if row["model_sha256"] else None,
    )


FINDING_COLUMNS: Final = ("path", "predicted_class", "hairy_flag", "error_code", "error_message")
_FLAGS: Final[Mapping[Any, bool | None]] = {"true": True, "false": False, "": None, None: None} | {
    flag: flag for flag in (True, False)
}


def flat_finding(row: Mapping[str, Any]) -> Finding:
    """What a row says, of a table with or without types."""
    return Finding(
        path=row["path"],
        predicted_class=row["predicted_class"] or None,
        hairy_flag=_FLAGS[row["hairy_flag"]],
        error_code=row["error_code"] or None,
        error_message=row["error_message"] or None,
    )
