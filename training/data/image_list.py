"""The list of a bundle's images: by content, so that the same images and split are found again in a fresh download.

Of images that were copied or edited (:mod:`training.composites`) the list names the photograph that each comes from.
"""

import csv
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Final

from training.data.contents import PIXELS_COLUMN
from training.data.manifest import LabelledImage, ManifestError, read_csv, write_csv
from training.data.overlap import PARENT_COLUMN, PARENT_PIXELS_COLUMN, bond_trace, pixels_of

FILE_NAME: Final = "images.csv"
COLUMNS: Final = ("sha256", "name", "label", "slide_id", "source", "split")
LEAST_TELLING: Final = ("", "test", "val", "train")
"""Splits in the order of what a network knows of their images."""
ORIGIN_COLUMNS: Final = ("kind", PARENT_COLUMN, PARENT_PIXELS_COLUMN, PIXELS_COLUMN)
"""``real``, ``composite`` or ``sham`` (an edited control), the photograph it was made of, as a file and as pixels, and
the image's own pixels; those of which an image says something."""


def write(path: Path, images: Sequence[LabelledImage], content_hash: Callable[[Path], str]) -> None:
    """Write a row an image, in the order of their hashes."""
    _write(path, [_row(image, content_hash(image.path), image.path.name) for image in images])


def extend(path: Path, before: Path, images: Sequence[LabelledImage], content_hash: Callable[[Path], str]) -> None:
    """Write the rows of another list, if it exists, and a row an image, whose file's name is not told."""
    digests = [content_hash(image.path) for image in images]
    added = (_row(image, digest, digest[:12]) for image, digest in zip(images, digests, strict=True))
    _write(path, [*read_csv(before), *added])


def _row(image: LabelledImage, digest: str, name: str) -> Mapping[str, str]:
    told = (digest, name, image.label, image.slide_id, image.source, image.split)
    return dict(zip(COLUMNS, told, strict=True)) | {column: image.extra.get(column, "") for column in ORIGIN_COLUMNS}


def _write(path: Path, rows: Sequence[Mapping[str, str]]) -> None:
    columns = [*COLUMNS, *(column for column in ORIGIN_COLUMNS if any(row.get(column) for row in rows))]
    write_csv(path, columns, sorted([row.get(name, "") for name in columns] for row in rows))


def splits(path: Path) -> dict[str, str]:
    """The split by SHA-256 of each listed image and of the photograph that it comes from; nothing without a list.

    What several listed images come from counts as trained on if one of them was, else as validated with if one was.
    """
    found: dict[str, str] = {}
    for row in sorted(read_csv(path), key=lambda row: LEAST_TELLING.index(row["split"])):
        named = (row.get(column) for column in ("sha256", *ORIGIN_COLUMNS[1:]))
        found |= dict.fromkeys((digest for digest in named if digest), row["split"])
    return found


def trained_on(path: Path) -> set[str]:
    """Traces of the listed training images (:func:`training.data.overlap.traces`); none without a list."""
    found = {digest for digest, split in splits(path).items() if split == "train"}
    slides = {(row["source"], row["slide_id"]) for row in read_csv(path) if row["split"] == "train" and row["slide_id"]}
    return found | {bond_trace("slide", source, slide) for source, slide in slides}


def seen_as(image: LabelledImage, digest: str, known: Mapping[str, str]) -> str:
    """The split in which a network knows an image, or a photograph that it comes from; empty where it knows none."""
    found = [known[each] for each in pixels_of(image, digest) if each in known]
    return max(found, key=LEAST_TELLING.index, default="")


def select(path: Path, images: Sequence[LabelledImage], content_hash: Callable[[Path], str]) -> list[LabelledImage]:
    """The images that a list names, with the list's splits; of copies the photographs that they are copies of.

    Composites and edited controls are in no download and are passed over: ``hal composites make`` makes them again.

    Raises:
        ManifestError: the list cannot be read, or listed images are missing or have another label; all are named.
    """
    try:
        with path.open(newline="", encoding="utf-8") as stream:
            reader = csv.DictReader(stream, restval="")
            missing = [column for column in COLUMNS if column not in (reader.fieldnames or ())]
            rows = [row for row in reader if not missing and row.get("kind", "") in ("", "real")]
            listed = {row.get("parent_sha256") or row["sha256"]: row for row in rows}
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise ManifestError("the image list cannot be read", [f"{path}: {error}"]) from error
    if missing:
        raise ManifestError(f"{path} is not the {FILE_NAME} of a bundle", [f"no column {name!r}" for name in missing])
    found = {digest: image for image in images if (digest := content_hash(image.path)) in listed}
    problems = [
        f"{row['name']} of {row['source']} is not there" for digest, row in listed.items() if digest not in found
    ]
    problems += [
        f"{image.path} is labelled {image.label!r}, the list says {listed[digest]['label']!r}"
        for digest, image in found.items()
        if image.label != listed[digest]["label"]
    ]
    if problems:
        raise ManifestError(f"the images are not those of {path}", problems)
    return [replace(image, split=listed[digest]["split"]) for digest, image in found.items()]
