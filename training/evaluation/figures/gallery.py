"""Galleries of wrong answers (thesis Tables 6.1 and 6.2)."""

import textwrap
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import numpy as np
from numpy.typing import NDArray

from contract.classes import CLASS_NAMES, HAIRY_CELL
from training.data.images import ImageError, read_image
from training.data.manifest import write_csv
from training.evaluation.figures.palette import GREY, HEADING, SMALL, figure, save
from training.evaluation.predictions import Predictions

COLUMNS: Final = 6
MOST: Final = 24
DPI: Final = 200
"""An image of 256 pixels is shown at about 1.1 inches: more would repeat its pixels."""


@dataclass(frozen=True, slots=True)
class Gallery:
    """What a gallery shows: ``chosen`` are indices of the predictions, the most confident error first."""

    name: str
    title: str
    chosen: NDArray[np.int64]


def galleries(predictions: Predictions) -> list[Gallery]:
    """Hairy cells that were missed and other cells called hairy; without hairy cells, all most confident errors."""
    evaluation = predictions.evaluation
    true, predicted = evaluation.labels, evaluation.predicted
    order = np.argsort(-evaluation.probabilities.max(axis=1), kind="stable")
    wrong, hairy = order[(true != predicted)[order]], HAIRY_CELL.index
    missed, called = wrong[true[wrong] == hairy], wrong[predicted[wrong] == hairy]
    if not (true == hairy).any():
        found = [Gallery("errors", "The most confident errors", wrong)]
        return found if len(called) == 0 else [*found, Gallery("hairy-false-positives", "Called hairy", called)]
    return [
        Gallery("hairy-false-negatives", "Hairy cells called otherwise (false negatives)", missed),
        Gallery("hairy-false-positives", "Other cells called hairy (false positives)", called),
    ]


def draw_gallery(gallery: Gallery, predictions: Predictions, folder: Path) -> Path | None:
    """Draw a gallery's first 24 images, ``None`` of an empty one; its CSV file lists all."""
    named, top = predictions.evaluation.predicted, predictions.evaluation.probabilities.max(axis=1)
    rows = [
        (image.path.name, image.source, image.label, CLASS_NAMES[named[index]], f"{top[index]:.4f}")
        for index, image in ((index, predictions.images[index]) for index in gallery.chosen)
    ]
    columns = ("image", "source", "true class", "predicted class", "probability")
    if not rows:
        write_csv(folder / f"{gallery.name}.csv", columns, rows)
        return None
    shown = gallery.chosen[:MOST]
    titles = [
        "\n".join(textwrap.wrap(f"is {label}", 18) + textwrap.wrap(f"→ {called} {float(p):.2f}", 18))
        for _, _, label, called, p in rows[:MOST]
    ]
    lines = -(-len(shown) // COLUMNS)
    drawn = figure(0.4 + lines * (1.2 + 0.135 * max(title.count("\n") + 1 for title in titles)))
    grid = drawn.subplots(lines, COLUMNS, squeeze=False)
    for axes in grid.flat:
        axes.set_axis_off()
    for axes, index, title in zip(grid.flat, shown, titles, strict=False):
        axes.set_title(title, fontsize=SMALL, loc="left")
        try:
            axes.imshow(read_image(predictions.images[index].path))
        except ImageError:
            axes.text(0.5, 0.5, "image not found", ha="center", color=GREY, fontsize=SMALL, transform=axes.transAxes)
    of_all = f" of {len(rows)}" if len(shown) < len(rows) else ""
    drawn.suptitle(f"{gallery.title}, {len(shown)}{of_all}", fontsize=HEADING)
    return save(drawn, folder, gallery.name, columns, rows, DPI)
