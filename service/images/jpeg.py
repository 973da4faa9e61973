"""JPEG by simplejpeg: libjpeg-turbo without Pillow's copies, and with its warnings.

libjpeg paints over damage with grey or with noise and only warns. Pillow keeps the warnings to itself, simplejpeg
raises them. The pixels of an undamaged file are the same from both.
"""

import struct
from typing import Final

import numpy as np
from numpy.typing import NDArray

from contract.description import IMAGE_SIDE

try:
    import simplejpeg as turbo
except ImportError:  # There is no wheel for every platform; Pillow does the same more slowly.
    turbo = None

_COLOURS: Final = frozenset({"YCbCr", "RGB"})
_MULTI_PICTURE: Final = b"MPF\0"
"""Begins the segment that lists the other pictures of a file (CIPA DC-007)."""
_SEGMENT: Final = struct.Struct(">BBH")
_FRAME: Final = struct.pack(">BHHB", 8, IMAGE_SIDE, IMAGE_SIDE, 3)
"""Bits, height, width and colours, as the segment of a frame declares them."""
_FRAMES: Final = (0xC0, 0xC1, 0xC2)
_SCAN: Final = 0xDA
_HEADER: Final = frozenset({*_FRAMES, _SCAN, 0xC4, 0xDB, 0xDD, 0xFE, *range(0xE0, 0xF0)})
"""Segments that a usual file has before its first pixel: frame, scan, tables, restarts, comment, applications' own."""


def is_plain(data: bytes) -> bool:
    """Whether :func:`decode` may be used: one picture of 256x256 in colours that need no guess, by its header."""
    if turbo is None:
        return False
    if _is_usual(data):
        return True
    try:
        height, width, colours, _ = turbo.decode_jpeg_header(data)
    except ValueError:
        return False
    return height == width == IMAGE_SIDE and colours in _COLOURS and _MULTI_PICTURE not in data


def _is_usual(data: bytes) -> bool:
    """Whether the segments, read as they stand, declare a plain image; ``False`` leaves the question to libjpeg.

    For nearly every image this spares asking libjpeg-turbo, which lets go of the interpreter's lock and so has to wait
    to get it back under load, and looking for the list of pictures in all of the file.
    """
    place, framed = 2, False
    try:
        while True:
            mark, kind, size = _SEGMENT.unpack_from(data, place)
            if mark != 0xFF or kind not in _HEADER or size < 2:
                return False
            if kind == _SCAN:
                return framed
            if kind in _FRAMES:
                if framed or not data.startswith(_FRAME, place + 4):
                    return False
                framed = True
            elif kind == 0xE2 and data.startswith(_MULTI_PICTURE, place + 4):
                return False
            place += 2 + size
    except struct.error:
        return False


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
