"""Colours, markers, lines and type sizes of all figures: for print, in colour or not, and for the colour-blind."""

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any, Final, Literal

from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from training.data.manifest import write_csv

COLOURS: Final = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000")
"""Okabe and Ito 2008, "Color Universal Design", without its yellow, which is too pale on white."""
MARKERS: Final = ("o", "^", "s")
LINES: Final = ("-", "--", "-.", ":", (0, (6, 1.5, 1, 1.5, 1, 1.5)))
WIDTH: Final = 7.0
"""Inches: the text width of an A4 page, so that type sizes are those of the print."""
SMALL: Final = 7
TEXT: Final = 8
HEADING: Final = 9
DPI: Final = 300
GREY: Final = "#707070"
"""Of lines and words that say what is not there; dark enough to be read on white."""
PALE: Final = "#ececec"


def point_style(position: int) -> tuple[str, str]:
    """Colour and marker of a class, by its index, or of a source; 21 of them are unlike, neighbours in both."""
    return COLOURS[position % len(COLOURS)], MARKERS[position % len(MARKERS)]


def line_style(position: int) -> dict[str, Any]:
    """Colour and dashes of one of at most 5 lines, so that each can be told without its colour."""
    return {"color": COLOURS[position], "linestyle": LINES[position]}


def figure(height: float, width: float = WIDTH) -> Figure:
    """An empty figure of a size in inches, drawn without a window."""
    drawn = Figure(figsize=(width, height), layout="constrained")
    FigureCanvasAgg(drawn)
    return drawn


def save(
    drawn: Figure, folder: Path, name: str, columns: Sequence[str], rows: Iterable[Sequence[Any]], dpi: int = DPI
) -> Path:
    """Write a figure as PNG, and its data beside it as CSV; return the picture's path."""
    write_csv(folder / f"{name}.csv", columns, rows)
    path = folder / f"{name}.png"
    drawn.savefig(path, dpi=dpi, facecolor="white")
    return path


def tidy(axes: Axes, grid: Literal["both", "x"] = "both") -> None:
    """Small tick labels, a pale grid behind what is drawn, and no frame on the right and above."""
    axes.tick_params(labelsize=SMALL, axis=grid)
    axes.grid(axis=grid, color="#e3e3e3", linewidth=0.5)
    axes.set_axisbelow(True)
    axes.spines[["top", "right"]].set_visible(False)
