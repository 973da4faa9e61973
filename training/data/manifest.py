"""The data manifest: a CSV file with one labelled image a row."""

import csv
import difflib
import hashlib
import os
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Final

from contract.classes import BY_NAME, CLASS_NAMES
from contract.files import replacing
from training.data import experts
from training.errors import TrainingError

COLUMNS: Final = ("path", "label", "slide_id", "source", "split")
SPLITS: Final = ("train", "val", "test")
SHOWN: Final = 50


class ManifestError(TrainingError):
    """A manifest cannot be used; ``problems`` lists every offending row."""

    def __init__(self, what: str, problems: Iterable[str]) -> None:
        self.problems = tuple(problems)
        shown = "\n".join(f"  - {problem}" for problem in self.problems[:SHOWN])
        more = f"\n  ... and {len(self.problems) - SHOWN} more" if len(self.problems) > SHOWN else ""
        super().__init__(f"{what}:\n{shown}{more}")


@dataclass(frozen=True, slots=True)
class LabelledImage:
    """One row: an image, its expert label and where it comes from.

    Attributes:
        label: a class name of :data:`contract.classes.CLASS_NAMES`.
        slide_id: slide or patient, unique within the source; empty where unknown.
        source: the data set.
        split: ``train``, ``val``, ``test``, or empty before splitting.
        extra: every other column, kept as it was. Known ones: ``expert_labels`` (:mod:`training.data.experts`),
            ``patient_id`` (:mod:`training.data.overlap`), ``look_alike`` (:mod:`training.data.sets`), ``evidence``,
            ``sha256`` (:mod:`training.data.contents`).
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


@dataclass(frozen=True, slots=True)
class Dropped:
    """An image that is left out, and why; its label is empty where the experts gave none together."""

    image: LabelledImage
    reason: str


@dataclass(frozen=True, slots=True)
class Reading:
    """Usable images, rows left out by the rule of :mod:`training.data.experts`, and what is wrong with all others."""

    images: list[LabelledImage]
    dropped: list[Dropped]
    problems: list[str]


def read(path: Path) -> list[LabelledImage]:
    """The usable images of a manifest; relative image paths are relative to the manifest's folder.

    Images whose experts disagree or are too few are left out; ``hal data check`` names them.

    Raises:
        ManifestError: missing columns, unknown labels (the nearest is suggested), unknown splits, contradictory labels
            or missing files; all of them are listed.
    """
    return usable(path)[0]


def usable(path: Path) -> tuple[list[LabelledImage], list[Dropped]]:
    """What :func:`read` gives, and what it leaves out. Raises ManifestError: as that."""
    reading = examine(path)
    if reading.problems:
        raise ManifestError(f"{path} cannot be used", reading.problems)
    return reading.images, reading.dropped


def examine(path: Path) -> Reading:
    """Read a manifest and go on after every problem, so that all can be reported at once.

    Raises:
        ManifestError: the file cannot be read at all.
    """
    header, rows = _rows(path)
    images: list[LabelledImage] = []
    dropped: list[Dropped] = []
    problems = [f"column {name!r} is missing among {header}" for name in COLUMNS if name not in header]
    problems += [f"column {name!r} occurs twice" for name, count in Counter(header).items() if count > 1]
    if not rows:
        problems.append("no rows below the header")
    wrong_lines: dict[str, list[int]] = {}
    for line, row in enumerate(rows, start=2):
        image = image_of(path.parent, row)
        if wrong := list(_problems(header, row, image)):
            for problem in wrong:
                wrong_lines.setdefault(problem, []).append(line)
        elif (agreement := _agreement(image)).reason:
            dropped.append(Dropped(image, agreement.reason))
        elif "path" in header and "label" in header:
            images.append(replace(image, label=agreement.label))
    problems += [f"{_in_lines(lines)}: {problem}" for problem, lines in wrong_lines.items()]
    return Reading(images, dropped, problems)


def _in_lines(lines: Sequence[int]) -> str:
    """One misspelt label in a thousand lines is one problem."""
    if len(lines) == 1:
        return f"line {lines[0]}"
    named = ", ".join(map(str, lines[:3])) + (" ..." if len(lines) > 3 else "")
    return f"{len(lines)} lines ({named})"


def _rows(path: Path) -> tuple[list[str], list[dict[str | None, str]]]:
    if not path.exists():
        raise ManifestError(
            f"there is no manifest {path}",
            ["write one from folders of images with 'hal data prepare', or name another"],
        )
    if path.is_dir():
        raise ManifestError(
            f"{path} is a folder, not a manifest",
            [f"write one with 'hal data prepare --preset folder={path} --out manifest.csv' (see its --help)"],
        )
    try:
        # A file's name may be of any bytes; all else is UTF-8.
        with path.open(newline="", encoding="utf-8-sig", errors="surrogateescape") as stream:
            reader: csv.DictReader[str] = csv.DictReader(stream, restval="")
            header = list(reader.fieldnames or ())
            rows = list(reader)
        for row in [dict.fromkeys(header, ""), *rows]:
            for name, value in row.items():
                if name != "path":
                    f"{name}{value}".encode()
        return header, rows
    except (OSError, UnicodeError, csv.Error) as error:
        raise ManifestError("the manifest cannot be read as CSV in UTF-8", [f"{path}: {error}"]) from error


def image_of(folder: Path, row: Mapping[Any, str]) -> LabelledImage:
    """The image that a row of a manifest names; ``folder`` is the manifest's."""
    path, label, slide_id, source, split = (row.get(name, "") for name in COLUMNS)
    extra = {name: value for name, value in row.items() if name is not None and name not in COLUMNS}
    return LabelledImage(folder / path if path else Path(), label, slide_id, source, split, extra)


def _agreement(image: LabelledImage) -> experts.Agreement:
    if experts.COLUMN not in image.extra:
        return experts.Agreement(image.label)
    return experts.agree(image.label, image.extra[experts.COLUMN], image.split)


def _problems(header: list[str], row: dict[str | None, str], image: LabelledImage) -> Iterator[str]:
    if None in row:
        yield f"{len(row[None])} more fields than the header has columns; quote a field that holds a comma"
    cell = image.extra.get(experts.COLUMN)
    if "label" in header and (image.label or cell is None):
        yield from _unknown_label("label", image.label)
    for label in dict.fromkeys(experts.labels_in(cell or "")):
        yield from _unknown_label("expert label", label)
    agreed = _agreement(image).label
    if image.label and agreed and agreed != image.label:
        yield f"label is {image.label!r} but the experts agree on {agreed!r}; correct one, or leave the label empty"
    if image.split not in ("", *SPLITS):
        yield f"unknown split {image.split!r}; expected one of {', '.join(SPLITS)} or nothing"
    if "path" in header and image.path == Path():
        yield "no path"
    elif "path" in header and not image.path.is_file():
        yield f"no image at {image.path}"


def _unknown_label(what: str, label: str) -> Iterator[str]:
    if label not in BY_NAME:
        yield f"unknown {what} {label!r}; {suggestion(label)}"


def suggestion(label: str) -> str:
    """The nearest class name as a question, or all of them."""
    nearest = difflib.get_close_matches(label, CLASS_NAMES, n=1, cutoff=0.5)
    return f"did you mean {nearest[0]!r}?" if nearest else f"expected one of {', '.join(CLASS_NAMES)}"


def write(path: Path, images: Sequence[LabelledImage]) -> None:
    """Write a manifest atomically, with image paths relative to its folder.

    Raises:
        ManifestError: it cannot be written.
    """
    extra = list(dict.fromkeys(name for image in images for name in image.extra))

    def row(image: LabelledImage) -> list[str]:
        relative = Path(os.path.relpath(image.path.resolve(), path.parent.resolve())).as_posix()
        fixed = [relative, image.label, image.slide_id, image.source, image.split]
        return fixed + [image.extra.get(name, "") for name in extra]

    try:
        write_csv(path, (*COLUMNS, *extra), map(row, images), errors="surrogateescape")
    except OSError as error:
        raise ManifestError("the manifest cannot be written", [f"{path}: {error}"]) from error


def write_csv(
    path: Path, columns: Sequence[str], rows: Iterable[Sequence[Any]], errors: str = "backslashreplace"
) -> None:
    """Write a CSV file atomically, in UTF-8; ``errors`` says what becomes of bytes of file names that are not."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with replacing(path) as partial, partial.open("w", newline="", encoding="utf-8", errors=errors) as stream:
        writer = csv.writer(stream, lineterminator="\n")
        writer.writerow(columns)
        writer.writerows(rows)


def read_csv(path: Path) -> list[dict[str, str]]:
    """The rows of a CSV file in UTF-8 by column; none where there is no such file."""
    if not path.is_file():
        return []
    with path.open(newline="", encoding="utf-8") as stream:
        return list(csv.DictReader(stream))


def fingerprint(images: Iterable[LabelledImage], content_hash: Callable[[Path], str]) -> str:
    """SHA-256 of what the manifest says whatever folder it lies in: each image's content, label, source and split."""
    lines = sorted(f"{content_hash(i.path)} {i.label} {i.slide_id} {i.source} {i.split}" for i in images)
    return hashlib.sha256("\n".join(lines).encode()).hexdigest()


def counts(images: Iterable[LabelledImage]) -> Counter[tuple[str, str]]:
    """Number of images by (label, split)."""
    return Counter((image.label, image.split) for image in images)
