"""The size of the central platelet of a Barcelona image, the only open route to the two thrombocyte size classes."""

from typing import Final

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

PIXELS_PER_MICROMETRE: Final = 10.0
LARGE_FROM_UM: Final = 4.0
GIANT_FROM_UM: Final = 7.0
SMALLEST_REGION_PX: Final = 300
"""A disc of 2 um; smaller regions are debris."""


def equivalent_diameter(pixels: NDArray[np.uint8]) -> float:
    """Diameter in um of the disc with the area of the stained region nearest to the image's centre; 0 if none.

    Platelets are purple: green well below blue, and red not above it. A region that touches another is measured with
    it, so clumped or spread platelets come out too large.

    Args:
        pixels: RGB, 0 to 255, 10 px/um. Shape: ``(height, width, 3)``.
    """
    red, green, blue = np.moveaxis(pixels.astype(np.int16), -1, 0)
    stained = (blue > red - 10) & (green < blue - 25)
    regions, count = ndimage.label(ndimage.binary_fill_holes(ndimage.binary_opening(stained)))
    if count == 0:
        return 0.0
    indices = np.arange(1, count + 1)
    areas = ndimage.sum_labels(stained, regions, indices)
    centres = np.array(ndimage.center_of_mass(regions > 0, regions, indices))
    distances = np.hypot(*(centres - np.array(stained.shape) / 2).T)
    distances[areas < SMALLEST_REGION_PX] = np.inf
    nearest = int(distances.argmin())
    if not np.isfinite(distances[nearest]):
        return 0.0
    area = float((regions == indices[nearest]).sum())
    return 2 * float(np.sqrt(area / np.pi)) / PIXELS_PER_MICROMETRE


def size_class(diameter_um: float) -> str | None:
    """Large thrombocyte from 4 um, Giant thrombocyte from 7 um (about a red cell), else ``None``."""
    if diameter_um >= GIANT_FROM_UM:
        return "Giant thrombocyte"
    return "Large thrombocyte" if diameter_um >= LARGE_FROM_UM else None
