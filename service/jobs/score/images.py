"""Which images: folders, patterns and lists of paths, on this machine or behind any URL that fsspec reads."""

import glob
import os
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path, PurePosixPath
from typing import Any, Final

import fsspec
import pyarrow
import pyarrow.csv
import pyarrow.parquet

from service.jobs.folders import in_process
from service.jobs.folders.files import SUFFIXES, ImageFile, check_any, check_there, inside
from service.jobs.score.errors import ScoreError

LISTS: Final = frozenset({".csv", ".parquet"})
COLUMN: Final = "path"
_READS_AT_ONCE: Final = 16
"""Of one group of images behind URLs: an object store takes tens of milliseconds for each."""


def is_url(path: str) -> bool:
    """Whether a path is for fsspec: ``s3://...``, ``gs://...``, ``https://...``."""
    return "://" in path


def find(arguments: Sequence[str]) -> list[str]:
    """All images that are named, sorted, each once, so that the same archive is always the same list.

    Args:
        arguments: each a folder (all images below it), a pattern with ``*``, a list of paths (``.csv`` or ``.parquet``
            with a column ``path``; relative ones are relative to the list) or an image.

    Raises:
        ScoreError: an argument cannot be read.
        FoldersError: something that is named is not there, or there is no image at all.
    """
    found: set[str] = set()
    there = {}
    for argument in arguments:
        named = _named(argument)
        there[argument] = named is not None
        found.update(named or ())
    check_there(there)
    check_any(found, arguments)
    return sorted(found)


def read_all(files: Sequence[ImageFile]) -> list[bytes | OSError]:
    """The bytes of each file, on disk or behind a URL, or why there are none."""
    far = [file.path for file in files if is_url(file.path)]
    if not far:
        return in_process.read_all(files)
    with ThreadPoolExecutor(min(_READS_AT_ONCE, len(far))) as pool:
        fetched = pool.map(_fetch, far)
        return [next(fetched) if is_url(file.path) else in_process.read_all([file])[0] for file in files]


def _fetch(url: str) -> bytes | OSError:
    try:
        system, path = fsspec.core.url_to_fs(url)
        return bytes(system.cat_file(path))
    except OSError as error:
        return error
    except Exception as error:
        # Each kind of storage has errors of its own.
        return OSError(f"{type(error).__name__}: {error}")


def _named(argument: str) -> Iterable[str] | None:
    """The images that an argument names; ``None`` if it is not there."""
    try:
        if PurePosixPath(argument).suffix.lower() in LISTS:
            return _listed(argument)
        return _behind_url(argument) if is_url(argument) else _on_disk(argument)
    except FileNotFoundError:
        return None
    except ScoreError:
        raise
    except Exception as error:
        # An unknown protocol, a library that is not installed, a refusal of the storage.
        raise ScoreError(f"{argument} cannot be read: {type(error).__name__}: {error}") from error


def _on_disk(argument: str) -> Iterable[str] | None:
    path = Path(argument)
    if path.is_dir():
        return (image.as_posix() for image in inside(path))
    if path.exists():
        return [path.as_posix()]
    found = [Path(name) for name in glob.iglob(argument, recursive=True)]  # noqa: PTH207 - of a whole path
    if not found:
        return None
    return (image.as_posix() for name in found for image in (inside(name) if name.is_dir() else [name]))


def _behind_url(argument: str) -> Iterable[str] | None:
    system, root = fsspec.core.url_to_fs(argument)
    if glob.has_magic(argument):
        found: dict[str, Any] = system.glob(root, detail=True)
    elif system.isfile(root):
        found = {root: {"type": "file"}}
    else:
        found = {root: {"type": "directory"}}
    names = [
        name
        for path, about in found.items()
        for name in (_below(system, path) if about["type"] == "directory" else [path])
    ]
    return [system.unstrip_protocol(name) for name in names] or None


def _below(system: Any, folder: str) -> Iterator[str]:
    for name in system.find(folder):
        below = PurePosixPath(name.removeprefix(folder))
        if below.suffix.lower() in SUFFIXES and not any(part.startswith(".") for part in below.parts):
            yield name


def _listed(argument: str) -> list[str]:
    with fsspec.open(argument, "rb") as stream:
        try:
            table = _column_of(argument, stream)
        except (pyarrow.ArrowInvalid, KeyError) as error:
            raise ScoreError(
                f"{argument} is not a list of images: {error}. Expected a .csv (UTF-8) or .parquet with a column "
                f"{COLUMN!r}"
            ) from error
    paths = table.column(COLUMN).to_pylist()
    if empty := sum(not path for path in paths):
        raise ScoreError(f"{argument}: {empty} of {len(paths)} rows have no {COLUMN}; remove them")
    folder = argument.rpartition("/")[0]
    return [path if not folder or is_url(path) or path.startswith("/") else f"{folder}/{path}" for path in paths]


def _column_of(argument: str, stream: Any) -> Any:
    if argument.lower().endswith(".parquet"):
        return pyarrow.parquet.read_table(stream, columns=[COLUMN])
    as_text = pyarrow.csv.ConvertOptions(include_columns=[COLUMN], column_types={COLUMN: pyarrow.string()})
    return pyarrow.csv.read_csv(stream, convert_options=as_text)


def folder_of_relative(paths: Iterable[str]) -> str | None:
    """The working directory if any path depends on it."""
    return None if all(is_url(path) or path.startswith("/") for path in paths) else os.getcwd()  # noqa: PTH109
