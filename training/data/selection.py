"""Which images are used: exclusion lists, the cap on a class, and one of each group of equal files."""

import os
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePath
from typing import Final

import numpy as np

from training.data.contents import identities
from training.data.manifest import Dropped, LabelledImage, ManifestError

SHA256: Final = re.compile(r"[0-9a-fA-F]{64}")


@dataclass(frozen=True, slots=True)
class Selection:
    """What is used and what is not; ``unmatched`` are entries of exclusion lists that name no image."""

    images: list[LabelledImage]
    dropped: list[Dropped]
    unmatched: tuple[str, ...] = ()


def read_exclusions(paths: Sequence[Path]) -> tuple[str, ...]:
    """The entries of exclusion lists: one a line; empty lines and lines that begin with ``#`` are ignored.

    Raises:
        ManifestError: lists that cannot be read; all of them are named.
    """
    entries: list[str] = []
    problems: list[str] = []
    for path in paths:
        try:
            lines = path.read_text(encoding="utf-8-sig").splitlines()
        except (OSError, UnicodeDecodeError) as error:
            problems.append(f"{path}: {error}")
        else:
            entries += [entry for line in lines if (entry := line.strip()) and not entry.startswith("#")]
    if problems:
        raise ManifestError("exclusion lists cannot be read as text in UTF-8", problems)
    return tuple(dict.fromkeys(entries))


def exclude(
    images: Sequence[LabelledImage], exclusions: Sequence[str], content_hash: Callable[[Path], str]
) -> Selection:
    """Leave out images by SHA-256, file name, whole path, or the end of a path such as ``slide-7/12.png``."""
    digests = {entry.lower(): entry for entry in exclusions if SHA256.fullmatch(entry)}
    names = {entry: os.path.normpath(entry.replace("\\", "/")) for entry in exclusions if entry not in digests.values()}
    endings = {PurePath(name).parts: entry for entry, name in names.items()}
    lengths = {len(parts) for parts in endings}
    kept, dropped, used = [], [], set()
    for image in images:
        parts = PurePath(os.path.abspath(image.path)).parts  # noqa: PTH100 - a link keeps the name it is listed by
        named = {endings[parts[-length:]] for length in lengths if parts[-length:] in endings}
        if digests and (digest := content_hash(image.path)) in digests:
            named.add(digests[digest])
        used |= named
        if named:
            dropped.append(Dropped(image, "named in an exclusion list"))
        else:
            kept.append(image)
    return Selection(kept, dropped, tuple(entry for entry in exclusions if entry not in used))


def limit(images: Sequence[LabelledImage], cap: int, seed: int, content_hash: Callable[[Path], str]) -> Selection:
    """At most ``cap`` training and validation images of each class from each source; test images are not counted.

    By class and source because the thesis did so: Table 4.1 has more than 5000 images of some classes, since those of
    its second database came on top. The choice is random and depends on the contents and the seed alone.
    """
    strata: dict[tuple[str, str], list[int]] = {}
    for index, image in enumerate(images):
        if image.split != "test":
            strata.setdefault((image.label, image.source), []).append(index)
    surplus: set[int] = set()
    for members in strata.values():
        ordered = sorted(members, key=lambda index: content_hash(images[index].path))
        surplus |= {ordered[place] for place in np.random.default_rng(seed).permutation(len(ordered))[cap:]}
    reason = f"beyond {cap} images of its class and source"
    return Selection(
        [image for index, image in enumerate(images) if index not in surplus],
        [Dropped(images[index], reason) for index in sorted(surplus)],
    )


def deduplicate(images: Sequence[LabelledImage], content_hash: Callable[[Path], str]) -> Selection:
    """Keep one of each group of images of the same bytes or pixels; none of a group whose labels disagree."""
    groups: dict[str, list[LabelledImage]] = {}
    identity = identities(images, content_hash)
    for image in images:
        groups.setdefault(identity(image), []).append(image)
    kept, dropped = [], []
    for group in groups.values():
        if len({image.label for image in group}) > 1:
            dropped += [Dropped(image, "the same image as one with another label") for image in group]
        else:
            kept.append(group[0])
            dropped += [Dropped(image, "the same image as another") for image in group[1:]]
    return Selection(kept, dropped)
