"""Images to send: paths or bytes, read and cut into requests of bounded size."""

import errno
import os
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Final

Source = str | Path | bytes
"""A file's path, or an encoded image."""

LARGEST_FILE: Final = 256 * 1024 * 1024
"""Bytes of a file that are read at all: an image of one cell has a thousandth of it, a whole slide a hundredfold."""


@dataclass(frozen=True, slots=True)
class Numbered:
    """An image's place among those that were given."""

    index: int
    source: Source


@dataclass(frozen=True, slots=True)
class Slice:
    """Images of one request, and those among them that could not be read, each with the reason."""

    images: tuple[tuple[Numbered, bytes], ...]
    unreadable: tuple[tuple[Numbered, OSError], ...] = ()

    @property
    def data(self) -> list[bytes]:
        """The encoded images."""
        return [data for _, data in self.images]

    def halves(self) -> "tuple[Slice, Slice]":
        """Two slices in its place, for a service that finds it too large."""
        middle = len(self.images) // 2
        return Slice(self.images[:middle]), Slice(self.images[middle:])


def bytes_of(source: Source) -> bytes:
    """The encoded image.

    Raises:
        OSError: the file cannot be read, or is larger than :data:`LARGEST_FILE`.
    """
    if isinstance(source, bytes):
        return source
    with Path(source).open("rb") as stream:
        if (size := os.fstat(stream.fileno()).st_size) > LARGEST_FILE:
            raise OSError(errno.EFBIG, f"it has {size} bytes, at most {LARGEST_FILE} are read", str(source))
        return stream.read()


def groups(sources: Iterable[Source], size: int) -> Iterator[list[Numbered]]:
    """The images by number, ``size`` at a time; taken from ``sources`` as they are asked for."""
    numbered = (Numbered(index, source) for index, source in enumerate(sources))
    while group := list(islice(numbered, size)):
        yield group


def read(group: Iterable[Numbered], most_bytes: int) -> list[Slice]:
    """Read a group and cut it where it has more than ``most_bytes``; an unreadable file does not affect the others."""
    slices: list[Slice] = []
    images: list[tuple[Numbered, bytes]] = []
    unreadable = []
    size = 0
    for item in group:
        try:
            data = bytes_of(item.source)
        except OSError as error:
            unreadable.append((item, error))
            continue
        if images and size + len(data) > most_bytes:
            slices.append(Slice(tuple(images)))
            images, size = [], 0
        images.append((item, data))
        size += len(data)
    return [*slices, Slice(tuple(images), tuple(unreadable))]


def whole_slide(sources: list[Source], most_images: int, most_bytes: int) -> Slice | None:
    """The images of a slide for one request; ``None`` if there are too many, too large or unreadable ones.

    An unreadable image counts as refused, and only a summary of results can be told of it.
    """
    if not 0 < len(sources) <= most_images:
        return None
    part, *rest = read(next(groups(sources, most_images)), most_bytes)
    return None if rest or part.unreadable else part
