"""Confusion matrices: all 20 classes, and the lymphocytes alone (thesis section 4.2.2, Figures 5.1 and 5.2)."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from matplotlib.colors import PowerNorm
from numpy.typing import NDArray

from contract.classes import CELL_CLASSES, CLASS_NAMES
from training.evaluation.figures.palette import GREY, HEADING, PALE, SMALL, TEXT, figure, save

OTHER = "Other"
DARK = 0.7157
"""Depth of a cell, 0 to 1, from which on white is read better than black."""


def draw_confusion(matrix: NDArray[np.int64], folder: Path, name: str, title: str) -> Path:
    """The matrix of all 20 classes, in their order; classes without images are greyed.

    ``matrix``: counts by true class (rows) and predicted class (columns).
    """
    return _draw(matrix, CLASS_NAMES, folder, name, title, 6.5, SMALL)


def draw_lymphocytes(matrix: NDArray[np.int64], folder: Path, name: str, title: str) -> Path:
    """The four lymphocyte classes and all others as one, of the matrix of all 20."""
    reduced, names = lymphocyte_matrix(matrix)
    return _draw(reduced, names, folder, name, title, 4.4, TEXT)


def lymphocyte_matrix(matrix: NDArray[np.int64]) -> tuple[NDArray[np.int64], tuple[str, ...]]:
    """Counts of the lymphocyte classes, hairy cells among them, and of all others together; and their names."""
    lymphocytes = [cell for cell in CELL_CLASSES if cell.is_lymphocyte]
    group = np.full(len(CELL_CLASSES), len(lymphocytes))
    group[[cell.index for cell in lymphocytes]] = np.arange(len(lymphocytes))
    reduced = np.zeros((len(lymphocytes) + 1,) * 2, np.int64)
    np.add.at(reduced, (group[:, None], group[None, :]), matrix)
    return reduced, (*(cell.name for cell in lymphocytes), OTHER)


def _draw(
    matrix: NDArray[np.int64], names: Sequence[str], folder: Path, name: str, title: str, height: float, font: int
) -> Path:
    totals = matrix.sum(axis=1)
    shares = matrix / totals.clip(1)[:, None]
    drawn = figure(height)
    axes = drawn.add_subplot()
    # The square root lets a few confusions stand out from none.
    norm = PowerNorm(0.5, vmin=0, vmax=1)
    picture = axes.imshow(shares, cmap="Blues", norm=norm)
    depths = norm(shares)
    for row, column in np.argwhere(matrix > 0):
        colour = "white" if depths[row, column] > DARK else "black"
        axes.text(column, row, f"{matrix[row, column]}", ha="center", va="center", fontsize=font, color=colour)
    for row in np.flatnonzero(totals == 0):
        axes.axhspan(row - 0.5, row + 0.5, color=PALE, zorder=2)
    ticks = np.arange(len(names))
    axes.set_yticks(ticks, [f"{each} ({total})" for each, total in zip(names, totals, strict=True)], fontsize=font)
    if len(names) > 8:
        axes.set_xticks(ticks, names, fontsize=font, rotation=90)
    else:
        axes.set_xticks(ticks, [each.replace(" ", "\n") for each in names], fontsize=SMALL)
    for labels, used in ((axes.get_yticklabels(), totals), (axes.get_xticklabels(), totals + matrix.sum(axis=0))):
        for label, count in zip(labels, used, strict=True):
            label.set_color("black" if count else GREY)
    axes.set_xticks(ticks[:-1] + 0.5, minor=True)
    axes.set_yticks(ticks[:-1] + 0.5, minor=True)
    axes.grid(which="minor", color="#d5d5d5", linewidth=0.4)
    axes.tick_params(which="both", length=0)
    axes.set_ylabel("True class (images)", fontsize=TEXT)
    axes.set_xlabel("Predicted class", fontsize=TEXT)
    axes.set_title(title, fontsize=HEADING)
    scale = drawn.colorbar(picture, ax=axes, shrink=0.5, pad=0.01, aspect=30)
    scale.set_label("Share of the true class", fontsize=SMALL)
    scale.ax.tick_params(labelsize=SMALL)
    rows = ([each, *row] for each, row in zip(names, matrix.tolist(), strict=True))
    return save(drawn, folder, name, ("true class", *names), rows)
