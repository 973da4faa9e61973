"""Rows of figures as Markdown, and the facts about the machine without which they mean nothing."""

import os
import platform
from collections.abc import Sequence
from importlib import metadata
from pathlib import Path
from typing import Any, Final

from service.settings import available_cores

_LIBRARIES: Final = (
    "fastapi",
    "starlette",
    "uvicorn",
    "uvloop",
    "onnxruntime",
    "numpy",
    "pillow",
    "simplejpeg",
    "orjson",
)
KINDS: Final = {"form": "form, 1 image", "raw": "raw body, 1 image", "bulk": "form, 64 images"}


def machine() -> dict[str, Any]:
    """Processor, cores, interpreter and libraries."""
    cpuinfo = Path("/proc/cpuinfo")
    lines = cpuinfo.read_text().splitlines() if cpuinfo.exists() else []
    model = next(
        (line.partition(":")[2].strip() for line in lines if line.startswith("model name")), platform.machine()
    )
    return {
        "processor": model,
        "cores": available_cores(),
        "system": f"{platform.system()} {platform.release()}",
        "python": platform.python_version(),
        "libraries": {name: _version(name) for name in _LIBRARIES},
        "load_average": os.getloadavg()[0] if hasattr(os, "getloadavg") else None,
    }


def _version(library: str) -> str | None:
    try:
        return metadata.version(library)
    except metadata.PackageNotFoundError:
        return None


def table(header: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """A Markdown table whose first column is text and whose others are numbers."""
    lines = [header, ["---", *["---:"] * (len(header) - 1)], *rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines) + "\n"


def null_table(rows: Sequence[dict[str, Any]]) -> str:
    """Requests a second of every candidate, and how many times as many HAL answered."""
    ours = {row["kind"]: row["images_per_second"] for row in rows if row["candidate"] == "HAL" and "note" not in row}
    cells = []
    for row in rows:
        name = f"{row['candidate']}, {KINDS[row['kind']]}"
        if "note" in row:
            cells.append([name, "did not start", "", "", "", "", ""])
            continue
        wrong = row["broken"] + sum(count for status, count in row["statuses"].items() if status != "200")
        cells.append(
            [
                name,
                f"{row['images_per_second']:.0f}",
                f"{ours[row['kind']] / row['images_per_second']:.2f}" if row["kind"] in ours else "",
                f"{row['latency_ms']['p50']:.1f}",
                f"{row['latency_ms']['p99']:.1f}",
                f"{row['server_busy_cores']:.2f}" if "server_busy_cores" in row else "",
                str(wrong),
            ]
        )
    return table(["null bundle", "images/s", "HAL is x times this", "p50 ms", "p99 ms", "busy cores", "not 200"], cells)
