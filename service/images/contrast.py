"""Whether an image shows anything at all."""

from typing import Final

import numpy as np
from numpy.typing import NDArray

LEAST_CONTRAST: Final = 24
"""Below it an image is blank: what a camera gives of a dark or an empty field, noise included. Real cells have 105 and
more (``test_contrast.py`` looks at all that are at hand)."""
_COARSE: Final = slice(None, None, 8)


def contrast(pixels: NDArray[np.uint8]) -> int:
    """Levels of green, 0 to 255, between the darkest and the brightest pixel of every eighth row and column.

    Green is what stained nuclei absorb most.

    Args:
        pixels: Shape: ``(height, width, 3)``, RGB.
    """
    green = pixels[_COARSE, _COARSE, 1]
    return int(green.max()) - int(green.min())
