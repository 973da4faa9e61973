"""Files: the images below a folder, and files that are written whole or not at all."""

import os
import stat
from collections import Counter, deque
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final, NamedTuple

IMAGE_SUFFIXES: Final = frozenset({".jpg", ".jpeg", ".png", ".bmp", ".tif", ".tiff"})
"""Endings of the files that are taken, in lower case."""
EXPECTED: Final = f"expected files that end in {', '.join(sorted(IMAGE_SUFFIXES))}"
_OTHER_IMAGES: Final = frozenset(
    f".{ending}"
    for ending in (
        *("avif", "bif", "cr2", "czi", "dcm", "dib", "dicom", "dng", "gif", "heic", "heif", "j2k", "jfif", "jp2"),
        *("jpe", "jpx", "jxl", "lif", "mrxs", "nd2", "ndpi", "nef", "pgm", "ppm", "psd", "scn", "svs", "tga", "vms"),
        *("vsi", "webp"),
    )
)
UNFINISHED: Final = ".tmp"
_DEVICES: Final = ("/dev/", "/proc/")


class Problem(NamedTuple):
    """Something below a folder that is left out although it may have images, and why, in a sentence."""

    path: Path
    reason: str


class Found(NamedTuple):
    """What is below a folder.

    Attributes:
        images: files by their ending, sorted; a link whose target is missing is one, and cannot be read.
        problems: folders that cannot be listed, images of a type that is not taken, pipes and devices.
        others: how many files of each other ending were passed over.
    """

    images: list[Path]
    problems: list[Problem]
    others: Counter[str]


def image_files(folder: Path) -> Found:
    """Every image below ``folder``, links to folders included.

    Each real folder is visited once, under its own name rather than a link's, so that a link to a folder above gives
    nothing twice. Hidden files and folders are left out: ``._cell.jpg`` is macOS's, not a cell.
    """
    found = Found([], [], Counter())
    visited: set[tuple[int, int]] = set()

    def cannot_list(error: OSError) -> None:
        found.problems.append(Problem(Path(error.filename), f"The folder cannot be listed: {error.strerror}."))

    starts = deque([folder])
    while starts:
        for root, folders, names in os.walk(starts.popleft(), onerror=cannot_list):
            here = Path(root)
            try:
                about = here.stat()
            except OSError as error:
                cannot_list(error)
                continue
            if (about.st_dev, about.st_ino) in visited:
                folders.clear()
                continue
            visited.add((about.st_dev, about.st_ino))
            folders[:] = sorted(name for name in folders if not name.startswith("."))
            starts.extend(here / name for name in folders if (here / name).is_symlink())
            for name in names:
                if not name.startswith("."):
                    _sort_in(here / name, found)
    found.images.sort()
    found.problems.sort()
    return found


def _sort_in(path: Path, found: Found) -> None:
    suffix = path.suffix.lower()
    if suffix in _OTHER_IMAGES:
        found.problems.append(Problem(path, f"Images of this type are not taken; {EXPECTED}."))
    elif suffix not in IMAGE_SUFFIXES:
        found.others[suffix] += 1
    elif _is_special(path):
        found.problems.append(Problem(path, "It is a pipe, a socket or a device, expected a regular file."))
    else:
        found.images.append(path)


def _is_special(path: Path) -> bool:
    try:
        return not stat.S_ISREG(path.stat().st_mode)
    except OSError:
        return False


@contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """Gives the name of a file to write, which takes the place of ``path`` at once when the block ends well.

    Where ``path`` is a link, the file that it points to is replaced. What is no regular file (``/dev/stdout``, a
    device, a pipe) cannot be replaced: its own name is given, and it is written straight.
    """
    if _is_special(path) or str(path).startswith(_DEVICES):
        yield path
        return
    target = path.resolve()
    unfinished = target.with_name(target.name + UNFINISHED)
    try:
        yield unfinished
        with unfinished.open("rb") as stream:
            os.fsync(stream.fileno())
        unfinished.replace(target)
    finally:
        unfinished.unlink(missing_ok=True)


def write_text(path: Path, text: str) -> None:
    """Write a UTF-8 file whole or not at all."""
    with replacing(path) as unfinished:
        unfinished.write_text(text, encoding="utf-8")
