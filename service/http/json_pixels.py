"""Pixels that were written as JSON: bytes from text without an object of Python's for each number.

One cell is 196,608 numbers. As lists they took nine times the text's memory, and the interpreter's lock meanwhile.
"""

from collections.abc import Iterator, Sequence
from typing import Final

import numpy as np
from numpy.typing import NDArray

_PIECE: Final = 1 << 18
"""Bytes of text that are read at once: what is made of them stays small, and the lock is free between them."""
_NUMBERS_AND_SPACES: Final = b"0123456789 \t\r\n"
_LONGEST: Final = 4
"""Bytes that are looked at of one number: the digits of the largest, and one more that there must not be."""


class PixelsError(Exception):
    """The text is no pixels of the shape; the message says what is expected."""


def read_pixels(text: bytes, shape: Sequence[int]) -> NDArray[np.uint8]:
    """The pixels of a list of numbers, flat or nested as ``shape`` says.

    Args:
        text: JSON, already known to be well formed.
        shape: of what is returned; without a 0.

    Raises:
        PixelsError: they are fewer, more, nested otherwise, or not whole numbers from 0 to 255.
    """
    size = int(np.prod(shape))
    frame = text.translate(None, _NUMBERS_AND_SPACES)
    if frame.translate(None, b"[],"):
        raise PixelsError("the input's data must be whole numbers from 0 to 255")
    # Of well-formed JSON that has no empty list: one number beside each comma, and one more.
    if (count := frame.count(b",") + 1) != size:
        raise PixelsError(f"the input's data has {count} numbers, expected {size}")
    if frame not in (_frame((size,)), _frame(shape)):
        raise PixelsError(f"the input's data is neither flat nor nested as its shape {list(shape)}")
    pixels = np.empty(size, np.uint8)
    done = 0
    for piece in _pieces(text):
        values = _values(piece)
        pixels[done : done + len(values)] = values
        done += len(values)
    return pixels.reshape(shape)


def _frame(shape: Sequence[int]) -> bytes:
    """What is left of JSON of this shape without numbers and spaces."""
    frame = b""
    for length in reversed(shape):
        frame = b"[" + (frame + b",") * (length - 1) + frame + b"]"
    return frame


def _pieces(text: bytes) -> Iterator[NDArray[np.uint8]]:
    """The text in pieces that end behind a comma, so that no number is in two."""
    everything = np.frombuffer(text, np.uint8)
    begin = 0
    while begin < len(text):
        end = text.find(b",", begin + _PIECE) + 1
        if not end or len(text) - end < _LONGEST:
            end = len(text)
        yield everything[begin:end]
        begin = end


def _values(piece: NDArray[np.uint8]) -> NDArray[np.uint16]:
    digits = piece - np.uint8(ord("0"))
    is_digit = digits < 10
    # Nothing is before the first byte and behind the last: lists begin and end there, or a comma does.
    last = np.flatnonzero(is_digit[:-1] & ~is_digit[1:])
    tens, hundreds = is_digit[last - 1], is_digit[last - 2]
    hundreds &= tens
    longer = hundreds & is_digit[last - 3]
    values = digits[last].astype(np.uint16)
    values += np.where(tens, digits[last - 1], 0).astype(np.uint16) * 10
    values += np.where(hundreds, digits[last - 2], 0).astype(np.uint16) * 100
    if longer.any() or (len(values) and values.max() > 255):
        raise PixelsError("the input's data must be whole numbers from 0 to 255")
    return values
