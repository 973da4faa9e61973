"""``hal data check``: everything that is wrong with labelled images, at once and before any training."""

from collections import Counter
from collections.abc import Callable, Collection, Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Final

from contract.classes import CLASS_NAMES
from training.data import manifest
from training.data.contents import COLUMN, content_hashes, identities, stating_pixels
from training.data.findings import Finding, Findings, Kind
from training.data.images import decode_all, unopenable
from training.data.manifest import LabelledImage, Reading
from training.data.overlap import OF_PIXELS, crossings, has_slide
from training.data.selection import select

FEW_IMAGES: Final = 10


def check(
    data: Path | Sequence[LabelledImage],
    *,
    decode: bool | Callable[[Sequence[LabelledImage]], Sequence[LabelledImage]] = False,
    shared_slides: bool = False,
    exclusions: Sequence[str] = (),
    cap: int | None = None,
    seed: int = 0,
    look_alike_sources: Collection[str] = (),
) -> Findings:
    """Look at a manifest, or at images that were read already, and go on after every error.

    Args:
        decode: decode every image as training would, or those that a function chooses of the images in use; without
            it only labels, files, contents, slides and splits are looked at.
        shared_slides: a slide or patient in several splits is only a warning, as it must be for the thesis's split by
            image.

    Returns:
        What was found; its images carry their SHA-256 (:data:`training.data.contents.COLUMN`), and that of their
        pixels if they were decoded.

    Raises:
        ManifestError: the manifest cannot be read at all.
    """
    reading = manifest.examine(data) if isinstance(data, Path) else _read_before(data)
    closed = unopenable(image.path for image in reading.images)
    opened = [image for image in reading.images if image.path not in closed]
    content_hash = content_hashes(image.path for image in opened)
    selection = select(opened, content_hash, exclusions, cap, seed)
    images = selection.images
    meant = [*images, *(item.image for item in reading.dropped)]

    errors = [Finding(Kind.MANIFEST, problem) for problem in reading.problems]
    errors += [Finding(Kind.UNREADABLE, message) for message in closed.values()]
    if decode:
        decoded = decode(images) if callable(decode) else images
        told = decode_all(image.path for image in decoded)
        errors += [Finding(Kind.UNREADABLE, message) for message in told.complaints.values()]
        images = stating_pixels(images, told.pixels)
    warnings = [Finding(Kind.UNMATCHED_EXCLUSION, entry) for entry in selection.unmatched]
    conflicts, repeated = _duplicates(images, content_hash)
    errors += conflicts
    warnings += repeated
    for crossing in crossings(images, content_hash):
        kind = Kind.CONTENT_IN_SPLITS if crossing.bond in OF_PIXELS else Kind.SLIDE_IN_SPLITS
        tolerated = shared_slides and kind is Kind.SLIDE_IN_SPLITS
        (warnings if tolerated else errors).append(Finding(kind, str(crossing)))
    errors += _empty_classes(images, meant)
    warnings += _warnings(images)
    dropped = (*reading.dropped, *selection.dropped)
    hashed = tuple(replace(image, extra=image.extra | {COLUMN: content_hash(image.path)}) for image in images)
    return Findings(tuple(errors), tuple(warnings), dropped, hashed, frozenset(look_alike_sources))


def _read_before(images: Sequence[LabelledImage]) -> Reading:
    missing = {image.path for image in images if not image.path.is_file()}
    problems = [f"no image at {path}" for path in sorted(missing)]
    return Reading([image for image in images if image.path not in missing], [], problems)


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
            yield Finding(
                Kind.EMPTY_CLASS, f"{label}: no training image ({why}); add some, or exclude every image of the class"
            )


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
