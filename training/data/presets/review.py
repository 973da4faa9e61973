"""Cells that were confirmed on the review page: one or several ``corrections.zip``.

Each archive has ``manifest.csv`` with the columns of :data:`COLUMNS` and the image files that it names. A cell that was
confirmed more than once, told by its SHA-256, counts as in the archive that was exported last.
"""

import csv
import hashlib
import io
import re
import zipfile
import zlib
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Final

from contract.classes import BY_ID
from contract.files import EXPECTED, IMAGE_SUFFIXES
from training.data.images import MOST_BYTES as MOST_BYTES_OF_IMAGE
from training.data.manifest import LabelledImage, ManifestError
from training.data.presets.base import Preset, Skipped

NAME: Final = "review"
MANIFEST: Final = "manifest.csv"
COLUMNS: Final = ("image", "label", "predicted", "confidence", "reviewer", "slide_id", "sha256", "source", "model")
"""``image`` is a path in the archive; ``label`` and ``predicted`` are class ids; ``model`` is its name, version and
SHA-256."""
KEPT_COLUMNS: Final = ("predicted", "confidence", "reviewer", "model")
"""Of the archive, in the manifest that is written."""
MOST_FILES: Final = 100_000
MOST_BYTES: Final = 1 << 32
"""Of all files of an archive together, unpacked."""
_UNREADABLE: Final = (OSError, EOFError, zipfile.BadZipFile, zlib.error, NotImplementedError, RuntimeError, ValueError)
_SHA256: Final = re.compile(r"[0-9a-f]{64}")


@dataclass(frozen=True, slots=True)
class Confirmed:
    """One row of an archive whose image is the one that the row names."""

    archive: Path
    entry: zipfile.ZipInfo
    exported: tuple[int, ...]
    row: dict[str, str]

    def __str__(self) -> str:
        return f"{self.row['label']!r} by {self.row['reviewer'] or 'nobody named'} in {self.archive.name}"


@dataclass(frozen=True, kw_only=True)
class _Review(Preset):
    archives: tuple[Path, ...]

    def rows(self, folder: Path) -> Iterator[LabelledImage | Skipped]:
        """The last word on every cell, and what it overruled; images are unpacked into ``folder`` by their SHA-256."""
        cells: list[Confirmed] = []
        problems: list[str] = []
        for path in self.archives:
            try:
                with zipfile.ZipFile(path) as archive:
                    found, wrong = _cells(path, archive)
            except _UNREADABLE as error:
                found, wrong = [], [f"cannot be read as a ZIP archive: {error}"]
            cells += found
            problems += [f"{path.name}: {problem}" for problem in wrong]
        if problems:
            raise ManifestError("the corrections cannot be used; export them again from the review page", problems)
        last = {cell.row["sha256"]: cell for cell in sorted(cells, key=lambda cell: cell.exported)}
        for cell in cells:
            final = last[cell.row["sha256"]]
            if cell is not final:
                yield Skipped(_unpacked(folder, cell), _overruled(cell, final))
        folder.mkdir(parents=True, exist_ok=True)
        with ExitStack() as stack:
            opened = {path: stack.enter_context(zipfile.ZipFile(path)) for path in self.archives}
            for cell in last.values():
                content, path = opened[cell.archive].read(cell.entry), _unpacked(folder, cell)
                if not path.is_file() or path.stat().st_size != len(content):
                    path.write_bytes(content)
                told = {"evidence": "real", **{name: cell.row[name] for name in KEPT_COLUMNS}}
                label, source = BY_ID[cell.row["label"]].name, cell.row["source"] or NAME
                yield LabelledImage(path, label, cell.row["slide_id"], source, "", told)


def preset(archives: Sequence[Path]) -> Preset:
    return _Review(name=NAME, archives=tuple(archives))


def _overruled(cell: Confirmed, final: Confirmed) -> str:
    if cell.row["label"] == final.row["label"]:
        return "confirmed again later with the same class"
    return f"conflict: cell {cell.row['sha256'][:12]} is {cell}, later {final}"


def _unpacked(folder: Path, cell: Confirmed) -> Path:
    """No name of the archive becomes one of this machine."""
    return folder / (cell.row["sha256"] + PurePosixPath(cell.row["image"]).suffix.lower())


def _cells(path: Path, archive: zipfile.ZipFile) -> tuple[list[Confirmed], list[str]]:
    files = archive.infolist()
    unpacked = [file.file_size for file in files]
    if len(files) > MOST_FILES or sum(unpacked) > MOST_BYTES or max(unpacked, default=0) > MOST_BYTES_OF_IMAGE:
        return [], [
            f"{len(files)} files of {sum(unpacked)} bytes, the largest of {max(unpacked)}; at most {MOST_FILES} files, "
            f"{MOST_BYTES} bytes and {MOST_BYTES_OF_IMAGE} bytes a file are unpacked"
        ]
    entries = _entries(files)
    if (manifest := entries.get(MANIFEST)) is None:
        return [], [f"no {MANIFEST} in it; expected what the review page exports as corrections.zip"]
    try:
        reader = csv.DictReader(io.StringIO(archive.read(manifest).decode("utf-8-sig"), newline=""), restval="")
        rows = list(reader)
    except (UnicodeDecodeError, csv.Error) as error:
        return [], [f"{MANIFEST} cannot be read as CSV in UTF-8: {error}"]
    if missing := [name for name in COLUMNS if name not in (reader.fieldnames or ())]:
        return [], [f"{MANIFEST} has no column {', '.join(missing)}"]
    if not rows:
        return [], [f"{MANIFEST} has no row: no cell was confirmed"]
    problems = [
        f"{MANIFEST}, line {line}: {problem}"
        for line, row in enumerate(rows, start=2)
        for problem in _problems(archive, entries, row)
    ]
    if problems:
        return [], problems
    return [Confirmed(path, entries[row["image"]], manifest.date_time, row) for row in rows], []


def _entries(files: Sequence[zipfile.ZipInfo]) -> dict[str, zipfile.ZipInfo]:
    """By path as exported. Safari unpacks what it downloads; packing it again adds a folder, on Windows ``\\`` too."""
    named = {file.filename.replace("\\", "/"): file for file in files}
    above = {name.removesuffix(MANIFEST) for name in named if PurePosixPath(name).name == MANIFEST}
    folder = above.pop() if len(above) == 1 else ""
    return {name.removeprefix(folder): file for name, file in named.items() if name.startswith(folder)}


def _problems(archive: zipfile.ZipFile, entries: dict[str, zipfile.ZipInfo], row: dict[str, str]) -> Iterator[str]:
    if None in row:
        yield "more fields than the header has columns"
    for column in ("label", "predicted"):
        if row[column] not in BY_ID and (row[column] or column == "label"):
            yield f"{column} {row[column]!r} is no class id, such as 'band-neutrophil'"
    image = PurePosixPath(row["image"])
    if image.is_absolute() or ".." in image.parts or "\\" in row["image"] or ":" in row["image"]:
        yield f"image {row['image']!r} leaves the archive"
    elif image.suffix.lower() not in IMAGE_SUFFIXES:
        yield f"image {row['image']!r}: {EXPECTED}"
    elif row["image"] not in entries:
        yield f"image {row['image']!r} is not in the archive"
    elif not _SHA256.fullmatch(row["sha256"]):
        yield f"sha256 {row['sha256']!r}, expected 64 hexadecimal digits in lower case"
    else:
        try:
            found = hashlib.sha256(archive.read(entries[row["image"]])).hexdigest()
        except _UNREADABLE as error:
            yield f"image {row['image']!r} cannot be unpacked: {error}"
        else:
            if found != row["sha256"]:
                yield f"image {row['image']!r} has SHA-256 {found}, the row says {row['sha256']}"
