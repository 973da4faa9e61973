"""Colours, markers and type sizes that all figures share, for print and for colour-blind readers."""

import csv
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any, Final

from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from contract.atomic import replacing

COLOURS: Final = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000")
"""Okabe and Ito 2008, "Color Universal Design", without its yellow, which is too pale on white."""
MARKERS: Final = ("o", "^", "s")
WIDTH: Final = 7.0
"""Inches: the text width of an A4 page, so that type sizes are those of the print."""
SMALL: Final = 7
TEXT: Final = 8
HEADING: Final = 9
DPI: Final = 300
GREY: Final = "#8a8a8a"
PALE: Final = "#ececec"


def class_style(index: int) -> tuple[str, str]:
    """Colour and marker of a class, unlike those of the other 19, whatever classes a figure shows."""
    return COLOURS[index % len(COLOURS)], MARKERS[index // len(COLOURS)]


def series_style(position: int) -> tuple[str, str]:
    """Colour and marker of a source, a run or another series, by its position."""
    return COLOURS[position % len(COLOURS)], MARKERS[position // len(COLOURS) % len(MARKERS)]


def figure(height: float, width: float = WIDTH) -> Figure:
    """An empty figure of a size in inches, drawn without a window."""
    drawn = Figure(figsize=(width, height), layout="constrained")
    FigureCanvasAgg(drawn)
    return drawn


def save(drawn: Figure, path: Path, dpi: int = DPI) -> Path:
    """Write a figure as PNG and return its path."""
    path.parent.mkdir(parents=True, exist_ok=True)
    drawn.savefig(path, dpi=dpi, facecolor="white")
    return path


def write_csv(path: Path, columns: Sequence[str], rows: Iterable[Sequence[Any]]) -> None:
    """The data of a figure."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with replacing(path) as partial, partial.open("w", newline="", encoding="utf-8") as stream:
        writer = csv.writer(stream, lineterminator="\n")
        writer.writerow(columns)
        writer.writerows(rows)
