"""The image files below folders, in a fixed order."""

import os
from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from service.jobs.folders.errors import FoldersError

SUFFIXES: Final = frozenset({".jpg", ".jpeg", ".png", ".bmp", ".tif", ".tiff"})


@dataclass(frozen=True, slots=True)
class ImageFile:
    """A file as it was found; ``path`` as the user wrote it, with ``/``; ``bytes`` is -1 if it cannot be looked at."""

    path: str
    bytes: int
    mtime_ns: int

    @classmethod
    def at(cls, path: Path) -> "ImageFile":
        """The file at ``path``."""
        try:
            found = path.stat()
        except OSError:
            return cls(path.as_posix(), -1, 0)
        return cls(path.as_posix(), found.st_size, found.st_mtime_ns)


def find(paths: Iterable[Path]) -> list[ImageFile]:
    """The files that are named, whatever their names, and all images in the folders that are, by name; each once.

    Raises:
        FoldersError: a path does not exist, or there is no image at all.
    """
    paths = list(paths)
    check_there({path: path.exists() for path in paths})
    found = dict.fromkeys(image for path in paths for image in (inside(path) if path.is_dir() else [path]))
    check_any(found, paths)
    return [ImageFile.at(path) for path in found]


def check_there(named: Mapping[Any, bool]) -> None:
    """Complain of all that was named and is not there.

    Raises:
        FoldersError: something is not.
    """
    if missing := [str(name) for name, there in named.items() if not there]:
        raise FoldersError(f"there is no {', no '.join(missing)}; name files or folders of images")


def check_any(found: Collection[Any], named: Iterable[Any]) -> None:
    """Complain if nothing was found in what was named.

    Raises:
        FoldersError: there is no image at all.
    """
    if not found:
        raise FoldersError(
            f"no image in {', '.join(map(str, named))}; expected files that end in {', '.join(sorted(SUFFIXES))}"
        )


def inside(folder: Path) -> Iterator[Path]:
    """All images below a folder, by name.

    Hidden files and folders are left out: ``._cell.jpg`` is macOS's, not a cell.
    """
    for root, folders, names in os.walk(folder, followlinks=True):
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        for name in sorted(names):
            if not name.startswith(".") and Path(name).suffix.lower() in SUFFIXES:
                yield Path(root, name)
