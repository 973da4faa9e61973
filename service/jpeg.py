"""JPEG by simplejpeg: libjpeg-turbo without Pillow's copies, and with its warnings.

libjpeg paints over damage with grey or with noise and only warns. Pillow keeps the warnings to itself, simplejpeg
raises them. The pixels of an undamaged file are the same from both.
"""

from typing import Final

import numpy as np
from numpy.typing import NDArray

from contract.manifest import IMAGE_SIDE

try:
    import simplejpeg as turbo
except ImportError:  # There is no wheel for every platform; Pillow does the same more slowly.
    turbo = None

_COLOURS: Final = frozenset({"YCbCr", "RGB"})
_MULTI_PICTURE: Final = b"MPF\0"
"""Begins the segment that lists the other pictures of a file (CIPA DC-007)."""


def is_plain(data: bytes) -> bool:
    """Whether :func:`decode` may be used: one picture of 256x256 in colours that need no guess, by its header."""
    if turbo is None:
        return False
    try:
        height, width, colours, _ = turbo.decode_jpeg_header(data)
    except ValueError:
        return False
    return height == width == IMAGE_SIDE and colours in _COLOURS and _MULTI_PICTURE not in data


def decode(data: bytes, *, strict: bool = True) -> NDArray[np.uint8]:
    """The pixels ``[256, 256, 3]`` of a plain image.

    Raises:
        ValueError: libjpeg-turbo cannot decode it or, if ``strict``, warned while it did.
    """
    pixels: NDArray[np.uint8] = turbo.decode_jpeg(data, colorspace="RGB", strict=strict)
    return pixels


def is_only_warned_of(data: bytes) -> bool:
    """Whether an image that :func:`decode` refused is damaged, and not of a kind that this libjpeg-turbo lacks."""
    try:
        decode(data, strict=False)
    except ValueError:
        return False
    return True
