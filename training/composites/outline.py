"""Outlines of cells and nuclei, and the fringe of a hairy one, as coverage of pixels between 0 and 1."""

from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw
from scipy import ndimage

from contract.parts import IMAGE_SIDE
from training.composites.segment import Mask

Coverage = NDArray[np.float32]
FINE: Final = 4
"""Pixels a side that each pixel is drawn with."""
ANGLES: Final = 360
RADIANS: Final = np.arange(ANGLES) * (2 * np.pi / ANGLES)
"""The angles of an outline's radii."""
FAR_PX: Final = 40


@dataclass(frozen=True, slots=True)
class Outline:
    """A star-shaped outline; ``radii`` are distances to it in pixels, at 360 equal steps of the angle."""

    centre: tuple[float, float]
    radii: NDArray[np.float64]

    def coverage(self) -> Coverage:
        """How much of each pixel lies inside. Shape: ``(256, 256)``."""
        rows, columns = self.radii * np.sin(RADIANS), self.radii * np.cos(RADIANS)
        return polygon(np.stack([self.centre[0] + rows, self.centre[1] + columns], axis=1))


def smooth_outline(
    generator: np.random.Generator,
    centre: tuple[float, float],
    radius: float,
    elongation: float = 1.0,
    wobble: float = 0.03,
    waves: tuple[int, int] = (2, 7),
) -> Outline:
    """An oval with a random direction and slow random bulges: ``wobble`` by radius, less with the wave number."""
    turned = RADIANS - generator.uniform(0, np.pi)
    long, short = np.sqrt(elongation), 1 / np.sqrt(elongation)
    radii = radius / np.sqrt((np.cos(turned) / long) ** 2 + (np.sin(turned) / short) ** 2)
    for wave in range(waves[0], waves[1] + 1):
        amplitude = wobble * generator.normal() * (waves[0] / wave) ** 0.7
        radii = radii * (1 + amplitude * np.cos(wave * RADIANS + generator.uniform(0, 2 * np.pi)))
    return Outline(centre, radii)


def dented(outline: Outline, angle: float, depth: float, width: float) -> Outline:
    """Push the outline in at an angle: broad and shallow for a bean, deep and narrow for a cleft.

    Args:
        angle: in radians.
        depth: share of the radius that is lost at the deepest point.
        width: half-width in radians.
    """
    away = np.angle(np.exp(1j * (RADIANS - angle)))
    return Outline(outline.centre, outline.radii * (1 - depth * np.exp(-((away / width) ** 2))))


def polygon(points: NDArray[np.float64]) -> Coverage:
    """Coverage of a closed polygon given by rows and columns. Shape: ``(256, 256)``."""
    canvas = Image.new("L", (IMAGE_SIDE * FINE, IMAGE_SIDE * FINE))
    ImageDraw.Draw(canvas).polygon([(float((x + 0.5) * FINE), float((y + 0.5) * FINE)) for y, x in points], fill=255)
    return np.asarray(canvas.reduce(FINE), dtype=np.float32) / np.float32(255)


def signed_distance(inside: Mask) -> Coverage:
    """Pixels to the outline, positive inside, at least -40. Shape: ``(256, 256)``."""
    result = np.full(inside.shape, -FAR_PX, dtype=np.float32)
    rows, columns = np.flatnonzero(inside.any(axis=1)), np.flatnonzero(inside.any(axis=0))
    if rows.size:
        box = tuple(slice(max(0, v[0] - FAR_PX), v[-1] + FAR_PX + 1) for v in (rows, columns))
        within = inside[box]
        outside = ndimage.distance_transform_edt(~within)
        result[box] = ndimage.distance_transform_edt(within) - np.minimum(outside, FAR_PX)
    return result


def bearing(centre: tuple[float, float]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Angle and distance of every pixel seen from a centre. Shapes: ``(256, 256)``."""
    rows, columns = np.mgrid[:IMAGE_SIDE, :IMAGE_SIDE]
    y, x = rows - centre[0], columns - centre[1]
    return np.arctan2(y, x) % (2 * np.pi), np.hypot(y, x)


@dataclass(frozen=True, slots=True)
class Hair:
    """One projection: a curved stroke that tapers and fades; angles are in radians, lengths in pixels.

    ``bend`` is the change of direction from root to tip, ``tip`` the share of width and opacity that is left there.
    """

    root: tuple[float, float]
    direction: float
    length: float
    width: float
    bend: float
    opacity: float
    tip: float


def strokes(hairs: list[Hair]) -> Coverage:
    """Draw hairs; where they cross, the denser one counts. Shape: ``(256, 256)``."""
    layers = np.zeros((IMAGE_SIDE * FINE, IMAGE_SIDE * FINE), dtype=np.float32)
    for hair in hairs:
        steps = max(4, int(hair.length * 1.25))
        along = np.linspace(0, 1, steps)
        heading = hair.direction + hair.bend * along
        pace = hair.length / (steps - 1)
        rows = hair.root[0] + np.concatenate([[0], np.cumsum(np.sin(heading[:-1]) * pace)])
        columns = hair.root[1] + np.concatenate([[0], np.cumsum(np.cos(heading[:-1]) * pace)])
        taper = 1 - (1 - hair.tip) * along**1.3
        for row, column, share in zip(rows, columns, taper, strict=True):
            _dab(layers, (row + 0.5) * FINE, (column + 0.5) * FINE, hair.width * share * FINE / 2, hair.opacity * share)
    return layers.reshape(IMAGE_SIDE, FINE, IMAGE_SIDE, FINE).mean(axis=(1, 3))


def _dab(layers: Coverage, row: float, column: float, radius: float, opacity: float) -> None:
    reach = int(radius + 2)
    top, left = int(row) - reach, int(column) - reach
    if top < 0 or left < 0 or top + 2 * reach >= layers.shape[0] or left + 2 * reach >= layers.shape[1]:
        return
    steps = np.arange(2 * reach + 1, dtype=np.float32)
    y, x = (steps + np.float32(top + 0.5 - row))[:, None], steps + np.float32(left + 0.5 - column)
    disc = np.minimum(np.maximum(radius + 0.5 - np.sqrt(y * y + x * x), 0), 1) * np.float32(opacity)
    area = layers[top : top + 2 * reach + 1, left : left + 2 * reach + 1]
    np.maximum(area, disc, out=area)
