"""Rows of figures as Markdown, and the facts about the machine without which they mean nothing."""

import os
import platform
from collections.abc import Sequence
from importlib import metadata
from pathlib import Path
from typing import Any, Final

from bench.service.soak import LARGEST_GROWTH
from contract.bundle import Bundle
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


def _ms(value: float | None, digits: int = 1) -> str:
    return "none answered" if value is None else f"{value:.{digits}f}"


def _ratio(value: float | None, of: float | None, digits: int = 2) -> str:
    return f"{value / of:.{digits}f}" if value is not None and of else "none answered"


def null_table(rows: Sequence[dict[str, Any]]) -> str:
    """Requests a second of every candidate, and how many times as many HAL answered."""
    ours = {row["kind"]: row["images_per_second"] for row in rows if row["candidate"] == "HAL" and "note" not in row}
    cells = []
    for row in rows:
        name = f"{row['candidate']}, {KINDS[row['kind']]}"
        if "note" in row:
            cells.append([name, "did not start", "", "", "", "", "", ""])
            continue
        busy, images = row.get("server_busy_cores"), row["images_per_second"]
        wrong = row["broken"] + sum(count for status, count in row["statuses"].items() if status != "200")
        cells.append(
            [
                name,
                f"{images:.0f}",
                _ratio(ours[row["kind"]], images) if row["kind"] in ours else "",
                _ms(row["latency_ms"]["p50"], 1),
                _ms(row["latency_ms"]["p99"], 1),
                "" if busy is None else _ratio(1e6 * busy, images, 0),
                f"{row['other_busy_cores']:.2f}" if "other_busy_cores" in row else "",
                str(wrong),
            ]
        )
    return table(
        [
            "null bundle",
            "images/s",
            "HAL is x times this",
            "p50 ms",
            "p99 ms",
            "CPU µs an image",
            "others' cores",
            "not 200",
        ],
        cells,
    )


def real_table(figures: dict[str, Any]) -> str:
    """The real bundle: each figure with what it is measured against."""
    bare, saturated, busy = figures["bare"], figures["saturated"], figures["busy"]
    idle_ms = figures["idle"]["latency_ms"]["p50"]
    one_ms, rested_ms = bare["one_image_ms"], bare["one_image_after_a_pause_ms"]
    plain = figures["plain"]["per_second"]
    cores = figures["idle_busy_cores"]
    rows = [
        ["decoding and ONNX Runtime in a loop, images/s", f"{bare['images_per_second']:.2f}", ""],
        [
            "HAL saturated, images/s; share of the loop",
            f"{saturated['per_second']:.2f}",
            _ratio(saturated["per_second"], bare["images_per_second"], 3),
        ],
        [
            "plain FastAPI saturated, images/s; HAL is x times this",
            f"{plain:.2f}",
            _ratio(saturated["per_second"], plain),
        ],
        ["plain FastAPI, p99 when saturated, ms", _ms(figures["plain"]["latency_ms"]["p99"], 0), ""],
        ["HAL, p99 when saturated, ms", _ms(saturated["latency_ms"]["p99"], 0), ""],
        [
            f"HAL at 80 % of saturation, p99 ms; in batches of the mean size then, {busy['batch']:.1f}",
            _ms(busy["latency_ms"]["p99"], 0),
            _ratio(busy["latency_ms"]["p99"], figures["batch_ms"]),
        ],
        [
            "a greedy batcher that costs nothing, the same arrivals, p99 ms; HAL is x times this",
            _ms(figures["ideal_same_ms"], 0),
            _ratio(busy["latency_ms"]["p99"], figures["ideal_same_ms"]),
        ],
        [
            "the same with 50,000 arrivals, p99 ms; HAL is x times this",
            _ms(figures["ideal_ms"], 0),
            _ratio(busy["latency_ms"]["p99"], figures["ideal_ms"]),
        ],
        [
            "one image in a loop without HTTP, ms; after half a second's pause",
            f"{one_ms:.1f}",
            f"{rested_ms:.1f}",
        ],
        [
            "HAL idle, p50 ms of one image; ms above the bare run after a pause",
            f"{idle_ms:.1f}",
            f"{idle_ms - rested_ms:+.1f}",
        ],
        ["HAL idle without requests, cores", "" if cores is None else f"{cores:.4f}", ""],
    ]
    return table(["real bundle", "value", "against"], rows)


def device_table(rows: Sequence[dict[str, Any]]) -> str:
    """Latency and batches by load."""
    cells = [
        [
            row["way"],
            "saturated" if row["rate"] is None else f"{row['rate']:.0f}",
            f"{row.get('images_per_second', row['per_second']):.0f}",
            _ms(row["latency_ms"]["p50"], 1),
            _ms(row["latency_ms"]["p99"], 1),
            f"{row['batch']:.1f}" if "batch" in row else "",
            f"{row['busy']:.3f}" if "busy" in row else "",
        ]
        for row in rows
    ]
    return table(["simulated device", "offered/s", "images/s", "p50 ms", "p99 ms", "batch", "device busy"], cells)


def soak_table(figures: dict[str, Any], bundle: Bundle) -> str:
    """Memory of a bundle's service at saturation, and whether it grew."""
    held = [held for _, held in figures["memory"]]
    grown = figures["growth"]
    answers = ", ".join(f"{status}: {count}" for status, count in sorted(figures["statuses"].items()))
    verdict = "no reading" if grown is None else "steady" if grown < LARGEST_GROWTH else "grows"
    description = bundle.description
    rows = [
        [f"{description.name} {description.version} ({bundle.file().precision}), seconds", f"{figures['seconds']:.0f}"],
        ["images/s; answers by status", f"{figures['per_second']:.1f}; {answers}"],
        ["broken connections", str(figures["broken"])],
        ["memory at first, at last, at most, MiB", _mebibytes(held)],
        [f"growth, less than {LARGEST_GROWTH:.0%} is steady", "" if grown is None else f"{grown:+.2%}, {verdict}"],
    ]
    return table(["soak at saturation", "value"], rows)


def _mebibytes(held: Sequence[int]) -> str:
    return " ".join(f"{value / 2**20:.1f}" for value in (held[0], held[-1], max(held))) if held else "not told"
