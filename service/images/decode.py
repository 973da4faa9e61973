"""From the bytes of an upload to uint8 ``[256, 256, 3]`` RGB, or a refusal that says why.

What an image is, :mod:`contract.decoding` says for training and service alike. The service refuses besides what is
larger than its settings allow, another size than 256x256 unless ``HAL_FIT`` takes it, and an image that shows nothing
(a dark frame, a white field, one colour): a network has no class for it and would name one all the same.
"""

from typing import Final

import numpy as np
from numpy.typing import NDArray

from contract import decoding
from contract.parts import IMAGE_SIDE
from contract.pixels import SMALLEST_SIDE
from contract.pixels import fit as fitted
from contract.refusals import ImageRefusedError, RefusalCode
from service.settings import Fit

LEAST_CONTRAST: Final = 24
"""Below it an image is blank: what a camera gives of a dark or an empty field, noise included. Real cells have 105 and
more (``test_contrast.py`` looks at all that are at hand)."""
_LARGER_FIELD: Final = "export a larger field around the cell"


def decode(data: bytes, *, fit: Fit, max_bytes: int, max_pixels: int) -> NDArray[np.uint8]:
    """Pixels ``[256, 256, 3]``, RGB, 0 to 255, of an encoded image. Safe to call from several threads.

    Raises:
        ImageRefusedError: for every other outcome, whatever the bytes.
    """
    if len(data) > max_bytes:
        raise ImageRefusedError(
            RefusalCode.TOO_LARGE,
            f"The image has {len(data)} bytes, at most {max_bytes} are accepted (HAL_MAX_IMAGE_BYTES); "
            "send one cell, not a whole field of view.",
        )

    def check(width: int, height: int) -> None:
        if width * height > max_pixels:
            raise ImageRefusedError(
                RefusalCode.TOO_MANY_PIXELS,
                f"The image declares {width}x{height} pixels, at most {max_pixels} are decoded (HAL_MAX_PIXELS); send "
                "one cell, not a whole field of view.",
            )
        check_size(width, height, fit)

    pixels = fitted(decoding.decode(data, check))
    if (found := contrast(pixels)) < LEAST_CONTRAST:
        raise ImageRefusedError(
            RefusalCode.BLANK,
            f"The image shows nothing: its pixels differ by {found} of 255 levels of green, expected at least "
            f"{LEAST_CONTRAST} (a stained cell has over 100); check the lamp, the shutter and where the cell is.",
        )
    return pixels


def check_size(width: int, height: int, fit: Fit) -> None:
    """Refuse an image whose header says another size than ``fit`` takes; the message says what would take it.

    ``crop`` takes the centre and refuses an image with a side below 256, ``pad`` reflects the border and refuses one
    with a side above it: neither does the other's work.

    Raises:
        ImageRefusedError: it has another size than ``fit`` takes; the message says what would take it.
    """
    side, shortest, longest = IMAGE_SIDE, min(width, height), max(width, height)
    if fit is Fit.STRICT and not shortest == longest == side:
        problem, remedy = f"expected exactly {side}x{side}", _LARGER_FIELD
        if shortest >= side:
            remedy = "set HAL_FIT=crop for the centre of larger images"
        elif longest <= side and shortest >= SMALLEST_SIDE:
            remedy = "set HAL_FIT=pad to reflect the border of smaller ones"
    elif fit is Fit.CROP and shortest < side:
        problem, remedy = f"expected at least {side}x{side} to crop from", _LARGER_FIELD
    elif fit is Fit.PAD and longest > side:
        problem, remedy = f"expected at most {side}x{side} to pad", "set HAL_FIT=crop for larger images"
    elif fit is Fit.PAD and shortest < SMALLEST_SIDE:
        problem, remedy = f"expected sides of at least {SMALLEST_SIDE} to reflect", _LARGER_FIELD
    else:
        return
    raise ImageRefusedError(
        RefusalCode.WRONG_SIZE,
        f"The image is {width}x{height} pixels, {problem}. It is not resampled, since that would change the cell's "
        f"size; {remedy}.",
    )


def contrast(pixels: NDArray[np.uint8]) -> int:
    """Levels of green, 0 to 255, between the darkest and the brightest pixel of every eighth row and column.

    Green is what stained nuclei absorb most.
    """
    return int(np.ptp(pixels[::8, ::8, 1]))
