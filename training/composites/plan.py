"""What a made set will hold: which image is copied, edited within its class, or turned into which class.

Parents and donors of one image always come from one *family*: images of one split (and one stain and camera style) that
may be made of one another. Nothing made therefore hangs together with another split, and a new split that keeps
families together (column ``family``, :mod:`training.data.overlap`) cannot tear parent and child apart either.
"""

import hashlib
from collections import defaultdict
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Literal

import numpy as np

from contract.classes import BY_NAME, CLASS_NAMES
from training.composites.generators import GENERATORS, PLATELETS, CellGenerator
from training.data.manifest import SPLITS, LabelledImage, ManifestError
from training.data.overlap import groups

Kind = Literal["real", "composite", "sham"]
PARENT_SOURCES: Final = frozenset({"pbc"})
"""Sources whose images are edited into other classes: their scale is the product's, their cells can be segmented."""
OPEN_SOURCES: Final = frozenset({"pbc", "matek-marrow"})
"""Sources under CC BY 4.0, which allows derived images with attribution; others never enter a made set."""
FIRST_SOURCE: Final = "wbc_train"
SECOND_SOURCE: Final = "hairy_db"
"""Of a demonstration set; the second has a stain and camera style of its own."""
FAMILY_SIZE: Final = 60
ATTEMPTS: Final = 8
DONORS_AT_HAND: Final = 6


@dataclass(frozen=True, slots=True)
class Parent:
    image: LabelledImage
    sha256: str
    family: str
    usable: bool


@dataclass(frozen=True, slots=True)
class Task:
    """One image to make.

    Attributes:
        source: of a demonstration set; empty for that of the parent.
        parents: candidates, tried in this order until one can be edited.
    """

    name: str
    label: str
    split: str
    source: str
    kind: Kind
    parents: tuple[Parent, ...]
    donors: tuple[tuple[Parent, ...], ...]
    seed: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Amounts:
    """How many images.

    Attributes:
        per_class: training images of each class without (enough) real ones, the real ones included.
        held_out: likewise by other split; where a split is missing, in proportion to its real images.
        sham_share: share of the images of an ordinary class that are edited controls, 0 to below 1.
        most: real images and edited controls of an ordinary class in training; ``None`` for all. Other splits
            in proportion.
    """

    per_class: int
    held_out: dict[str, int]
    sham_share: float = 0.25
    most: int | None = None
    seed: int = 0

    def of(self, split: str, real: dict[str, int]) -> int:
        """Images of a missing class in a split."""
        if split in self.held_out:
            return self.held_out[split]
        return round(self.per_class * real[split] / max(1, real["train"])) if split != "train" else self.per_class

    def cap(self, split: str, real: dict[str, int]) -> int | None:
        """Most real images and edited controls of an ordinary class in a split."""
        return None if self.most is None else max(1, round(self.most * real[split] / max(1, real["train"])))


def families(
    images: Sequence[LabelledImage], content_hash: Callable[[Path], str], seed: int, fewest: int = 1
) -> list[str]:
    """The family of each image, in their order; at least ``fewest`` for each split that has as many images.

    Images that hang together (slide, patient, equal bytes) share one. The classes are dealt evenly, so that every
    family of the parents' sources has donors of every texture.
    """
    together = groups(images, content_hash)
    names = [""] * len(images)
    for split in sorted({image.split for image in images}):
        members: dict[int, list[int]] = defaultdict(list)
        for index, image in enumerate(images):
            if image.split == split:
                members[int(together[index])].append(index)
        strata: dict[str, list[tuple[str, list[int]]]] = defaultdict(list)
        for group in members.values():
            digest = min(content_hash(images[i].path) for i in group)
            if any(images[i].source in PARENT_SOURCES for i in group):
                strata[min(images[i].label for i in group)].append((digest, group))
            else:
                for index in group:
                    names[index] = f"{split}-{digest[:16]}"
        needed = [len(strata[label]) for label in ("Lymphocyte", "Monocyte", PLATELETS[0])]
        total = sum(len(group) for stratum in strata.values() for _, group in stratum)
        count = max(fewest, min(round(total / FAMILY_SIZE), *(each // 3 for each in needed)))
        for place, label in enumerate(sorted(strata)):
            ordered = sorted(strata[label])
            for turn, position in enumerate(np.random.default_rng([seed, place]).permutation(len(ordered))):
                for index in ordered[position][1]:
                    names[index] = f"{split}-{(turn + place) % count:03d}"
    return names


def plan(
    parents: Sequence[Parent], amounts: Amounts, labels: Sequence[str] = CLASS_NAMES, source: str = ""
) -> list[Task]:
    """The tasks of a set, in the order of their names."""
    real = {split: sum(p.image.split == split for p in parents) for split in SPLITS}
    tasks: list[Task] = []
    problems: list[str] = []
    for split in (name for name in SPLITS if real[name]):
        here = [parent for parent in parents if parent.image.split == split]
        draft = _Draft(split, source, here, amounts)
        for label in labels:
            of_class = [parent for parent in here if parent.image.label == label]
            shuffled = [of_class[i] for i in draft.random(label, "order").permutation(len(of_class))]
            if label not in GENERATORS:
                tasks += draft.ordinary(shuffled, label, amounts.cap(split, real))
                continue
            wanted = amounts.of(split, real)
            composites = draft.composites(GENERATORS[label], wanted - len(shuffled))
            if wanted > len(shuffled) and not composites:
                needed = ", ".join(GENERATORS[label].parents)
                problems.append(f"{label} in split {split}: no segmentable image of {needed}, or no donor beside it")
            tasks += draft.copies(shuffled[:wanted]) + composites
    if problems:
        raise ManifestError("classes cannot be made from these images", problems)
    return sorted(tasks, key=lambda task: task.name)


@dataclass(frozen=True, slots=True)
class _Draft:
    split: str
    source: str
    here: Sequence[Parent]
    amounts: Amounts

    def copies(self, parents: Iterable[Parent]) -> list[Task]:
        return [self._task(p.image.label, "real", p.sha256[:12], (p,)) for p in parents]

    def ordinary(self, parents: Sequence[Parent], label: str, cap: int | None) -> list[Task]:
        """Real images of a class and the edited controls that join them."""
        share = self.amounts.sham_share
        usable = [parent for parent in parents if parent.usable]
        kept = parents if cap is None else parents[: max(1, round(cap * (1 - share)))]
        tasks = self.copies(kept)
        for number in range(round(len(kept) * share / (1 - share)) if usable else 0):
            turn = number % len(usable)
            candidates = (*usable[turn:], *usable[:turn])[:ATTEMPTS]
            seed = self._seed(label, "sham", number)
            tasks.append(self._task(label, "sham", f"{number:05d}", candidates, seed=seed))
        return tasks

    def composites(self, generator: CellGenerator, count: int) -> list[Task]:
        """Made images of a class; every parent is used once before any is used twice."""
        by_family: dict[str, list[Parent]] = defaultdict(list)
        for parent in self.here:
            if parent.usable and parent.image.source in PARENT_SOURCES:
                by_family[parent.family].append(parent)
        able = [p for family in by_family.values() for p in family if p.image.label in generator.parents]
        tasks: list[Task] = []
        for number in range(count if able else 0):
            seed = self._seed(generator.label, "composite", number)
            choice = np.random.default_rng(seed)
            round_, place = divmod(number, len(able))
            first = able[self.random(generator.label, "parents", round_).permutation(len(able))[place]]
            family = by_family[first.family]
            others = [p for p in family if p.image.label in generator.parents and p is not first]
            tries = (first, *(others[i] for i in choice.permutation(len(others))[: ATTEMPTS - 1]))
            fit = [[p for p in family if p.image.label in labels] for labels in generator.donors]
            donors = tuple(tuple(each[i] for i in choice.permutation(len(each))[:DONORS_AT_HAND]) for each in fit)
            if all(donors):
                tasks.append(self._task(generator.label, "composite", f"{number:05d}", tries, donors, seed))
        return tasks

    def random(self, *parts: int | str) -> np.random.Generator:
        """A generator that depends on the set's seed, the split and the parts."""
        return np.random.default_rng(self._seed(*parts))

    def _seed(self, *parts: int | str) -> int:
        text = "/".join(map(str, (self.amounts.seed, self.source, self.split, *parts)))
        return int.from_bytes(hashlib.sha256(text.encode()).digest()[:8], "big")

    def _task(
        self,
        label: str,
        kind: Kind,
        key: str,
        parents: tuple[Parent, ...],
        donors: tuple[tuple[Parent, ...], ...] = (),
        seed: int = 0,
    ) -> Task:
        folder = "/".join(part for part in (self.source, self.split, BY_NAME[label].id) if part)
        return Task(f"{folder}/{kind}-{key}", label, self.split, self.source, kind, parents, donors, seed)
