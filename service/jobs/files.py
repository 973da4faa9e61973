"""Files on this machine: which images were named, their bytes, and a lock for what is written."""

import errno
import sys
from collections import Counter
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any, Final

from contract.files import EXPECTED, Found, Problem, image_files
from service.jobs.exit_codes import JobError
from service.jobs.records import refusal

UNREADABLE: Final = "unreadable_file"
TOO_LARGE: Final = "image_too_large"


@dataclass(frozen=True, slots=True)
class ImageFile:
    """A file as it was found; ``path`` as the user wrote it, with ``/``; ``bytes`` is -1 if it cannot be looked at."""

    path: str
    bytes: int
    mtime_ns: int

    @classmethod
    def at(cls, path: Path) -> "ImageFile":
        try:
            found = path.stat()
        except OSError:
            return cls(path.as_posix(), -1, 0)
        return cls(path.as_posix(), found.st_size, found.st_mtime_ns)


def find(paths: Iterable[Path]) -> Found:
    """The files that are named, whatever they are, and all images in the folders that are, by name; each once.

    Raises:
        JobError: a path does not exist, or there is no image at all.
    """
    named = {path: path.exists() for path in paths}
    found = join(image_files(path) if path.is_dir() else Found([path], [], Counter()) for path in named)
    check(named, found.images, found.problems)
    return found


def join(parts: Iterable[Found]) -> Found:
    """Several as one, each image once."""
    images: dict[Path, None] = {}
    problems: dict[Problem, None] = {}
    others: Counter[str] = Counter()
    for part in parts:
        images |= dict.fromkeys(part.images)
        problems |= dict.fromkeys(part.problems)
        others += part.others
    return Found([*images], [*problems], others)


def check(named: Mapping[Any, bool], found: Collection[Any], problems: Iterable[Problem]) -> None:
    """Raise :class:`JobError` if something that was named is not there, or there is no image in any of it."""
    if missing := [str(name) for name, there in named.items() if not there]:
        raise JobError(f"there is no {', no '.join(missing)}; name files or folders of images")
    if not found:
        why = "".join(f"\n  {path}: {reason}" for path, reason in problems)
        raise JobError(f"no image in {', '.join(map(str, named))}; {EXPECTED}{why}")


def read(file: ImageFile, most_bytes: int) -> bytes | dict[str, Any]:
    """The bytes of a file, or its refusal: it cannot be read, or has more than ``most_bytes``."""
    if file.bytes > most_bytes:
        return refusal(
            TOO_LARGE,
            f"The image has {file.bytes} bytes, at most {most_bytes} are accepted (HAL_MAX_IMAGE_BYTES); "
            "send one cell, not a whole field of view.",
        )
    try:
        with Path(file.path).open("rb") as stream:
            return stream.read(most_bytes + 1)
    except OSError as error:
        return unreadable(error)


def unreadable(error: OSError) -> dict[str, Any]:
    return refusal(UNREADABLE, f"The file cannot be read: {error.strerror or error}.")


def lock(stream: IO[Any], path: Path, command: str) -> None:
    """Hold a file until it is closed or the process ends, so that nobody else writes ``path``; or :class:`JobError`."""
    if sys.platform == "win32":
        return
    import fcntl

    try:
        fcntl.flock(stream, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        if error.errno in (errno.EWOULDBLOCK, errno.EACCES):
            raise JobError(f"another '{command}' is writing {path}; wait for it, or stop it") from None
        raise JobError(
            f"{path} cannot be locked: {error.strerror}. Its file system has no file locks, so that two runs could mix "
            "their results; choose an --out on a local disk and copy it afterwards"
        ) from error
