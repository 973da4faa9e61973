"""The sample cells of service/static/cells, as parents."""

import csv

import numpy as np
from numpy.typing import NDArray

from tests.paths import CELLS
from training.composites.segment import Cell, segment_platelet, segment_white_cell
from training.data.images import read_image
from training.data.manifest import LabelledImage


def rows() -> list[LabelledImage]:
    """Every sample, the first of a class for training, the second for validation."""
    with (CELLS / "labels.csv").open(newline="", encoding="utf-8") as stream:
        entries = list(csv.DictReader(stream))
    return [
        LabelledImage(
            CELLS / row["file"], row["label"], "", row["source"], "val" if row["file"].endswith("-2.jpg") else "train"
        )
        for row in entries
    ]


def pixels(name: str) -> NDArray[np.uint8]:
    return read_image(CELLS / f"{name}.jpg")


def cell(name: str) -> Cell:
    return segment_platelet(pixels(name)) if "thrombocyte" in name else segment_white_cell(pixels(name))


def donors(count: int, platelets: bool) -> list[Cell]:
    if platelets:
        return [cell("large-thrombocyte-1")] * count
    return [cell(f"monocyte-{1 + i % 2}") for i in range(count)]
