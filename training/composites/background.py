"""The smear behind a cell: what the image would show if the cell had never been there."""

from typing import Final

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from contract.parts import IMAGE_SIDE
from training.composites.painting import over
from training.composites.segment import Cell, Mask, Pixels, SegmentationError, distance_to
from training.composites.texture import material

MARGIN_PX: Final = 4
"""Beyond the cell's outline, where its edge still shows by sharpening and by fine projections."""
THINNEST_PX: Final = 7.0
"""Half the width of a red cell's rest below which it is removed too."""


def removed(cell: Cell, generator: np.random.Generator, hole: Mask | None = None) -> Pixels:
    """The image without its central cell, or ``hole``; red cells that touch it keep the bite that it took."""
    hole = cell.body if hole is None else hole
    away = distance_to(hole)
    # A red cell beside the white one stays; only the two pixels next to the outline are mixed colours.
    hole = (away <= 2) | ((away <= MARGIN_PX + 3) & ~_red_cells(cell, away))
    soft = ndimage.gaussian_filter(hole.astype(np.float32), 1.2)
    fill = illumination(cell) + grain(cell, soft > 0, generator)
    return np.clip(over(cell.pixels, fill, soft), 0, 255).astype(np.float32)


def _red_cells(cell: Cell, away: Pixels) -> Mask:
    """Red cells of which more than a sliver would be left."""
    regions, count = ndimage.label(cell.field & (away > 2))
    if count == 0:
        return np.zeros_like(cell.field)
    depth = distance_to(~cell.field)
    deepest = ndimage.maximum(depth, regions, np.arange(count + 1))
    return (np.asarray(deepest) >= THINNEST_PX)[regions] & (regions > 0)


def illumination(cell: Cell) -> Pixels:
    """The background as a smooth surface, fitted to where it is seen. Shape: ``(256, 256, 3)``."""
    rows, columns = np.nonzero(open_ground(cell))
    if rows.size < 400:
        return np.broadcast_to(cell.ground, cell.pixels.shape).copy()
    chosen = slice(None, None, max(1, rows.size // 2000))
    terms = _terms(rows[chosen], columns[chosen])
    values = cell.pixels[rows[chosen], columns[chosen]]
    coefficients = np.linalg.solve(terms.T @ terms + 1e-3 * np.eye(terms.shape[1]), terms.T @ values)
    surface = (EVERYWHERE @ coefficients.astype(np.float32)).reshape(IMAGE_SIDE, IMAGE_SIDE, 3)
    # Far from any open ground the parabola would run away.
    return np.clip(surface, cell.ground - 8, cell.ground + 8)


def open_ground(cell: Cell) -> Mask:
    """Background well away from every cell."""
    return ~ndimage.maximum_filter(cell.stained | cell.field, 13)


def grain(cell: Cell, where: Mask, generator: np.random.Generator) -> Pixels:
    """The background's own unevenness and noise, mean 0. Shape: ``(256, 256, 3)``."""
    try:
        example = material(cell.pixels, open_ground(cell), cell.ground, "background")
    except SegmentationError:
        return generator.normal(0, 1.0, cell.pixels.shape).astype(np.float32)
    return example.pour(where, generator) - example.colours.mean(axis=0)


def _terms(rows: NDArray[np.int64], columns: NDArray[np.int64]) -> NDArray[np.float32]:
    y, x = rows / IMAGE_SIDE - 0.5, columns / IMAGE_SIDE - 0.5
    return np.stack([np.ones_like(x), x, y, x * x, x * y, y * y], axis=-1).astype(np.float32)


EVERYWHERE: Final = _terms(*np.mgrid[:IMAGE_SIDE, :IMAGE_SIDE].reshape(2, -1))
