"""One run: every part that was asked for, its figures as JSON and Markdown, its pictures."""

import json
import subprocess
import sys
import tempfile
import venv
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from bench.service import plots, report
from bench.service.device import measure_device
from bench.service.null_bundle import write_null_bundle
from bench.service.null_path import measure_null_path
from bench.service.parts import Part
from bench.service.real import measure_real
from bench.service.soak import soak
from bench.service.workload import Workload, jpegs
from contract.atomic import write_text
from contract.bundle import Bundle

_PEERS: Final = ("litserve", "bentoml", "onnxruntime", "pillow", "numpy", "python-multipart")

Say = Callable[[str], None]


def bench_service(
    bundle: Bundle, out: Path, parts: Sequence[Part], *, peers: Path | None, seconds: float, say: Say
) -> dict[str, Any]:
    """Measure ``parts`` and write ``service.json``, ``service.md`` and one SVG a part into ``out``.

    Images are the bundle's golden sample as JPEG files. ``say`` is given each table when it is done.
    """
    out.mkdir(parents=True, exist_ok=True)
    workload = Workload(tuple(jpegs(bundle.golden()["images"])))
    command = (
        f"hal bench service --bundle {bundle.root} {' '.join(f'--part {part}' for part in parts)} --seconds {seconds:g}"
    )
    figures: dict[str, Any] = {
        "command": command,
        "machine": report.machine(),
        "image_bytes": [len(file) for file in workload.files],
    }
    text = [f"`{command}`\n\n"]
    python = _peers_python(peers, say) if peers is not None else None
    with tempfile.TemporaryDirectory(prefix="hal-bench-") as folder:
        measured = _Parts(bundle, workload, Path(folder), python, seconds, out)
        for part in parts:
            figures[part], written = measured.measure(part)
            text.append(written)
            say(written)
            _write(out, figures, text)
    return figures


def _write(out: Path, figures: dict[str, Any], text: Sequence[str]) -> None:
    write_text(out / "service.json", json.dumps(figures, indent=1) + "\n")
    write_text(out / "service.md", "\n".join(text))


@dataclass(frozen=True, slots=True)
class _Parts:
    bundle: Bundle
    workload: Workload
    folder: Path
    peers: Path | None
    seconds: float
    out: Path

    def measure(self, part: Part) -> tuple[Any, str]:
        """The figures of a part and its table; its picture is drawn."""
        if part is Part.REAL:
            real = measure_real(self.bundle, self.workload, self.folder, self.seconds)
            return real, report.real_table(real)
        if part is Part.SOAK:
            soaked = soak(self.bundle, self.workload, self.folder, self.seconds)
            plots.plot_soak(soaked, self.out / "service-soak.svg")
            return soaked, report.soak_table(soaked, self.bundle)
        null = write_null_bundle(self.folder / "null")
        if part is Part.DEVICE:
            rows = list(measure_device(null, self.workload, self.folder, self.peers, self.seconds))
            plots.plot_device(rows, self.out / "service-device.svg")
            return rows, report.device_table(rows)
        rows = list(measure_null_path(null, self.workload, self.folder, self.peers, self.seconds))
        plots.plot_null(rows, self.out / "service-null.svg")
        return rows, report.null_table(rows)


def _peers_python(folder: Path, say: Say) -> Path:
    python = folder / ("Scripts/python.exe" if sys.platform == "win32" else "bin/python")
    if not python.exists():
        say(f"Installing {', '.join(_PEERS[:2])} into {folder} ...")
        venv.create(folder, with_pip=True)
        subprocess.run([str(python), "-m", "pip", "install", "--quiet", *_PEERS], check=True)  # noqa: S603
    return python
