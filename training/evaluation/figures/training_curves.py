"""Loss and accuracy by epoch, a row a stage, from a run's ``history.csv``."""

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Final

from matplotlib.axes import Axes
from matplotlib.ticker import MaxNLocator

from training.data.manifest import read_csv
from training.evaluation.figures.palette import COLOURS, GREY, HEADING, SMALL, TEXT, figure, save, tidy

QUANTITIES: Final = ("loss", "accuracy")
COLUMNS: Final = ("stage", "epoch", "loss", "val_loss", "accuracy", "val_accuracy")
Row = Mapping[str, str]


def read_history(path: Path) -> dict[str, list[Row]]:
    """The rows of ``history.csv`` (:data:`training.fit.run.COLUMNS`) by stage; empty where there is no such file."""
    stages: dict[str, list[Row]] = {}
    for row in read_csv(path):
        stages.setdefault(row["stage"], []).append(row)
    return stages


def figure_of(row: Row, column: str) -> float:
    """A figure of an epoch, or ``nan`` where it was not measured."""
    return float(row.get(column) or "nan")


def draw_training_curves(history: Path, folder: Path, name: str, title: str) -> Path | None:
    """Draw a run's history. ``None`` where no epoch has been trained."""
    stages = read_history(history)
    if not stages:
        return None
    drawn = figure(0.6 + 1.75 * len(stages))
    grid = drawn.subplots(len(stages), 2, squeeze=False)
    for line, (stage, rows) in zip(grid, stages.items(), strict=True):
        for axes, quantity in zip(line, QUANTITIES, strict=True):
            _draw_panel(axes, rows, quantity)
            # A contrastive stage has no classifier.
            by_mean = quantity == "accuracy" and any(r.get("val_accuracy") and not r.get("accuracy") for r in rows)
            heading = f"{stage.replace('_', ' ')}: {quantity}" + (" (nearest class mean)" if by_mean else "")
            axes.set_title(heading, fontsize=TEXT)
    for axes in grid[-1]:
        axes.set_xlabel("Epoch", fontsize=TEXT)
    drawn.suptitle(title, fontsize=HEADING)
    rows_of_all = ([row.get(column, "") for column in COLUMNS] for rows in stages.values() for row in rows)
    return save(drawn, folder, name, COLUMNS, rows_of_all)


def _draw_panel(axes: Axes, rows: Sequence[Row], quantity: str) -> None:
    epochs = [figure_of(row, "epoch") for row in rows]
    marker = "o" if len(rows) <= 25 else ""
    for column, label, colour, style in (
        (quantity, "training", COLOURS[0], "-"),
        (f"val_{quantity}", "validation", COLOURS[1], "--"),
    ):
        values = [figure_of(row, column) for row in rows]
        if not all(math.isnan(value) for value in values):
            axes.plot(epochs, values, style, color=colour, label=label, marker=marker, markersize=3, linewidth=1.2)
    tidy(axes)
    if axes.lines:
        axes.xaxis.set_major_locator(MaxNLocator(integer=True))
        axes.legend(fontsize=SMALL, frameon=False)
    else:
        axes.set_xticks([])
        axes.set_yticks([])
        axes.text(0.5, 0.5, "not measured", transform=axes.transAxes, ha="center", fontsize=TEXT, color=GREY)
