"""Images to send: paths or bytes, read and cut into requests of bounded size."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Final

Source = str | Path | bytes
"""A file's path, or an encoded image."""

UNREADABLE: Final = "unreadable_file"
FIELD: Final = "file"
_FILENAME: Final = "image"
"""The service never looks at names, and names of files may tell patients'."""


@dataclass(frozen=True, slots=True)
class Numbered:
    """An image's place among those that were given."""

    index: int
    source: Source


@dataclass(frozen=True, slots=True)
class Slice:
    """Images of one request, and those among them that could not be read, each with the reason."""

    images: tuple[tuple[Numbered, bytes], ...]
    unreadable: tuple[tuple[Numbered, str], ...] = ()

    def halves(self) -> "tuple[Slice, Slice]":
        """Two slices in its place, for a service that finds it too large."""
        middle = len(self.images) // 2
        return Slice(self.images[:middle]), Slice(self.images[middle:])


def bytes_of(source: Source) -> bytes:
    """The encoded image.

    Raises:
        OSError: the file cannot be read.
    """
    return source if isinstance(source, bytes) else Path(source).read_bytes()


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
            unreadable.append((item, f"The file cannot be read: {error.strerror or error}."))
            continue
        if images and size + len(data) > most_bytes:
            slices.append(Slice(tuple(images)))
            images, size = [], 0
        images.append((item, data))
        size += len(data)
    return [*slices, Slice(tuple(images), tuple(unreadable))]


def form(images: Iterable[bytes]) -> list[tuple[str, tuple[str, bytes, str]]]:
    """The files of a multipart form as httpx takes them."""
    return [(FIELD, (_FILENAME, data, "application/octet-stream")) for data in images]
