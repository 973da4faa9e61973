"""Loss and accuracy by epoch, a row a stage, from a run's ``history.csv``."""

import csv
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Final

from matplotlib.axes import Axes
from matplotlib.ticker import MaxNLocator

from training.data.manifest import write_csv
from training.evaluation.figures.palette import COLOURS, GREY, HEADING, SMALL, TEXT, figure, save

STAGE_COLUMNS: Final = ("stage", "step")
PANELS: Final = (("loss", "val_loss", "Loss"), ("accuracy", "val_accuracy", "Accuracy"))
NEAREST: Final = " (nearest class mean)"
Row = Mapping[str, str]


def read_history(path: Path) -> dict[str, list[Row]]:
    """The rows of ``history.csv`` by stage, in their order; empty where there is no such file."""
    if not path.is_file():
        return {}
    with path.open(newline="", encoding="utf-8") as stream:
        rows = list(csv.DictReader(stream))
    stages: dict[str, list[Row]] = {}
    for row in rows:
        stage = next((row[column] for column in STAGE_COLUMNS if row.get(column)), "")
        stages.setdefault(stage, []).append(row)
    return stages


def figures_of(row: Row, column: str) -> float:
    """A figure of an epoch, or ``nan`` where it was not measured."""
    try:
        return float(row.get(column) or "nan")
    except ValueError:
        return math.nan


def draw_training_curves(history: Path, folder: Path, name: str, title: str) -> Path | None:
    """Draw a run's history. ``None`` where no epoch has been trained."""
    stages = read_history(history)
    if not stages:
        return None
    drawn = figure(0.6 + 1.75 * len(stages))
    grid = drawn.subplots(len(stages), 2, squeeze=False)
    for line, (stage, rows) in zip(grid, stages.items(), strict=True):
        for axes, (training, validation, quantity) in zip(line, PANELS, strict=True):
            _draw_panel(axes, rows, training, validation)
            heading = f"{stage.replace('_', ' ')}: {quantity.lower()}"
            axes.set_title(heading + (NEAREST if _by_nearest_mean(rows, quantity) else ""), fontsize=TEXT)
    for axes in grid[-1]:
        axes.set_xlabel("Epoch", fontsize=TEXT)
    drawn.suptitle(title, fontsize=HEADING)
    columns = ("stage", "epoch", *(column for panel in PANELS for column in panel[:2]))
    rows_of_all = [(stage, row) for stage, rows in stages.items() for row in rows]
    write_csv(
        folder / f"{name}.csv",
        columns,
        ([stage, row.get("epoch", ""), *(row.get(column, "") for column in columns[2:])] for stage, row in rows_of_all),
    )
    return save(drawn, folder / f"{name}.png")


def _by_nearest_mean(rows: Sequence[Row], quantity: str) -> bool:
    """A contrastive stage has no classifier: see :data:`training.fit.run.COLUMNS`."""
    return quantity == "Accuracy" and any(row.get("val_accuracy") and not row.get("accuracy") for row in rows)


def _draw_panel(axes: Axes, rows: Sequence[Row], training: str, validation: str) -> None:
    epochs = [figures_of(row, "epoch") for row in rows]
    marker = "o" if len(rows) <= 25 else ""
    drawn = False
    for column, label, colour, style in (
        (training, "training", COLOURS[0], "-"),
        (validation, "validation", COLOURS[1], "--"),
    ):
        values = [figures_of(row, column) for row in rows]
        if not all(math.isnan(value) for value in values):
            axes.plot(epochs, values, style, color=colour, label=label, marker=marker, markersize=3, linewidth=1.2)
            drawn = True
    axes.tick_params(labelsize=SMALL)
    axes.grid(color="#e3e3e3", linewidth=0.5)
    axes.spines[["top", "right"]].set_visible(False)
    if drawn:
        axes.xaxis.set_major_locator(MaxNLocator(integer=True))
        axes.legend(fontsize=SMALL, frameon=False)
    else:
        axes.set_xticks([])
        axes.set_yticks([])
        axes.text(0.5, 0.5, "not measured", transform=axes.transAxes, ha="center", fontsize=TEXT, color=GREY)
