"""The data manifest: a CSV file with one labelled image a row."""

import csv
import difflib
import hashlib
import os
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Final

import numpy as np

from contract.classes import BY_NAME, CLASS_NAMES
from training.errors import TrainingError

COLUMNS: Final = ("path", "label", "slide_id", "source", "split")
SPLITS: Final = ("train", "val", "test")


class ManifestError(TrainingError):
    """A manifest cannot be used; ``problems`` lists every offending row."""

    def __init__(self, what: str, problems: Iterable[str]) -> None:
        self.problems = tuple(problems)
        shown = "\n".join(f"  - {problem}" for problem in self.problems[:50])
        more = f"\n  ... and {len(self.problems) - 50} more" if len(self.problems) > 50 else ""
        super().__init__(f"{what}:\n{shown}{more}")


@dataclass(frozen=True, slots=True)
class LabelledImage:
    """One row: an image, its expert label and where it comes from.

    Attributes:
        path: the image file.
        label: a class name of :data:`contract.classes.CLASS_NAMES`.
        slide_id: slide or patient; empty where unknown.
        source: the data set.
        split: ``train``, ``val``, ``test``, or empty before splitting.
        extra: every other column, kept as it was.
    """

    path: Path
    label: str
    slide_id: str
    source: str
    split: str
    extra: dict[str, str] = field(default_factory=dict)

    @property
    def class_index(self) -> int:
        """Position of the label among the 20 classes."""
        return BY_NAME[self.label].index


def read(path: Path) -> list[LabelledImage]:
    """Read a manifest; relative image paths are relative to the manifest's folder.

    Raises:
        ManifestError: missing columns, unknown labels (the nearest is suggested), unknown splits or missing files;
            all of them are listed.
    """
    try:
        with path.open(newline="", encoding="utf-8-sig") as stream:
            reader = csv.DictReader(stream)
            header = reader.fieldnames or ()
            rows = list(reader)
    except OSError as error:
        raise ManifestError("the manifest cannot be read", [str(error)]) from error
    if missing := [column for column in COLUMNS if column not in header]:
        raise ManifestError(
            f"{path} lacks columns", [f"{column!r} is missing among {list(header)}" for column in missing]
        )
    problems: list[str] = []
    images = []
    for line, row in enumerate(rows, start=2):
        image = path.parent / row["path"]
        problems += [f"line {line}: {problem}" for problem in _row_problems(row, image)]
        extra = {name: value or "" for name, value in row.items() if name not in COLUMNS and name is not None}
        images.append(LabelledImage(image, row["label"], row["slide_id"] or "", row["source"], row["split"], extra))
    if not images:
        problems.append("no rows below the header")
    if problems:
        raise ManifestError(f"{path} has rows that cannot be used", problems)
    return images


def _row_problems(row: dict[str, str], image: Path) -> Iterable[str]:
    if row["label"] not in BY_NAME:
        nearest = difflib.get_close_matches(row["label"] or "", CLASS_NAMES, n=1, cutoff=0.5)
        hint = f"did you mean {nearest[0]!r}?" if nearest else f"expected one of {', '.join(CLASS_NAMES)}"
        yield f"unknown label {row['label']!r}; {hint}"
    if row["split"] not in ("", *SPLITS):
        yield f"unknown split {row['split']!r}; expected one of {', '.join(SPLITS)} or nothing"
    if not image.is_file():
        yield f"no image at {image}"


def write(path: Path, images: Sequence[LabelledImage]) -> None:
    """Write a manifest with image paths relative to its folder."""
    extra = list(dict.fromkeys(name for image in images for name in image.extra))
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(path.name + ".part")
    with partial.open("w", newline="", encoding="utf-8") as stream:
        writer = csv.writer(stream, lineterminator="\n")
        writer.writerow([*COLUMNS, *extra])
        for image in images:
            relative = Path(os.path.relpath(image.path.resolve(), path.parent.resolve())).as_posix()
            fixed = [relative, image.label, image.slide_id, image.source, image.split]
            writer.writerow(fixed + [image.extra.get(name, "") for name in extra])
    partial.replace(path)


def fingerprint(images: Iterable[LabelledImage], content_hash: Callable[[Path], str]) -> str:
    """SHA-256 of what the manifest says whatever folder it lies in: each image's content, label, source and split."""
    lines = sorted(f"{content_hash(i.path)} {i.label} {i.slide_id} {i.source} {i.split}" for i in images)
    return hashlib.sha256("\n".join(lines).encode()).hexdigest()


@dataclass(frozen=True, slots=True)
class Deduplicated:
    """Images of which no two have the same bytes, and what was left out."""

    images: list[LabelledImage]
    repeated: list[Path]
    conflicting: list[Path]


def deduplicate(images: Sequence[LabelledImage], content_hash: Callable[[Path], str]) -> Deduplicated:
    """Keep one of each group of byte-identical images; none of a group whose labels disagree."""
    groups: dict[str, list[LabelledImage]] = {}
    for image in images:
        groups.setdefault(content_hash(image.path), []).append(image)
    kept, repeated, conflicting = [], [], []
    for group in groups.values():
        if len({image.label for image in group}) > 1:
            conflicting += [image.path for image in group]
        else:
            kept.append(group[0])
            repeated += [image.path for image in group[1:]]
    return Deduplicated(kept, repeated, conflicting)


def split(
    images: Sequence[LabelledImage], validation_share: float, seed: int, content_hash: Callable[[Path], str]
) -> list[LabelledImage]:
    """The thesis's seeded image split (section 4.1.1), within each class and source.

    The order before the shuffle is that of the contents, so that the split depends on the images and the seed and on
    nothing else. Rows that have a split keep it. Where slides are known, a split by slide is the honest one.

    Raises:
        ValueError: the share is not between 0 and 1.
    """
    if not 0 < validation_share < 1:
        raise ValueError(f"validation share is {validation_share}, expected a value between 0 and 1, such as 0.2")
    strata: dict[tuple[str, str], list[LabelledImage]] = {}
    done = [image for image in images if image.split]
    for image in images:
        if not image.split:
            strata.setdefault((image.label, image.source), []).append(image)
    for position, key in enumerate(sorted(strata)):
        members = sorted(strata[key], key=lambda image: content_hash(image.path))
        order = np.random.default_rng([seed, position]).permutation(len(members))
        validation = set(order[: round(len(members) * validation_share)].tolist())
        done += [replace(image, split="val" if index in validation else "train") for index, image in enumerate(members)]
    return done


def counts(images: Iterable[LabelledImage]) -> Counter[tuple[str, str]]:
    """Number of images by (label, split)."""
    return Counter((image.label, image.split) for image in images)
