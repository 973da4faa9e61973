"""Which images train, which validate and which test.

Two ways: by image, as in the thesis (section 4.1.1), or by slide, which is the honest one where slides are known, since
cells of one slide share stain, focus and patient. Either way images with the same bytes, or made of one another, stay
together, rows that have a split keep it, and the result depends on contents and seed, not on names or order.
"""

import warnings
from collections.abc import Callable, Sequence
from dataclasses import replace
from enum import StrEnum
from pathlib import Path

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
    """Give every image without a split one.

    Args:
        validation_share: between 0 and 1, of the images without a split.

    Raises:
        SplitError: fixed splits tear apart what belongs together, slides leave nothing to hold out, or the shares are
            impossible.
    """
    _check_shares(validation_share, test_share)
    way = by_slide if by is By.SLIDE else by_image
    done = way(images, validation_share, seed, content_hash, test_share)
    assert_disjoint(done, content_hash, slides=by is By.SLIDE)
    return done


def _check_shares(validation_share: float, test_share: float) -> None:
    if not (0 < validation_share < 1 and 0 <= test_share < 1 and validation_share + test_share < 1):
        raise SplitError(
            "impossible shares",
            [
                f"validation {validation_share}, test {test_share}; expected values between 0 and 1 that leave "
                "something to train on, such as 0.2 and 0"
            ],
        )


def by_image(
    images: Sequence[LabelledImage],
    validation_share: float,
    seed: int,
    content_hash: Callable[[Path], str],
    test_share: float = 0.0,
) -> list[LabelledImage]:
    """The thesis's seeded image split, within each class and source. Returns the rows that had a split first."""
    _check_shares(validation_share, test_share)
    identity = identities(images, content_hash)
    first: dict[str, str] = {}
    for image in images:
        digest = content_hash(image.path)
        first[identity(image)] = min(first.get(identity(image), digest), digest)
    copies: dict[str, list[LabelledImage]] = {}
    for image in images:
        family = image.extra.get(FAMILY_COLUMN)
        copies.setdefault(f"{image.source}/{family}" if family else first[identity(image)], []).append(image)
    done = [image for image in images if image.split]
    strata: dict[tuple[str, str], list[str]] = {}
    for digest, group in copies.items():
        if fixed := next((image.split for image in group if image.split), ""):
            done += [replace(image, split=fixed) for image in group if not image.split]
        else:
            strata.setdefault(min((image.label, image.source) for image in group), []).append(digest)
    for position, key in enumerate(sorted(strata)):
        order = np.random.default_rng([seed, position]).permutation(len(strata[key])).tolist()
        validation = round(len(order) * validation_share)
        held_out = dict.fromkeys(order[:validation], "val")
        held_out |= dict.fromkeys(order[validation : validation + round(len(order) * test_share)], "test")
        for index, digest in enumerate(sorted(strata[key])):
            done += [replace(image, split=held_out.get(index, "train")) for image in copies[digest]]
    return done


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
    _check_shares(validation_share, test_share)
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
    strata: dict[tuple[str, str], list[list[int]]] = {}
    for rows in held_out.values():
        strata.setdefault(min((images[row].label, images[row].source) for row in rows), []).append(rows)
    released: set[int] = set()
    for position, key in enumerate(sorted(strata)):
        members = sorted(strata[key], key=lambda rows: min(content_hash(images[row].path) for row in rows))
        order = np.random.default_rng([seed, position]).permutation(len(members))
        for index in order[: round(len(members) * share)].tolist():
            released.update(members[index])
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
