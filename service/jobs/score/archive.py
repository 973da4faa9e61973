"""The images of an archive: folders, patterns and lists of paths, on this machine or behind URLs that fsspec reads."""

import glob
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path, PurePosixPath
from typing import Any, Final

import fsspec
import pyarrow
import pyarrow.csv
import pyarrow.parquet

from contract.files import IMAGE_SUFFIXES, Found, image_files
from service.jobs.exit_codes import JobError
from service.jobs.files import ImageFile, check, join, read, unreadable

LISTS: Final = frozenset({".csv", ".parquet"})
COLUMN: Final = "path"
_READS_AT_ONCE: Final = 16
"""Of one group of images behind URLs: an object store takes tens of milliseconds for each."""


def is_url(path: str) -> bool:
    """Whether a path is for fsspec: ``s3://...``, ``gs://...``, ``https://...``."""
    return "://" in path


def find(arguments: Sequence[str]) -> tuple[list[str], Found]:
    """All images that are named, sorted, each once, so that the same archive is always the same list.

    An argument is a folder (all images below it), a pattern with ``*``, a list of paths (``.csv`` or ``.parquet`` with
    a column ``path``; relative ones are relative to the list) or an image. Gives also what was found in folders here.

    Raises:
        JobError: an argument is not there or cannot be read, or there is no image at all.
    """
    named = {argument: _named(argument) for argument in arguments}
    here = join(found for found in named.values() if isinstance(found, Found))
    there = {path for found in named.values() if isinstance(found, list) for path in found}
    paths = sorted(there.union(path.as_posix() for path in here.images))
    check({argument: found is not None for argument, found in named.items()}, paths, here.problems)
    return paths, here


def read_all(files: Sequence[ImageFile], most_bytes: int) -> list[bytes | dict[str, Any]]:
    """The bytes of each file, on disk or behind a URL, or its refusal."""
    with ThreadPoolExecutor(_READS_AT_ONCE) as pool:
        fetched = pool.map(_fetch, [file.path for file in files if is_url(file.path)])
        return [next(fetched) if is_url(file.path) else read(file, most_bytes) for file in files]


def _fetch(url: str) -> bytes | dict[str, Any]:
    try:
        system, path = fsspec.core.url_to_fs(url)
        return bytes(system.cat_file(path))
    except OSError as error:
        return unreadable(error)
    except Exception as error:
        # Each kind of storage has errors of its own.
        return unreadable(OSError(f"{type(error).__name__}: {error}"))


def _named(argument: str) -> Found | list[str] | None:
    """The images that an argument names; ``None`` if it is not there."""
    try:
        if PurePosixPath(argument).suffix.lower() in LISTS:
            return _listed(argument)
        return _behind_url(argument) if is_url(argument) else _on_disk(argument)
    except FileNotFoundError:
        return None
    except JobError:
        raise
    except Exception as error:
        # An unknown protocol, a library that is not installed, a refusal of the storage.
        raise JobError(f"{argument} cannot be read: {type(error).__name__}: {error}") from error


def _on_disk(argument: str) -> Found | None:
    paths = [Path(argument)]
    if not paths[0].exists():
        paths = [Path(name) for name in glob.iglob(argument, recursive=True)]  # noqa: PTH207 - of a whole path
    parts = (image_files(path) if path.is_dir() else Found([path], [], Counter()) for path in paths)
    return join(parts) if paths else None


def _behind_url(argument: str) -> list[str] | None:
    system, root = fsspec.core.url_to_fs(argument)
    if glob.has_magic(argument):
        found: dict[str, Any] = system.glob(root, detail=True)
    else:
        found = {root: {"type": "file" if system.isfile(root) else "directory"}}
    names = [
        name
        for path, about in found.items()
        for name in (_below(system, path) if about["type"] == "directory" else [path])
    ]
    return [system.unstrip_protocol(name) for name in names] or None


def _below(system: Any, folder: str) -> Iterator[str]:
    for name in system.find(folder):
        below = PurePosixPath(name.removeprefix(folder))
        if below.suffix.lower() in IMAGE_SUFFIXES and not any(part.startswith(".") for part in below.parts):
            yield name


def _listed(argument: str) -> list[str]:
    with fsspec.open(argument, "rb") as stream:
        try:
            if argument.lower().endswith(".parquet"):
                table = pyarrow.parquet.read_table(stream, columns=[COLUMN])
            else:
                as_text = pyarrow.csv.ConvertOptions(include_columns=[COLUMN], column_types={COLUMN: pyarrow.string()})
                table = pyarrow.csv.read_csv(stream, convert_options=as_text)
            paths = table.column(COLUMN).to_pylist()
        except (pyarrow.ArrowInvalid, KeyError) as error:
            raise JobError(
                f"{argument} is not a list of images: {error}. Expected a .csv (UTF-8) or .parquet with a column "
                f"{COLUMN!r}"
            ) from error
    if empty := sum(not path for path in paths):
        raise JobError(f"{argument}: {empty} of {len(paths)} rows have no {COLUMN}; remove them")
    folder = argument.rpartition("/")[0]
    return [path if not folder or is_url(path) or path.startswith("/") else f"{folder}/{path}" for path in paths]


def any_relative(paths: Iterable[str]) -> bool:
    """Whether a path depends on the working directory."""
    return not all(is_url(path) or path.startswith("/") for path in paths)
