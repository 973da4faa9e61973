"""Files of results of every format, read by another reader than the writer's own."""

import csv
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow.parquet
from click.testing import Result

FORMATS = ["jsonl", "csv", "parquet"]
Classify = Callable[..., Result]


def rows(path: Path) -> list[dict[str, Any]]:
    if path.suffix == ".jsonl":
        return [json.loads(line) for line in path.read_text().splitlines()]
    if path.suffix == ".csv":
        with path.open(newline="") as stream:
            return list(csv.DictReader(stream))
    table: list[dict[str, Any]] = pyarrow.parquet.read_table(path).to_pylist()
    return table


def class_of(row: dict[str, Any]) -> str | None:
    return row.get("class_name") or None
