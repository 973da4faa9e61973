"""Images to send: paths, bytes, Pillow's images or arrays, read and cut into requests of bounded size."""

import errno
import io
import os
import struct
import zlib
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any, Final, Protocol, TypedDict


class PillowImage(Protocol):
    """A ``PIL.Image.Image``."""

    def save(self, fp: io.BytesIO, format: str) -> None:
        """Write it as a file."""


class PixelArray(Protocol):
    """A NumPy array or anything like one: uint8, RGB, shape ``(height, width, 3)``."""

    shape: tuple[int, ...]
    dtype: Any

    def tobytes(self) -> bytes:
        """Its numbers, the last axis first."""


Source = str | Path | bytes | PillowImage | PixelArray
"""A file's path, an encoded image, or pixels, which are sent as a PNG."""

LARGEST_FILE: Final = 256 * 1024 * 1024
"""Bytes of a file that are read at all: an image of one cell has a thousandth of it, a whole slide a hundredfold."""


class Bulk(TypedDict, total=False):
    """How many images are sent; see :meth:`client.sync.HalClient.classify_many`."""

    images_per_request: int
    bytes_per_request: int
    concurrency: int


@dataclass(frozen=True, slots=True)
class Numbered:
    """An image, its place among those that were given, and its bytes or why it cannot be read."""

    index: int
    source: Source
    data: bytes | OSError


def bytes_of(source: Source) -> bytes:
    """The encoded image.

    Raises:
        OSError: the file cannot be read, or is larger than :data:`LARGEST_FILE`.
        TypeError: it is no image.
    """
    if isinstance(source, bytes):
        return source
    if not isinstance(source, str | Path):
        return _png_of(source)
    with Path(source).open("rb") as stream:
        if (size := os.fstat(stream.fileno()).st_size) > LARGEST_FILE:
            raise OSError(errno.EFBIG, f"it has {size} bytes, at most {LARGEST_FILE} are read", str(source))
        return stream.read()


def flat(images: Iterable[Source | Iterable[Source]]) -> list[Source]:
    """The images, those in lists and tuples in their place."""
    found: list[Any] = []
    for image in images:
        found += image if isinstance(image, list | tuple) else [image]
    return found


def _png_of(source: Any) -> bytes:
    if hasattr(source, "save"):
        stream = io.BytesIO()
        source.save(stream, "PNG")
        return stream.getvalue()
    shape: Any = getattr(source, "shape", ())
    dtype = getattr(source, "dtype", type(source).__name__)
    if str(dtype) != "uint8" or len(shape) != 3 or shape[2] != 3:
        raise TypeError(
            f"an image is {dtype} of shape {tuple(shape)}, expected a path, an encoded image, one of Pillow's, or an "
            "array uint8 of shape (height, width, 3)"
        )
    height, width, _ = shape
    data = source.tobytes()
    rows = b"".join(b"\0" + data[start : start + 3 * width] for start in range(0, len(data), 3 * width))
    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    parts = ((b"IHDR", header), (b"IDAT", zlib.compress(rows, 1)), (b"IEND", b""))
    return b"\x89PNG\r\n\x1a\n" + b"".join(
        struct.pack(">I", len(part)) + kind + part + struct.pack(">I", zlib.crc32(kind + part)) for kind, part in parts
    )


def groups(sources: Iterable[Source], size: int) -> Iterator[list[tuple[int, Source]]]:
    """The images by number, ``size`` at a time; taken from ``sources`` as they are asked for."""
    numbered = enumerate(sources)
    while group := list(islice(numbered, size)):
        yield group


def read(group: Iterable[tuple[int, Source]], most_bytes: int) -> list[list[Numbered]]:
    """Read a group and cut it where it has more than ``most_bytes``; an unreadable file does not affect the others."""
    slices: list[list[Numbered]] = [[]]
    size = 0
    for index, source in group:
        try:
            data: bytes | OSError = bytes_of(source)
        except OSError as error:
            data = error
        length = len(data) if isinstance(data, bytes) else 0
        if size and size + length > most_bytes:
            slices.append([])
            size = 0
        slices[-1].append(Numbered(index, source, data))
        size += length
    return slices
