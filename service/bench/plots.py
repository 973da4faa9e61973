"""Pictures of the figures, as SVG."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from service.bench.report import KINDS


def plot_null(rows: Sequence[dict[str, Any]], target: Path) -> None:
    """Images a second by candidate and kind of request."""
    from matplotlib.figure import Figure

    measured = [row for row in rows if "note" not in row]
    figure = Figure(figsize=(7, 0.35 * len(measured) + 1), layout="constrained")
    axes = figure.add_subplot()
    names = [f"{row['candidate']}, {KINDS[row['kind']]}" for row in measured]
    colours = ["tab:blue" if row["candidate"] == "HAL" else "tab:grey" for row in measured]
    bars = axes.barh(names, [row["images_per_second"] for row in measured], color=colours)
    axes.bar_label(bars, fmt="%.0f", padding=3)
    axes.margins(x=0.12)
    axes.invert_yaxis()
    axes.set_xlabel("images a second, null bundle")
    for side in ("top", "right"):
        axes.spines[side].set_visible(False)
    figure.savefig(target, metadata={"Date": None})
