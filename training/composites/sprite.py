"""Cells and platelets cut out as optical density, to be turned, moved and laid down elsewhere."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from contract.parts import IMAGE_SIDE
from training.composites.outline import Coverage, signed_distance
from training.composites.painting import between, density
from training.composites.segment import Cell, Pixels
from training.composites.texture import smooth_noise


@dataclass(frozen=True, slots=True)
class Sprite:
    """A cut-out cell.

    Attributes:
        density: optical density against its own background. Shape: ``(256, 256, 3)``.
        coverage: 1 within the cell, about one half on its outline, 0 four pixels outside. Shape: ``(256, 256)``.
    """

    density: Pixels
    coverage: Coverage
    nucleus: Coverage
    centre: tuple[float, float]

    def moved(
        self,
        to: tuple[float, float],
        turn: float = 0.0,
        scale: float = 1.0,
        flip: bool = False,
        warp: NDArray[np.float64] | None = None,
    ) -> "Sprite":
        """The sprite at another place.

        Args:
            to: row and column of its new centre.
            turn: in radians.
            scale: factor of its size.
            warp: further displacement of every pixel, rows and columns. Shape: ``(2, 256, 256)``.
        """
        margin = 4 if warp is None else 4 + float(np.abs(warp).max())
        covered = np.argwhere(self.coverage > 0)
        reach = (float(np.abs(covered - self.centre).max()) if len(covered) else 0) * np.sqrt(2) * scale + margin
        top, left = (max(0, int(middle - reach)) for middle in to)
        bottom, right = (min(IMAGE_SIDE, int(middle + reach) + 2) for middle in to)
        rows, columns = np.mgrid[top:bottom, left:right].astype(np.float32)
        if warp is not None:
            rows, columns = rows + warp[0, top:bottom, left:right], columns + warp[1, top:bottom, left:right]
        y, x = (rows - to[0]) / scale, (columns - to[1]) / scale
        y, x = np.cos(turn) * y - np.sin(turn) * x, np.sin(turn) * y + np.cos(turn) * x
        if flip:
            x = -x
        where = np.stack([y + self.centre[0], x + self.centre[1]])

        def sampled(values: NDArray[np.float32], order: int) -> NDArray[np.float32]:
            result = np.zeros((IMAGE_SIDE, IMAGE_SIDE), dtype=np.float32)
            result[top:bottom, left:right] = ndimage.map_coordinates(values, where, order=order, mode="constant")
            return result

        channels = [sampled(self.density[..., channel], 3) for channel in range(3)]
        return Sprite(
            np.stack(channels, axis=-1),
            sampled(self.coverage, 1),
            sampled(self.nucleus, 1),
            (float(to[0]), float(to[1])),
        )


def cut_out(cell: Cell) -> Sprite:
    """The central cell with its fine projections, without the smear around it."""
    distance = signed_distance(cell.body)
    other = cell.field | (cell.stained & ~cell.body)
    alone = ~(ndimage.binary_dilation(other) & ~cell.body)
    coverage = between(distance, -4, 3) * alone
    optical = np.maximum(density(cell.pixels, cell.ground), -0.05)
    nucleus = between(signed_distance(cell.nucleus), -1, 1) if cell.nucleus.any() else np.zeros_like(coverage)
    shown = between(distance, -3.5, -0.5) * alone
    return Sprite((optical * shown[..., None]).astype(np.float32), coverage, nucleus, cell.centre)


def laid(plate: Pixels, sprite: Sprite) -> Pixels:
    """Lay a sprite over a smear: within it the smear does not show, at its soft edge it shines through."""
    ground = np.median(plate.reshape(-1, 3)[plate[..., 1].ravel() > np.percentile(plate[..., 1], 60)], axis=0)
    solid = between(sprite.coverage, 0.45, 0.85)[..., None]
    below = plate * (1 - solid) + ground * solid
    return np.clip(below * np.exp(-sprite.density), 0, 255).astype(np.float32)


def gentle_warp(generator: np.random.Generator, amplitude: float, size: float) -> NDArray[np.float64]:
    """A smooth random displacement. Shape: ``(2, 256, 256)``."""
    return np.stack([amplitude * smooth_noise(generator, size) for _ in range(2)]).astype(np.float64)
