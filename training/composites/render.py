"""Making one image of a set: in a process of its own, since each takes a tenth of a second of one core."""

from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from training.composites.canvas import Canvas, StainStyle, open_canvas, save
from training.composites.edited_control import edited_control
from training.composites.generators import GENERATORS, PLATELETS
from training.composites.plan import Parent, Task
from training.composites.segment import Cell, Pixels, SegmentationError, segment_platelet, segment_white_cell


@dataclass(frozen=True, slots=True)
class Made:
    """What became of a task.

    Attributes:
        parent: SHA-256 of the image that was edited; empty if none could be.
        donors: SHA-256 of the images whose textures or cells went into it.
    """

    name: str
    parent: str
    donors: tuple[str, ...] = ()
    failures: tuple[str, ...] = ()


def _cell(path: Path, label: str) -> Cell:
    """Read an image and segment it as its class asks."""
    pixels = open_canvas(path).pixels
    return segment_platelet(pixels) if label in PLATELETS else segment_white_cell(pixels)


_donor = lru_cache(maxsize=96)(_cell)


def render(task: Task, folder: Path, style: StainStyle) -> Made:
    """Make an image and write it."""
    made, pixels = drawn(task)
    if pixels is not None:
        save(folder / f"{task.name}.png", style.applied(pixels, made.parent))
    return made


def drawn(task: Task) -> tuple[Made, NDArray[np.uint8] | None]:
    """Make an image of the first candidate that can be edited, compressed as that was. Shape: ``(256, 256, 3)``."""
    failures: list[str] = []
    for attempt, parent in enumerate(task.parents):
        canvas = open_canvas(parent.image.path)
        try:
            pixels, donors = _edited(task, parent, canvas, attempt)
        except SegmentationError as error:
            failures.append(str(error))
            continue
        return Made(task.name, parent.sha256, donors, tuple(failures)), canvas.finished(pixels)
    return Made(task.name, "", (), tuple(failures)), None


def _edited(task: Task, parent: Parent, canvas: Canvas, attempt: int) -> tuple[Pixels, tuple[str, ...]]:
    generator = np.random.default_rng([task.seed, attempt])
    if task.kind == "real":
        return canvas.pixels.astype(np.float32), ()
    cell = _donor(parent.image.path, parent.image.label)
    if task.kind == "sham":
        return edited_control(cell, task.label, generator), ()
    chosen = [each[(attempt + turn) % len(each)] for turn, each in enumerate(task.donors)]
    donors = [_donor(each.image.path, each.image.label) for each in chosen]
    return GENERATORS[task.label].draw(cell, donors, generator), tuple(each.sha256 for each in chosen)


def segmentable(parent: Parent) -> str:
    """Why an image cannot be edited; empty if it can."""
    try:
        _cell(parent.image.path, parent.image.label)
    except SegmentationError as error:
        return str(error)
    return ""
