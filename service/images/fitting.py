"""From another size to 256x256 pixels by ``HAL_FIT``: cropped or padded, or a refusal that says what would take it.

Nothing is ever resampled, since size tells classes apart. ``crop`` takes the centre and refuses an image with a side
below 256, ``pad`` reflects the border and refuses one with a side above it: neither does the other's work.
"""

from typing import Final

import numpy as np
from numpy.typing import NDArray

from contract.description import IMAGE_SIDE
from service.images.refusals import ImageRefusedError, RefusalCode
from service.settings import Fit

_SMALLEST_PADDED_SIDE: Final = IMAGE_SIDE // 2 + 1
"""As in training: the border is never wider than the image itself."""


def check_size(width: int, height: int, fit: Fit) -> None:
    """Find out whether an image can be fitted, by what its header says.

    Raises:
        ImageRefusedError: it has another size than ``fit`` takes; the message says what would take it.
    """
    side = IMAGE_SIDE
    sides = (width, height)
    shortest = min(sides)
    if fit is Fit.STRICT and sides != (side, side):
        problem = f"expected exactly {side}x{side}"
        if shortest >= side:
            remedy = "set HAL_FIT=crop for the centre of larger images"
        elif max(sides) <= side and shortest >= _SMALLEST_PADDED_SIDE:
            remedy = "set HAL_FIT=pad to reflect the border of smaller ones"
        else:
            remedy = "export a larger field around the cell"
    elif fit is Fit.CROP and shortest < side:
        problem, remedy = f"expected at least {side}x{side} to crop from", "export a larger field around the cell"
    elif fit is Fit.PAD and max(sides) > side:
        problem, remedy = f"expected at most {side}x{side} to pad", "set HAL_FIT=crop for larger images"
    elif fit is Fit.PAD and shortest < _SMALLEST_PADDED_SIDE:
        problem, remedy = (
            f"expected sides of at least {_SMALLEST_PADDED_SIDE} to reflect",
            "export a larger field around the cell",
        )
    else:
        return
    raise ImageRefusedError(
        RefusalCode.WRONG_SIZE,
        f"The image is {width}x{height} pixels, {problem}. It is not resampled, since that would change the cell's "
        f"size; {remedy}.",
    )


def fitted(pixels: NDArray[np.uint8], fit: Fit) -> NDArray[np.uint8]:
    """Pixels ``[height, width, 3]`` of a size that :func:`check_size` lets pass, as ``[256, 256, 3]``."""
    height, width, _ = pixels.shape
    if (height, width) == (IMAGE_SIDE, IMAGE_SIDE):
        return pixels
    if fit is Fit.CROP:
        top, left = (height - IMAGE_SIDE) // 2, (width - IMAGE_SIDE) // 2
        return pixels[top : top + IMAGE_SIDE, left : left + IMAGE_SIDE].copy()
    above, before = (IMAGE_SIDE - height) // 2, (IMAGE_SIDE - width) // 2
    below, after = IMAGE_SIDE - height - above, IMAGE_SIDE - width - before
    return np.pad(pixels, ((above, below), (before, after), (0, 0)), mode="reflect")
