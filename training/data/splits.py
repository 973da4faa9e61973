"""Which images train, which validate and which test.

Two ways: by image, as in the thesis (section 4.1.1), or by slide, which is the honest one where slides are known, since
cells of one slide share stain, focus and patient. Either way images with the same bytes, or made of one another, stay
together, rows that have a split keep it, and the result depends on contents and seed, not on names or order.
"""

import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from enum import StrEnum
from pathlib import Path
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

from training.data.contents import identities
from training.data.manifest import LabelledImage
from training.data.overlap import FAMILY_COLUMN, PATIENT_COLUMN, SplitError, assert_disjoint, groups, has_slide


class By(StrEnum):
    """What stays together when images are split."""

    IMAGE = "image"
    SLIDE = "slide"


def split(
    images: Sequence[LabelledImage],
    by: By,
    validation_share: float,
    seed: int,
    content_hash: Callable[[Path], str],
    test_share: float = 0.0,
) -> list[LabelledImage]:
    """Give every image without a split one; the shares are of these images.

    Raises:
        SplitError: fixed splits tear apart what belongs together, slides leave nothing to hold out, or the shares are
            impossible.
    """
    if not (0 < validation_share < 1 and 0 <= test_share < 1 and validation_share + test_share < 1):
        raise SplitError(
            "impossible shares",
            [
                f"validation {validation_share}, test {test_share}; expected values between 0 and 1 that leave "
                "something to train on, such as 0.2 and 0"
            ],
        )
    way = by_slide if by is By.SLIDE else by_image
    done = way(images, validation_share, seed, content_hash, test_share)
    assert_disjoint(done, content_hash, slides=by is By.SLIDE)
    return done


def by_image(
    images: Sequence[LabelledImage],
    validation_share: float,
    seed: int,
    content_hash: Callable[[Path], str],
    test_share: float = 0.0,
) -> list[LabelledImage]:
    """The thesis's seeded image split, within each class and source. Returns the rows that had a split first."""
    identity = identities(images, content_hash)
    copies: dict[str, list[LabelledImage]] = {}
    for image in images:
        family = image.extra.get(FAMILY_COLUMN)
        copies.setdefault(f"{image.source}/{family}" if family else identity(image), []).append(image)
    done = [image for image in images if image.split]
    strata: dict[tuple[str, str], list[tuple[str, list[LabelledImage]]]] = {}
    for name, group in copies.items():
        if fixed := next((image.split for image in group if image.split), ""):
            done += [replace(image, split=fixed) for image in group if not image.split]
        else:
            digest = name if group[0].extra.get(FAMILY_COLUMN) else min(content_hash(image.path) for image in group)
            strata.setdefault(min((image.label, image.source) for image in group), []).append((digest, group))
    for members, ranks in _ranked(strata, seed):
        validation = round(len(members) * validation_share)
        test = validation + round(len(members) * test_share)
        for group, rank in zip(members, ranks, strict=True):
            name = "val" if rank < validation else "test" if rank < test else "train"
            done += [replace(image, split=name) for image in group]
    return done


_Member = TypeVar("_Member")


def _ranked(
    strata: Mapping[tuple[str, str], list[tuple[str, _Member]]], seed: int
) -> Iterator[tuple[list[_Member], list[int]]]:
    """The members of each stratum in the order of their digests, and the place of each in a random order."""
    for position, key in enumerate(sorted(strata)):
        members = [member for _, member in sorted(strata[key], key=lambda each: each[0])]
        order = np.random.default_rng([seed, position]).permutation(len(members))
        yield members, np.argsort(order).tolist()


def by_slide(
    images: Sequence[LabelledImage],
    validation_share: float,
    seed: int,
    content_hash: Callable[[Path], str],
    test_share: float = 0.0,
) -> list[LabelledImage]:
    """Keep each slide and patient on one side, by scikit-learn's grouped folds, stratified by class and source.

    A group is a connected component of slide, patient and content: two slides that share a patient, or an image with
    the same bytes, go together. An image without any id is a group of its own. What hangs together with a row that has
    a split gets that split. Of about ``1 / share`` folds the one that takes closest to the share of every class is held
    out, so the share is met only roughly. Returns the images in their order.

    Raises:
        SplitError: fewer than two groups, or a share above one half.
    """
    keys = groups(images, content_hash)
    splits = [image.split for image in images]
    fixed = {int(key): name for key, name in zip(keys, splits, strict=True) if name}
    order = sorted(range(len(images)), key=lambda i: (content_hash(images[i].path), images[i].label, images[i].source))
    free = np.array([i for i in order if int(keys[i]) not in fixed], dtype=np.int64)
    strata = np.unique([f"{image.label}\n{image.source}" for image in images], return_inverse=True)[1]
    for name, share in (("test", test_share), ("val", validation_share / (1 - test_share))):
        if share and len(free):
            chosen = _held_out(keys[free], strata[free], share, seed)
            for i in free[chosen]:
                splits[i] = name
            free = np.delete(free, chosen)
    return [
        replace(image, split=image.split or name or fixed.get(int(key), "train"))
        for image, name, key in zip(images, splits, keys, strict=True)
    ]


def _held_out(keys: NDArray[np.int64], strata: NDArray[np.int64], share: float, seed: int) -> NDArray[np.int64]:
    """Positions of the fold to hold out."""
    # Imported when needed, so that 'hal --help' does not load it.
    from sklearn.model_selection import StratifiedGroupKFold

    names, first, keys = np.unique(keys, return_index=True, return_inverse=True)
    keys = np.argsort(np.argsort(first))[keys]
    sizes = np.bincount(strata)
    if len(names) < 2 or share > 0.5:
        raise SplitError(
            "the images cannot be split by slide",
            [
                f"{len(keys)} images without a split are all tied together by slides, patients or equal bytes"
                if len(names) < 2
                else f"a share of {share:.2f} was asked for, and whole folds are at most one half",
                "lower the share, add slides, or split by image (--by image)",
            ],
        )
    folds = min(range(2, len(names) + 1), key=lambda count: abs(1 / count - share))
    if folds > sizes.max():
        strata, sizes = np.zeros_like(strata), np.array([len(strata)])
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "The least populated class", UserWarning)
        splitter = StratifiedGroupKFold(folds, shuffle=True, random_state=seed)
        candidates = [fold for _, fold in splitter.split(keys, strata, keys)]
    present = sizes > 0

    def deviation(fold: NDArray[np.int64]) -> float:
        taken = np.bincount(strata[fold], minlength=len(sizes))
        return float(np.abs(taken[present] / sizes[present] - share).sum()) if 0 < len(fold) < len(keys) else np.inf

    return min(candidates, key=deviation)


def release_validation(
    images: Sequence[LabelledImage], share: float, seed: int, content_hash: Callable[[Path], str]
) -> list[LabelledImage]:
    """Move a share of the validation images of each class and source to training; test images stay what they are.

    For a network that is trained further (``hal train --start-from``): what remains for validation was never trained
    on, neither then nor now. What hangs together (:func:`training.data.overlap.groups`) moves together.

    Raises:
        SplitError: the share leaves no validation image or moves none, or splits overlap.
    """
    held_out: dict[int, list[int]] = {}
    for row, key in enumerate(groups(images, content_hash).tolist()):
        if images[row].split == "val":
            held_out.setdefault(key, []).append(row)
    strata: dict[tuple[str, str], list[tuple[str, list[int]]]] = {}
    for rows in held_out.values():
        digest = min(content_hash(images[row].path) for row in rows)
        strata.setdefault(min((images[row].label, images[row].source) for row in rows), []).append((digest, rows))
    released: set[int] = set()
    for members, ranks in _ranked(strata, seed):
        for rows, rank in zip(members, ranks, strict=True):
            released.update(rows if rank < round(len(members) * share) else ())
    validation = sum(len(rows) for rows in held_out.values())
    if not 0 < len(released) < validation:
        raise SplitError(
            f"a share of {share} of {validation} validation images cannot be moved to training",
            [f"it would move {len(released)}; expected some to move and some to stay: choose another share"],
        )
    done = [replace(image, split="train") if row in released else image for row, image in enumerate(images)]
    assert_disjoint(done, content_hash, slides=False)
    return done


def recommended(images: Sequence[LabelledImage]) -> By:
    """By slide where an image still to be split has a slide or patient, unless all are of the same; else by image."""
    free = [image for image in images if not image.split]
    several = len({(image.source, image.slide_id, image.extra.get(PATIENT_COLUMN)) for image in free}) > 1
    return By.SLIDE if several and any(map(has_slide, free)) else By.IMAGE
