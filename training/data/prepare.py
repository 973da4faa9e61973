"""``hal data prepare`` and ``hal data split``: from downloaded folders, or a manifest, to a manifest with splits."""

import hashlib
import io
import os
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path

from PIL import Image
from rich.console import Console

from contract.pixels import fit
from training.data import experts, image_list, manifest, presets, splits
from training.data.contents import PIXELS_COLUMN, content_hashes, stating_pixels
from training.data.images import ANALYSER_SCALE, decode_all, pixels_sha256, read_pixels, scaled, unopenable
from training.data.manifest import SHOWN, Dropped, LabelledImage, ManifestError
from training.data.overlap import PARENT_COLUMN, PARENT_PIXELS_COLUMN, has_slide
from training.data.presets.base import RESAMPLED_COLUMN
from training.data.selection import Selection, deduplicate, exclude, limit, read_exclusions
from training.data.splits import By
from training.data.tables import class_table, dropped_table
from training.progress import say, track


@dataclass(frozen=True, slots=True, kw_only=True)
class Choices:
    """Which images are used and how the others are split; ``by=None`` is :func:`training.data.splits.recommended`'s."""

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
    closed = unopenable(image.path for image in images)
    images = [image for image in images if image.path not in closed]
    content_hash = content_hashes(image.path for image in images)
    if like is None:
        # Before equal files are looked for, or files cut to nothing would be taken for copies of one another.
        images = _decoded(images, closed, choices, content_hash, leave_out_unreadable)
    unique = deduplicate(images, content_hash)
    reasons = [*(item.reason for item in skipped), *(item.reason for item in unique.dropped)]
    for reason, count in Counter(reasons).most_common():
        say(f"left out {count}: {reason}")
    if like is None:
        done = _choose_and_split(unique.images, choices, content_hash)
    else:
        done = image_list.select(like, unique.images, content_hash)
    done, hashes = _resampled(done, out.with_name(f"{out.stem}-images"), content_hash)
    if hashes:
        say(
            f"resampled {len(hashes)} images to {ANALYSER_SCALE:g} pixels per micrometre, the analyser's scale, into "
            f"{out.stem}-images; nothing is resampled after this, neither in training nor in the service"
        )
    _write(out, done, lambda path: hashes.get(path) or content_hash(path))


def split_manifest(path: Path, out: Path, choices: Choices, afresh: bool = False) -> None:
    """Choose among the images of a manifest, split those without a split, and write another manifest.

    Raises:
        ManifestError: the manifest cannot be used, or not be split as asked.
    """
    images, dropped = manifest.usable(path)
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


def _resampled(
    images: Sequence[LabelledImage], folder: Path, content_hash: Callable[[Path], str]
) -> tuple[list[LabelledImage], dict[Path, str]]:
    """Write the images whose preset says so at 10 pixels a micrometre, as PNG in one folder a class.

    Each names its photograph by SHA-256, and the scale that it had. Returns all images, and the SHA-256 of each file
    written.
    """
    hashes: dict[Path, str] = {}

    def resampled(image: LabelledImage) -> tuple[LabelledImage, str]:
        pixels = scaled(read_pixels(image.path), ANALYSER_SCALE / float(image.extra[RESAMPLED_COLUMN]))
        stream = io.BytesIO()
        Image.fromarray(pixels).save(stream, "PNG", compress_level=1)
        digest = content_hash(image.path)
        # A preset takes no folder of this name for a class, should the photographs lie beside it.
        path = folder / f"{image.path.parent.name}-{ANALYSER_SCALE:g}px" / f"{image.path.stem}-{digest[:8]}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(stream.getbuffer())
        told = {
            PIXELS_COLUMN: pixels_sha256(fit(pixels)),
            PARENT_COLUMN: digest,
            PARENT_PIXELS_COLUMN: image.extra.get(PIXELS_COLUMN, ""),
        }
        return replace(image, path=path, extra=image.extra | told), hashlib.sha256(stream.getbuffer()).hexdigest()

    meant = [row for row, image in enumerate(images) if RESAMPLED_COLUMN in image.extra]
    if not meant:
        return list(images), hashes
    done = list(images)
    with track("resampling", len(meant)) as advance, ThreadPoolExecutor(os.cpu_count()) as pool:
        for row, (image, digest) in zip(meant, pool.map(resampled, [images[row] for row in meant]), strict=True):
            done[row] = image
            hashes[image.path] = digest
            advance(1)
    return done, hashes


def _decoded(
    images: Sequence[LabelledImage],
    closed: Mapping[Path, str],
    choices: Choices,
    content_hash: Callable[[Path], str],
    leave_out_unreadable: bool,
) -> list[LabelledImage]:
    """Those that can be decoded, with their pixels' hashes; the others are named, but for what an exclusion names."""
    meant = exclude(images, read_exclusions(choices.exclude), content_hash).images
    undecodable, pixels = decode_all(image.path for image in meant)
    complaints = [*closed.values(), *undecodable.values()]
    if complaints and not leave_out_unreadable:
        raise ManifestError(
            f"{len(complaints)} of {len(meant) + len(closed)} images cannot be used; replace or delete the "
            "files, name them in a list for --exclude, or leave out all of them with --leave-out-unreadable",
            complaints,
        )
    if complaints:
        more = [f"... and {len(complaints) - SHOWN} more"] if len(complaints) > SHOWN else []
        say("\n  - ".join([f"left out {len(complaints)}: cannot be used", *complaints[:SHOWN], *more]))
    return stating_pixels([image for image in images if image.path not in undecodable], pixels)


def _choose_and_split(
    images: Sequence[LabelledImage],
    choices: Choices,
    content_hash: Callable[[Path], str],
    dropped: Sequence[Dropped] = (),
) -> list[LabelledImage]:
    """Exclude, cap, split, and leave out test images that too few experts labelled; say what was left out."""
    used = exclude(images, read_exclusions(choices.exclude), content_hash)
    capped = limit(used.images, choices.cap, choices.seed, content_hash) if choices.cap else Selection(used.images, [])
    by = choices.by or splits.recommended(capped.images)
    unknown = sum(not has_slide(image) for image in capped.images if not image.split)
    if unknown and by is By.SLIDE:
        say(f"warning: {unknown} images without a slide are split one by one")
    elif by is By.IMAGE and (unknown or choices.by is None):
        say("warning: split by image; cells of one patient may train and validate, where slides are unknown or one")
    done = splits.split(capped.images, by, choices.validation_share, choices.seed, content_hash, choices.test_share)
    agreed, too_few = _agreed(done)
    if left_out := [*dropped, *used.dropped, *capped.dropped, *too_few]:
        Console().print(dropped_table(left_out))
    for entry in used.unmatched:
        say(f"warning: no image matches {entry!r} of the exclusion lists")
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
    say(f"{len(images)} images in {out}, fingerprint {fingerprint}")
