"""Making one image of a set: in a process of its own, since each takes a tenth of a second of one core."""

from dataclasses import dataclass, field
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
    failures: tuple[str, ...] = field(default=())


def cell_of(path: Path, label: str) -> Cell:
    """Read an image and segment it as its class asks."""
    pixels = open_canvas(path).pixels
    return segment_platelet(pixels) if label in PLATELETS else segment_white_cell(pixels)


@lru_cache(maxsize=96)
def _donor(path: Path, label: str) -> Cell:
    return cell_of(path, label)


@dataclass(frozen=True, slots=True)
class Drawn:
    """A finished picture, or why none could be made.

    Attributes:
        pixels: RGB, compressed as its parent was; ``None`` if no candidate could be edited. Shape: ``(256, 256, 3)``.
    """

    pixels: NDArray[np.uint8] | None
    parent: str
    donors: tuple[str, ...]
    failures: tuple[str, ...]


def render(task: Task, folder: Path, style: StainStyle) -> Made:
    """Make an image and write it."""
    result = drawn(task)
    if result.pixels is not None:
        save(folder / f"{task.name}.png", style.applied(result.pixels, result.parent))
    return Made(task.name, result.parent, result.donors, result.failures)


def drawn(task: Task) -> Drawn:
    """Make an image; try the task's candidates one after the other until one can be edited."""
    failures: list[str] = []
    for attempt, parent in enumerate(task.parents):
        canvas = open_canvas(parent.image.path)
        try:
            pixels, donors = _edited(task, parent, canvas, attempt)
        except SegmentationError as error:
            failures.append(str(error))
            continue
        return Drawn(canvas.finished(pixels), parent.sha256, donors, tuple(failures))
    return Drawn(None, "", (), tuple(failures))


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
        cell_of(parent.image.path, parent.image.label)
    except SegmentationError as error:
        return str(error)
    return ""
