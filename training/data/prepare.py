"""``hal data prepare`` and ``hal data split``: from downloaded folders, or a manifest, to a manifest with splits."""

from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from rich.console import Console

from training.data import experts, image_list, manifest, presets, splits
from training.data.contents import content_hashes, stating_pixels
from training.data.images import ANALYSER_SCALE, Decoded, decode_all, unopenable
from training.data.manifest import SHOWN, Dropped, LabelledImage, ManifestError
from training.data.overlap import has_slide
from training.data.resample import resample
from training.data.selection import deduplicate, read_exclusions, select
from training.data.selection import exclude as leave_out
from training.data.splits import By
from training.data.tables import class_table, dropped_table


@dataclass(frozen=True, slots=True, kw_only=True)
class Choices:
    """Which images are used and how they are split.

    Attributes:
        validation_share, test_share: of the images without a split.
        by: what stays together; ``None`` for what :func:`training.data.splits.recommended` says.
    """

    validation_share: float = 0.2
    test_share: float = 0.0
    seed: int = 2022
    by: By | None = None
    cap: int | None = None
    exclude: Sequence[Path] = ()


def prepare(
    sources: Iterable[str],
    out: Path,
    choices: Choices,
    *,
    like: Path | None = None,
    mapping: Path | None = None,
    leave_out_unreadable: bool = False,
) -> None:
    """Read the folders, drop what cannot be used and say so, split, and write the manifest.

    Images are decoded as training would. With ``like``, the image list of a bundle, its images and its split are taken
    and nothing is chosen: they need not be decoded, since they were trained on.

    Raises:
        SourceError: an unknown preset, a missing folder, or one without images.
        ManifestError: images cannot be decoded, an image of the list is missing, or the images cannot be split as
            asked.
    """
    images, skipped = presets.read(presets.find(sources, mapping, unpacked=out.with_name(f"{out.stem}-images")))
    closed = unopenable([*(image.path for image in images), *(item.path for item in skipped if item.unreadable)])
    images = [image for image in images if image.path not in closed]
    nameless = [
        LabelledImage(item.path, "", "", "", "") for item in skipped if item.unreadable and item.path not in closed
    ]
    content_hash = content_hashes(image.path for image in [*images, *nameless])
    if like is None:
        # Before equal files are looked for, or files cut to nothing would be taken for copies of one another.
        decoded = _decoded([*images, *nameless], closed, choices, content_hash, leave_out_unreadable)
        images = [image for image in images if image.path not in decoded.complaints]
        images = stating_pixels(images, decoded.pixels)
    unique = deduplicate(images, content_hash)

    for reason, count in Counter(item.reason for item in skipped if not item.unreadable).most_common():
        _say(f"left out {count}: {reason}")
    if unique.repeated:
        _say(f"left out {len(unique.repeated)}: the same image as another")
    if unique.conflicting:
        _say(f"left out {len(unique.conflicting)}: the same image as one with another label")
    if like is None:
        done = _choose_and_split(unique.images, choices, content_hash)
    else:
        done = image_list.select(like, unique.images, content_hash)
    done, hashes = resample(done, out.with_name(f"{out.stem}-images"), content_hash)
    if hashes:
        _say(
            f"resampled {len(hashes)} images to {ANALYSER_SCALE:g} pixels per micrometre, the analyser's scale, into "
            f"{out.stem}-images; nothing is resampled after this, neither in training nor in the service"
        )
    _write(out, done, lambda path: hashes.get(path) or content_hash(path))


def split_manifest(path: Path, out: Path, choices: Choices, afresh: bool = False) -> None:
    """Choose among the images of a manifest, split those without a split, and write another manifest.

    Raises:
        ManifestError: the manifest cannot be used, or not be split as asked.
    """
    reading = manifest.examine(path)
    if reading.problems:
        raise ManifestError(f"{path} cannot be used", reading.problems)
    images, dropped = reading.images, reading.dropped
    if afresh:
        rows = [*images, *(item.image for item in dropped)]
        images, dropped = _agreed([replace(image, split="") for image in rows])
    content_hash = content_hashes(image.path for image in images)
    done = _choose_and_split(images, choices, content_hash, dropped)
    _write(out, done, content_hash)


def release_validation(path: Path, out: Path, share: float, seed: int) -> None:
    """Write a manifest with a share of another's validation images moved to training.

    Raises:
        ManifestError: the manifest cannot be used, or the share moves nothing or everything.
    """
    images = manifest.read(path)
    content_hash = content_hashes(image.path for image in images)
    _write(out, splits.release_validation(images, share, seed, content_hash), content_hash)


def _decoded(
    images: Sequence[LabelledImage],
    closed: Mapping[Path, str],
    choices: Choices,
    content_hash: Callable[[Path], str],
    leave_out_unreadable: bool,
) -> Decoded:
    """Decode all, and name those that cannot be opened or decoded; what an exclusion list names may be anything."""
    meant = leave_out(images, read_exclusions(choices.exclude), content_hash).images
    found = decode_all(image.path for image in meant)
    complaints = {**closed, **found.complaints}
    if complaints and not leave_out_unreadable:
        raise ManifestError(
            f"{len(complaints)} of {len(meant) + len(closed)} images cannot be used; replace or delete the "
            "files, name them in a list for --exclude, or leave out all of them with --leave-out-unreadable",
            complaints.values(),
        )
    if complaints:
        _say(f"left out {len(complaints)}: cannot be used")
        for message in list(complaints.values())[:SHOWN]:
            _say(f"  - {message}")
        if len(complaints) > SHOWN:
            _say(f"  ... and {len(complaints) - SHOWN} more")
    return Decoded(complaints, found.pixels)


def _choose_and_split(
    images: Sequence[LabelledImage],
    choices: Choices,
    content_hash: Callable[[Path], str],
    dropped: Sequence[Dropped] = (),
) -> list[LabelledImage]:
    """Exclude, cap, split, and leave out test images that too few experts labelled; say what was left out."""
    selection = select(images, content_hash, read_exclusions(choices.exclude), choices.cap, choices.seed)
    by = choices.by or splits.recommended(selection.images)
    unknown = sum(not has_slide(image) for image in selection.images if not image.split)
    if unknown and by is By.SLIDE:
        _say(f"warning: {unknown} images without a slide are split one by one")
    elif by is By.IMAGE and (unknown or choices.by is None):
        _say("warning: split by image; cells of one patient may train and validate, where slides are unknown or one")
    done = splits.split(selection.images, by, choices.validation_share, choices.seed, content_hash, choices.test_share)
    agreed, too_few = _agreed(done)
    if left_out := [*dropped, *selection.dropped, *too_few]:
        Console().print(dropped_table(left_out))
    for entry in selection.unmatched:
        _say(f"warning: no image matches {entry!r} of the exclusion lists")
    return agreed


def _agreed(images: Sequence[LabelledImage]) -> tuple[list[LabelledImage], list[Dropped]]:
    """Apply the rule of :mod:`training.data.experts` to new splits, if any image has the column."""
    if not any(experts.COLUMN in image.extra for image in images):
        return list(images), []
    kept, dropped = [], []
    for image in images:
        agreement = experts.agree(image.label, image.extra.get(experts.COLUMN, ""), image.split)
        if agreement.reason:
            dropped.append(Dropped(image, agreement.reason))
        else:
            kept.append(replace(image, label=agreement.label))
    return kept, dropped


def _write(out: Path, images: Sequence[LabelledImage], content_hash: Callable[[Path], str]) -> None:
    if not images:
        raise ManifestError("no image is left to write", ["see above what was left out and why"])
    manifest.write(out, images)
    Console().print(class_table(images))
    fingerprint = manifest.fingerprint(images, content_hash)
    _say(f"{len(images)} images in {out}, fingerprint {fingerprint}")


def _say(message: str) -> None:
    Console().print(message, highlight=False, markup=False, soft_wrap=True)
