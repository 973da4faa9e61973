"""What a network sees of an image file: which colours count, and how an image becomes 256x256.

Nothing is ever resampled, since size tells classes apart: what is longer is cropped to its centre, what is shorter is
padded by reflection. Training and service both take it from here.
"""

from typing import Final

import numpy as np
from numpy.typing import NDArray

from contract.parts import IMAGE_SIDE

MODES: Final = frozenset({"RGB", "RGBA", "P", "PA"})
"""Pillow's names of 8-bit colour whose pixels need no guess, provided that no pixel is transparent."""
SMALLEST_SIDE: Final = IMAGE_SIDE // 2 + 1
"""Reflection can at most double a side."""


def fit(pixels: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Crop to the centre or pad by reflection, each axis for itself; an odd pixel is lost or added at the end.

    Args:
        pixels: Shape: ``(height, width, 3)``, each side at least 129.

    Returns:
        Shape: ``(256, 256, 3)``, contiguous; the same array where it has that size.

    Raises:
        ValueError: a side is too short to be padded by reflection.
    """
    height, width = pixels.shape[:2]
    if height == width == IMAGE_SIDE:
        return np.ascontiguousarray(pixels)
    if min(height, width) < SMALLEST_SIDE:
        raise ValueError(
            f"{width}x{height} pixels; each side needs at least {SMALLEST_SIDE} to fill {IMAGE_SIDE}x{IMAGE_SIDE} by "
            "reflection: export a larger field around the cell"
        )
    top, left = max(height - IMAGE_SIDE, 0) // 2, max(width - IMAGE_SIDE, 0) // 2
    pixels = pixels[top : top + IMAGE_SIDE, left : left + IMAGE_SIDE]
    missing = [IMAGE_SIDE - side for side in pixels.shape[:2]]
    if any(missing):
        pixels = np.pad(pixels, [*((each // 2, each - each // 2) for each in missing), (0, 0)], mode="reflect")
    return np.ascontiguousarray(pixels)
