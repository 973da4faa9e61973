"""``hal data check``: everything that is wrong with labelled images, at once and before any training."""

import json
from collections import Counter
from collections.abc import Callable, Collection, Iterator, Sequence
from dataclasses import asdict, dataclass, replace
from enum import StrEnum
from pathlib import Path
from typing import Any, Final

from rich.console import Console

from contract.classes import CLASS_NAMES
from contract.files import write_text
from training.data import manifest
from training.data.contents import COLUMN, content_hashes, identities, stating_pixels
from training.data.images import decode_all, unopenable
from training.data.manifest import SHOWN, SPLITS, Dropped, LabelledImage, ManifestError, counts
from training.data.overlap import OF_PIXELS, crossings, has_slide
from training.data.tables import class_table, dropped_table, set_counts, set_table

FEW_IMAGES: Final = 10
Choosing = Callable[[Sequence[LabelledImage]], Sequence[LabelledImage]]


class Kind(StrEnum):
    """What is wrong, as a heading."""

    MANIFEST = "rows that cannot be used"
    UNREADABLE = "images that cannot be read"
    CONFLICT = "equal images with different labels"
    CONTENT_IN_SPLITS = "equal images in several splits"
    SLIDE_IN_SPLITS = "slides or patients in several splits"
    EMPTY_CLASS = "classes with nothing to learn from"
    REPEATED = "equal images in one split"
    FEW_IMAGES = "classes with few training images"
    ABSENT_CLASS = "classes without any image"
    ONE_SOURCE = "classes of one source only"
    NO_SLIDE = "images without slide or patient"
    NO_SPLIT = "images without a split"
    NO_IMAGES = "splits without images"


@dataclass(frozen=True, slots=True)
class Finding:
    kind: Kind
    message: str


@dataclass(frozen=True, slots=True)
class Findings:
    """The result of :func:`check`: errors that forbid training, warnings, what was left out, and the images in use."""

    errors: tuple[Finding, ...]
    warnings: tuple[Finding, ...]
    dropped: tuple[Dropped, ...]
    images: tuple[LabelledImage, ...]

    def require(self) -> None:
        if self.errors:
            raise ManifestError("the images cannot be trained on", (finding.message for finding in self.errors))


def check(data: Path, decode: Choosing = lambda _: (), *, shared_slides: bool = False) -> Findings:
    """Look at a manifest, and go on after every error; the images found carry their SHA-256 in :data:`COLUMN`.

    Args:
        decode: chooses the images that are decoded as training would; of the others only labels, files, contents,
            slides and splits are looked at.
        shared_slides: a slide or patient in several splits is only a warning, as it must be for the thesis's split by
            image.

    Raises:
        ManifestError: the manifest cannot be read at all.
    """
    reading = manifest.examine(data)
    closed = unopenable(image.path for image in reading.images)
    images = [image for image in reading.images if image.path not in closed]
    content_hash = content_hashes(image.path for image in images)
    complaints, pixels = decode_all(image.path for image in decode(images))
    images = stating_pixels(images, pixels)

    errors = [Finding(Kind.MANIFEST, problem) for problem in reading.problems]
    errors += [Finding(Kind.UNREADABLE, message) for message in (*closed.values(), *complaints.values())]
    conflicts, warnings = _duplicates(images, content_hash)
    errors += conflicts
    for bond, message in crossings(images, content_hash):
        kind = Kind.CONTENT_IN_SPLITS if bond in OF_PIXELS else Kind.SLIDE_IN_SPLITS
        tolerated = shared_slides and kind is Kind.SLIDE_IN_SPLITS
        (warnings if tolerated else errors).append(Finding(kind, message))
    errors += _empty_classes(images, [*images, *(item.image for item in reading.dropped)])
    warnings += _warnings(images)
    hashed = tuple(replace(image, extra=image.extra | {COLUMN: content_hash(image.path)}) for image in images)
    return Findings(tuple(errors), tuple(warnings), tuple(reading.dropped), hashed)


def _duplicates(
    images: Sequence[LabelledImage], content_hash: Callable[[Path], str]
) -> tuple[list[Finding], list[Finding]]:
    """Equal images with different labels, and equal images that are merely there several times in one split."""
    copies: dict[str, list[LabelledImage]] = {}
    identity = identities(images, content_hash)
    for image in images:
        copies.setdefault(identity(image), []).append(image)
    conflicts, repeated = [], []
    for group in copies.values():
        if len({image.label for image in group}) > 1:
            named = ", ".join(f"{image.path} ({image.label})" for image in group)
            conflicts.append(Finding(Kind.CONFLICT, f"{named}: correct the labels or exclude all of them"))
        elif max(Counter(image.split for image in group).values()) > 1:
            named = ", ".join(str(image.path) for image in group)
            repeated.append(Finding(Kind.REPEATED, f"{named}: keep one"))
    return conflicts, repeated


def _empty_classes(images: Sequence[LabelledImage], meant: Sequence[LabelledImage]) -> Iterator[Finding]:
    """Classes that are meant to be used and that training would never see; none where nothing is meant for training."""
    if not any(image.split == "train" for image in meant):
        return
    held_out = Counter(image.label for image in images if image.split in ("val", "test"))
    to_learn = {image.label for image in images if image.split in ("train", "")}
    named = Counter(image.label for image in meant)
    for label in CLASS_NAMES:
        if named[label] and label not in to_learn:
            why = f"{held_out[label]} held out" if held_out[label] else f"all {named[label]} images were left out"
            yield Finding(Kind.EMPTY_CLASS, f"{label}: no training image ({why}); add some, or leave out the class")


def _warnings(images: Sequence[LabelledImage]) -> Iterator[Finding]:
    training = Counter(image.label for image in images if image.split == "train")
    present = {image.label for image in images}
    for label in CLASS_NAMES:
        if 0 < training[label] < FEW_IMAGES:
            yield Finding(Kind.FEW_IMAGES, f"{label}: {training[label]}, too few to learn from; {FEW_IMAGES} or more")
    if absent := [label for label in CLASS_NAMES if label not in present]:
        yield Finding(Kind.ABSENT_CLASS, f"never learned, never answered: {', '.join(absent)}")
    if len({image.source for image in images}) > 1:
        for label in CLASS_NAMES:
            if len(sources := {image.source for image in images if image.label == label}) == 1:
                message = f"{label}: only from {sources.pop()}, whose stain and camera style may then name the class"
                yield Finding(Kind.ONE_SOURCE, message)
    if unknown := sum(not has_slide(image) for image in images):
        message = f"{unknown} of {len(images)}: cells of one patient may train and validate; expect lower figures later"
        yield Finding(Kind.NO_SLIDE, message)
    if unsplit := sum(not image.split for image in images):
        yield Finding(Kind.NO_SPLIT, f"{unsplit} of {len(images)}: 'hal data split' gives them one")
    elif empty := [name for name in ("train", "val") if not any(image.split == name for image in images)]:
        yield Finding(Kind.NO_IMAGES, f"{' and '.join(empty)}: enough to evaluate on, not to train")


def show(findings: Findings, console: Console) -> None:
    """Print tables, what was left out, warnings and errors, in this order, so that the errors stand last."""
    console.print(class_table(findings.images))
    console.print(set_table(findings.images))
    if findings.dropped:
        console.print(dropped_table(findings.dropped))
        _list(console, [f"{item.image.path}: {item.reason}" for item in findings.dropped], "left out")
    for title, style, found in (("Warning", "yellow", findings.warnings), ("Error", "bold red", findings.errors)):
        for kind, number in Counter(finding.kind for finding in found).items():
            console.print(f"{title}: {kind} ({number})", style=style, markup=False, highlight=False)
            _list(console, [finding.message for finding in found if finding.kind is kind], kind)
    verdict = f"{len(findings.errors)} errors, {len(findings.warnings)} warnings, {len(findings.images)} images in use"
    console.print(verdict, style="bold", highlight=False)


def _list(console: Console, lines: Collection[str], what: str) -> None:
    for line in list(lines)[:SHOWN]:
        console.print(f"  - {line}", markup=False, highlight=False, soft_wrap=True)
    if len(lines) > SHOWN:
        console.print(f"  ... and {len(lines) - SHOWN} more {what}; --json lists all", markup=False, highlight=False)


def write_json(findings: Findings, path: Path) -> None:
    """Write errors, warnings, what was left out and the counts of the tables; the file's folder is made if needed.

    Raises:
        ManifestError: it cannot be written.
    """
    by_split, splits = counts(findings.images), (*SPLITS, "")
    content: dict[str, Any] = {
        "ok": not findings.errors,
        "images": len(findings.images),
        "errors": [_named(finding) for finding in findings.errors],
        "warnings": [_named(finding) for finding in findings.warnings],
        "dropped": [
            {"path": str(item.image.path), "label": item.image.label, "split": item.image.split, "reason": item.reason}
            for item in findings.dropped
        ],
        "classes": {label: {split: by_split[label, split] for split in splits} for label in CLASS_NAMES},
        "sets": [
            {"set": name, "source": source, "split": split, "images": number}
            for (name, source, split), number in sorted(set_counts(findings.images).items())
        ],
    }
    # Bytes of a file's name that are no UTF-8 become escapes, which JSON reads back.
    text = json.dumps(content, indent=2, ensure_ascii=False).encode("utf-8", "backslashreplace").decode()
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        write_text(path, text + "\n")
    except OSError as error:
        raise ManifestError("the findings cannot be written", [f"{path}: {error}"]) from error


def _named(finding: Finding) -> dict[str, str]:
    return asdict(finding) | {"kind": finding.kind.name.lower()}
