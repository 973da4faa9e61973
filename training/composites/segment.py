"""Finding the central cell and its nucleus in a Barcelona image, by colour.

May Gruenwald-Giemsa on a CellaVision analyser: the background is bright, red cells are pinkish grey (red well above
blue), cytoplasm is grey to blue or full of purple granules (blue near or above red), and chromatin is dark in green.
An image without a single central cell is refused with the reason, which the callers count.
"""

from dataclasses import dataclass
from typing import Final, TypeAlias

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage
from skimage import filters, measure
from skimage.morphology import disk

from contract.parts import IMAGE_SIDE
from training.errors import TrainingError

Pixels: TypeAlias = NDArray[np.float32]
Mask: TypeAlias = NDArray[np.bool_]

SMOOTHING_PX: Final = 1.0
CENTRE: Final = (IMAGE_SIDE - 1) / 2
FARTHEST_PX: Final = 45.0
"""How far from the image's centre the centre of the central cell may lie."""
CELL_AREA: Final = (1_500, 36_000)
"""In pixels: discs of 4.4 and 21 um."""
NUCLEUS_AREA: Final = (900, 22_000)
PLATELET_AREA: Final = (300, 9_000)
LONGEST_CUT: Final = 24
"""Pixels of the cell on the image's border above which it counts as cut off."""


class SegmentationError(TrainingError):
    """There is no single central cell to edit; the message is the reason, short enough to be counted by."""


@dataclass(frozen=True, slots=True)
class Cell:
    """A segmented image.

    Attributes:
        pixels: RGB, 0 to 255. Shape: ``(256, 256, 3)``.
        body: the central cell, its nucleus included. Shape: ``(256, 256)``.
        nucleus: its nucleus; empty for a platelet.
    """

    pixels: Pixels
    body: Mask
    nucleus: Mask
    stained: Mask
    field: Mask
    ground: Pixels

    @property
    def cytoplasm(self) -> Mask:
        """The body without the nucleus, three pixels away from either outline."""
        inside = distance_to(~self.body) > 3
        return inside & (distance_to(self.nucleus) > 3)

    @property
    def centre(self) -> tuple[float, float]:
        """Row and column of the body's centre of mass."""
        row, column = ndimage.center_of_mass(self.body)
        return float(row), float(column)

    @property
    def place(self) -> tuple[float, float]:
        """Where a new cell goes: to the centre of this one, as far as there is room for it."""
        row, column = np.clip(self.centre, 108, 148)
        return float(row), float(column)


def distance_to(mask: Mask) -> Pixels:
    """Pixels from each pixel to the nearest one of the mask; 256 if it has none. Shape: ``(256, 256)``."""
    free = ~mask
    if free.all():
        return np.full(mask.shape, IMAGE_SIDE, dtype=np.float32)
    result = np.zeros(mask.shape, dtype=np.float32)
    rows, columns = np.flatnonzero(free.any(axis=1)), np.flatnonzero(free.any(axis=0))
    if rows.size:
        box = (slice(max(0, rows[0] - 1), rows[-1] + 2), slice(max(0, columns[0] - 1), columns[-1] + 2))
        result[box] = ndimage.distance_transform_edt(free[box])
    return result


def segment_white_cell(image: NDArray[np.uint8]) -> Cell:
    """The central white cell or erythroblast. ``image``: RGB, 10 px/um. Shape: ``(256, 256, 3)``."""
    pixels, ground, smooth = _prepare(image)
    stained, field = _stained(smooth, ground)
    chromatin = _chromatin(smooth, stained)
    nucleus = _central(chromatin, NUCLEUS_AREA, "nucleus")
    nucleus = _with_lobes(chromatin, nucleus)
    cut = ndimage.binary_opening(stained | nucleus, disk(4)) | nucleus
    regions, _ = ndimage.label(cut)
    body = ndimage.binary_fill_holes(regions == np.bincount(regions[nucleus]).argmax())
    nucleus = ndimage.binary_fill_holes(nucleus & body)
    _refuse_unlikely(body, CELL_AREA)
    others = chromatin & ndimage.binary_dilation(body, iterations=2) & ~ndimage.binary_dilation(nucleus, iterations=14)
    if others.sum() > 700:
        raise SegmentationError("touches another stained cell")
    return Cell(pixels, body, nucleus, stained | body, field & ~body, ground)


def segment_platelet(image: NDArray[np.uint8]) -> Cell:
    """The central platelet, clump of granules and pale rim together."""
    pixels, ground, smooth = _prepare(image)
    stained, field = _stained(smooth, ground)
    opened = ndimage.binary_opening(stained, disk(2))
    body = ndimage.binary_fill_holes(_central(opened, PLATELET_AREA, "platelet"))
    _refuse_unlikely(body, PLATELET_AREA)
    if measure.regionprops(body.astype(np.uint8))[0].solidity < 0.72:
        raise SegmentationError("ragged outline: more than one platelet, or a red cell's rim")
    return Cell(pixels, body, np.zeros_like(body), stained | body, field & ~body, ground)


def _prepare(image: NDArray[np.uint8]) -> tuple[Pixels, Pixels, Pixels]:
    pixels = image.astype(np.float32)
    smooth = ndimage.gaussian_filter(pixels, (SMOOTHING_PX, SMOOTHING_PX, 0))
    bright = smooth[smooth[..., 1] > np.percentile(smooth[..., 1], 99) - 14]
    ground = np.median(bright, axis=0).astype(np.float32)
    if ground[1] < 170:
        raise SegmentationError("no bright background")
    return pixels, ground, smooth


def _stained(smooth: Pixels, ground: Pixels) -> tuple[Mask, Mask]:
    """White cells and platelets; and what else is darker than the background."""
    density = -np.log((smooth + 1) / (ground + 1))
    red, green, blue = np.moveaxis(density, -1, 0)
    dark = green > 0.10
    bluish = red - blue > 0.02 + 0.06 * np.maximum(green, 0)
    granules = (green > 0.62) & (red > 0.20)
    violet = (green - blue > 0.26) & (red > 0.10)
    eosinophilic = (green > 0.30) & (green - red > 0.22)
    stained = dark & (bluish | granules | violet | eosinophilic)
    stained = ndimage.binary_fill_holes(stained)
    return stained, dark & ~stained


def _chromatin(smooth: Pixels, stained: Mask) -> Mask:
    """The dark part of the stained pixels: two thresholds by Otsu, the darker one, within what chromatin can be."""
    green = smooth[..., 1][stained]
    if green.size < NUCLEUS_AREA[0]:
        raise SegmentationError("nothing stained")
    threshold = float(np.clip(filters.threshold_otsu(green), 72, 112))
    wide = ndimage.gaussian_filter(smooth[..., 1], 1.5)
    dark = stained & (wide < threshold)
    return ndimage.binary_opening(ndimage.binary_closing(dark, disk(3)), disk(3))


def _central(candidates: Mask, areas: tuple[int, int], what: str) -> Mask:
    regions, count = ndimage.label(candidates)
    if count == 0:
        raise SegmentationError(f"no {what} found")
    properties = [each for each in measure.regionprops(regions) if each.area >= areas[0]]
    if not properties:
        raise SegmentationError(f"no {what} large enough")
    nearest = min(properties, key=lambda each: np.hypot(*(np.array(each.centroid) - CENTRE)))
    if np.hypot(*(np.array(nearest.centroid) - CENTRE)) > FARTHEST_PX:
        raise SegmentationError(f"no {what} near the centre")
    if nearest.area > areas[1]:
        raise SegmentationError(f"{what} too large")
    return regions == nearest.label


def _with_lobes(chromatin: Mask, nucleus: Mask) -> Mask:
    """Lobes of one nucleus lie near each other: take in every region closer than 1.2 um."""
    regions, _ = ndimage.label(chromatin)
    near = np.unique(regions[ndimage.binary_dilation(nucleus, iterations=12)])
    return np.isin(regions, near[near > 0])


def _refuse_unlikely(body: Mask, areas: tuple[int, int]) -> None:
    area = int(body.sum())
    if not areas[0] <= area <= areas[1]:
        raise SegmentationError("cell too small" if area < areas[0] else "cell too large, or it touches others")
    border = np.concatenate([body[0], body[-1], body[:, 0], body[:, -1]])
    if border.sum() > LONGEST_CUT:
        raise SegmentationError("cut off by the image's border")
