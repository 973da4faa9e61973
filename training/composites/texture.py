"""Materials: chromatin or cytoplasm of a real cell, poured into any shape.

By-example noise with histogram-preserving blending (Heitz and Neyret 2018, "High-Performance By-Example Noise using a
Histogram-Preserving Blending Operator"): brightness is turned into ranks of a normal distribution, random patches of
the example are added with weights that keep the variance, and the sum is turned back into the example's own colours.
Clumps, granules and strands stay as large and as sharp as the microscope showed them, and no patch border is seen.
"""

from dataclasses import dataclass, replace
from typing import Final

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage, special

from contract.parts import IMAGE_SIDE
from training.composites.painting import restained
from training.composites.segment import Cell, Mask, Pixels, SegmentationError, distance_to

LUMINANCE: Final = np.array([0.30, 0.59, 0.11], dtype=np.float32)
SMALLEST_RADIUS: Final = 5.0
LARGEST_RADIUS: Final = 17.0
LEVELS: Final = 128
RANKS: Final = 512
TRIM: Final = 0.03
"""Share of the darkest and of the brightest pixels that are left out: specks, vacuoles and mixed outlines."""


@dataclass(frozen=True, slots=True)
class Material:
    """An example of texture.

    Attributes:
        ranks: brightness as a standard normal variate. Shape: ``(256, 256)``.
        centres: where a patch of ``radius`` fits into the example. Shape: ``(n, 2)``.
        radius: of the patches, in pixels.
        colours: from dark to bright, by quantile. Shape: ``(128, 3)``.
    """

    ranks: NDArray[np.float32]
    centres: NDArray[np.int64]
    radius: int
    colours: Pixels
    ground: Pixels

    def stained(self, strength: float, tint: NDArray[np.float32] | None = None, contrast: float = 1.0) -> "Material":
        """The same texture, paler or deeper; see :func:`training.composites.painting.restained`."""
        return replace(self, colours=restained(self.colours, self.ground, strength, tint, contrast))

    def on(self, ground: Pixels) -> "Material":
        """As it would look in an image with another background."""
        return replace(self, colours=np.clip(self.colours * (ground / self.ground), 0, 255), ground=ground)

    def pour(
        self, where: Mask, generator: np.random.Generator, shade: NDArray[np.float32] | float = 0.0, coarse: float = 0.0
    ) -> Pixels:
        """Fill a shape with the texture.

        Args:
            where: the shape; the result is 0 elsewhere. Shape: ``(256, 256)``.
            shade: added to the ranks before they become colours: below 0 darker, above brighter, in standard
                deviations.
            coarse: share of the variance that goes into slow unevenness, 0 to 1.
        """
        noise = self._noise(where, generator)
        if coarse:
            slow = smooth_noise(generator, 9.0)
            noise = np.float32(np.sqrt(1 - coarse)) * noise + np.float32(np.sqrt(coarse)) * slow
        result = np.zeros((IMAGE_SIDE, IMAGE_SIDE, 3), dtype=np.float32)
        ranks = (noise + shade)[where]
        # Shading adds variance; without this the darkest and brightest colours would fill whole areas.
        ranks = ranks / max(1.0, float(ranks.std())) if ranks.size else ranks
        quantiles = special.ndtr(ranks) * (LEVELS - 1)
        low = np.minimum(quantiles.astype(np.int64), LEVELS - 2)
        rest = (quantiles - low)[:, None].astype(np.float32)
        result[where] = self.colours[low] * (1 - rest) + self.colours[low + 1] * rest
        return result

    def _noise(self, where: Mask, generator: np.random.Generator) -> NDArray[np.float32]:
        radius = self.radius
        window = np.clip(1 - np.hypot(*np.mgrid[-radius : radius + 1, -radius : radius + 1]) / (radius + 0.5), 0, 1)
        window = (window**0.7).astype(np.float32)
        total = np.zeros((IMAGE_SIDE + 2 * radius,) * 2, dtype=np.float32)
        weight = np.zeros_like(total)
        rows, columns = np.nonzero(where)
        if rows.size == 0:
            return np.zeros((IMAGE_SIDE, IMAGE_SIDE), dtype=np.float32)
        step = max(3, round(radius * 0.85))
        tops = np.arange(rows.min(), rows.max() + step, step)
        lefts = np.arange(columns.min(), columns.max() + step, step)
        places = np.stack(np.meshgrid(tops, lefts, indexing="ij"), axis=-1).reshape(-1, 2)
        places = np.clip(places + generator.integers(-step // 3, step // 3 + 1, places.shape), 0, IMAGE_SIDE - 1)
        near = ndimage.maximum_filter(where, 2 * radius + 1)
        places = places[near[places[:, 0], places[:, 1]]]
        sources = self.centres[generator.integers(len(self.centres), size=len(places))]
        squared = window**2
        width = 2 * radius + 1
        for (r, c), (y, x), turn in zip(
            places.tolist(), sources.tolist(), generator.integers(8, size=len(places)).tolist(), strict=True
        ):
            patch = self.ranks[y - radius : y + radius + 1, x - radius : x + radius + 1]
            if turn >= 4:
                patch = patch[::-1]
            if turn % 4 >= 2:
                patch = patch[:, ::-1]
            if turn % 2:
                patch = patch.T
            total[r : r + width, c : c + width] += window * patch
            weight[r : r + width, c : c + width] += squared
        inner = (slice(radius, radius + IMAGE_SIDE),) * 2
        return (total[inner] / np.sqrt(np.maximum(weight[inner], 1e-6))).astype(np.float32)


def material(pixels: Pixels, where: Mask, ground: Pixels, what: str) -> Material:
    """The texture of a part of an image."""
    padded = np.zeros_like(where)
    margin = int(SMALLEST_RADIUS) + 1
    padded[margin:-margin, margin:-margin] = where[margin:-margin, margin:-margin]
    depth = distance_to(~padded)
    deepest = float(depth.max())
    if deepest < SMALLEST_RADIUS or where.sum() < 150:
        raise SegmentationError(f"{what} too thin to take its texture")
    radius = int(min(LARGEST_RADIUS, deepest * 0.8))
    radius = max(radius, int(SMALLEST_RADIUS) - 1)
    rows, columns = np.nonzero(depth >= min(deepest, radius))
    fits = (np.minimum(rows, columns) >= radius) & (np.maximum(rows, columns) < IMAGE_SIDE - radius)
    centres = np.stack([rows[fits], columns[fits]], axis=1)
    if len(centres) == 0:
        raise SegmentationError(f"{what} too near to the border to take its texture")
    values = pixels @ LUMINANCE
    inside = values[where]
    order = np.argsort(inside, kind="stable")
    quantiles = np.linspace(0.5 / RANKS, 1 - 0.5 / RANKS, RANKS)
    bounds = inside[order][(quantiles * inside.size).astype(np.int64)]
    reach = max(radius, 1)
    box = tuple(slice(max(0, v.min() - reach), v.max() + reach + 1) for v in (centres[:, 0], centres[:, 1]))
    ranks = np.zeros((IMAGE_SIDE, IMAGE_SIDE), dtype=np.float32)
    ranks[box] = special.ndtri(np.interp(values[box], bounds, quantiles))
    by_brightness = pixels[where][order]
    trimmed = int(TRIM * len(by_brightness))
    by_brightness = by_brightness[trimmed : len(by_brightness) - trimmed]
    chunks = np.array_split(by_brightness, LEVELS)
    colours = np.array([chunk.mean(axis=0) for chunk in chunks], dtype=np.float32)
    return Material(ranks, centres, radius, colours, ground)


def smooth_noise(generator: np.random.Generator, size: float) -> NDArray[np.float32]:
    """A normal random field with structures of about ``size`` pixels, variance 1. Shape: ``(256, 256)``."""
    coarse = max(1, int(size / 2.5))
    side = IMAGE_SIDE // coarse + 3
    rough = generator.standard_normal((side, side)).astype(np.float32)
    field = ndimage.gaussian_filter(rough, size / coarse, mode="wrap")
    field = ndimage.zoom(field, coarse, order=1)[:IMAGE_SIDE, :IMAGE_SIDE]
    return ((field - field.mean()) / (field.std() + 1e-6)).astype(np.float32)


def chromatin_of(cell: Cell) -> Material:
    """The texture of a nucleus, which :func:`material` may refuse as too thin."""
    return material(cell.pixels, ndimage.binary_erosion(cell.nucleus, iterations=2), cell.ground, "chromatin")


def cytoplasm_of(cell: Cell) -> Material:
    """The texture of cytoplasm, of which there may be too little for :func:`material`."""
    return material(cell.pixels, cell.cytoplasm, cell.ground, "cytoplasm")
