"""What belongs together: images of one slide, of one patient, or of the same pixels, and where splits tear it apart.

Slides and patients are told apart within their source, since numbers such as "7" return in every laboratory. Patients
are known where the manifest has the column ``patient_id``. Images that were made of one another (column ``family``,
:mod:`training.composites`) share pixels, so a family counts as equal bytes do, even in a split by image.
"""

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Final, Literal

import numpy as np
from numpy.typing import NDArray

from training.data.contents import PIXELS_COLUMN, content_hashes
from training.data.manifest import LabelledImage, ManifestError

PATIENT_COLUMN: Final = "patient_id"
FAMILY_COLUMN: Final = "family"
PARENT_COLUMN: Final = "parent_sha256"
"""The photograph that an image was made of, as a file; as pixels in :data:`PARENT_PIXELS_COLUMN`."""
PARENT_PIXELS_COLUMN: Final = "parent_pixels_sha256"
MADE_OF_COLUMNS: Final = (PARENT_COLUMN, PARENT_PIXELS_COLUMN, "donors_sha256")
Bond = Literal["slide", "patient", "content", "pixels", "family"]
OF_PIXELS: Final[tuple[Bond, ...]] = ("content", "pixels", "family")
"""Bonds that no split may tear, whatever it keeps together."""


class SplitError(ManifestError):
    """Images cannot be split as asked, or what belongs together is in two splits; ``problems`` lists all of it."""


def has_slide(image: LabelledImage) -> bool:
    """Whether it is known which slide or patient the image is of."""
    return bool(image.slide_id or image.extra.get(PATIENT_COLUMN))


def groups(images: Sequence[LabelledImage], content_hash: Callable[[Path], str]) -> NDArray[np.int64]:
    """A number for each image that all images share which hang together, through others too. Shape: ``(n,)``."""
    from scipy.sparse import coo_array
    from scipy.sparse.csgraph import connected_components

    columns: dict[tuple[str, ...], int] = {}
    edges = [
        (row, len(images) + columns.setdefault(bond, len(columns)))
        for row, image in enumerate(images)
        for bond in _bonds(image, content_hash)
    ]
    size = len(images) + len(columns)
    if not edges:
        return np.zeros(0, dtype=np.int64)
    graph = coo_array((np.ones(len(edges), dtype=bool), np.array(edges).T), shape=(size, size))
    result: NDArray[np.int64] = connected_components(graph, directed=False)[1][: len(images)].astype(np.int64)
    return result


def _bonds(image: LabelledImage, content_hash: Callable[[Path], str]) -> Iterator[tuple[Bond, str, str]]:
    yield "content", "", content_hash(image.path)
    if pixels := image.extra.get(PIXELS_COLUMN):
        yield "pixels", "", pixels
    if family := image.extra.get(FAMILY_COLUMN):
        yield "family", image.source, family
    if image.slide_id:
        yield "slide", image.source, image.slide_id
    if patient := image.extra.get(PATIENT_COLUMN):
        yield "patient", image.source, patient


def pixels_of(image: LabelledImage, digest: str) -> set[str]:
    """SHA-256 of the image, which is ``digest``, and of the photographs that it was copied or made from.

    Of files and of pixels, as far as they are known.
    """
    others = (image.extra.get(column, "") for column in (PIXELS_COLUMN, *MADE_OF_COLUMNS))
    return {digest, *(each for value in others for each in value.split("|") if each)}


def traces(image: LabelledImage, content_hash: Callable[[Path], str], slides: bool = True) -> set[str]:
    """What a network that was trained on an image has seen, to be looked for in another manifest.

    Families have no names outside of their manifest, so a composite is known by the photographs that it was made of.
    """
    pixels = pixels_of(image, content_hash(image.path))
    bonds = _bonds(image, content_hash) if slides else ()
    return pixels | {bond_trace(bond, source, name) for bond, source, name in bonds if bond not in OF_PIXELS}


def bond_trace(bond: Bond, source: str, name: str) -> str:
    """The trace of a slide or a patient."""
    return f"{bond} {name!r} of {source}"


def crossings(images: Sequence[LabelledImage], content_hash: Callable[[Path], str]) -> list[tuple[Bond, str]]:
    """Every slide, patient and content that several splits share, in words; images without a split do not count."""
    members: dict[tuple[Bond, str, str], dict[str, list[Path]]] = {}
    for image in images:
        if image.split:
            for bond in _bonds(image, content_hash):
                members.setdefault(bond, {}).setdefault(image.split, []).append(image.path)
    found: list[tuple[Bond, str]] = []
    equal_files: list[dict[str, list[Path]]] = []
    for (kind, source, name), paths in members.items():
        if len(paths) < 2 or (kind == "pixels" and paths in equal_files):
            continue
        if kind in ("content", "pixels"):
            equal_files.append(paths)
            how = "" if kind == "content" else ", written anew,"
            copies = ", ".join(f"{path} ({split})" for split, of_split in paths.items() for path in of_split)
            found.append((kind, f"the same image{how} is in several splits: {copies}"))
        else:
            shares = " and ".join(f"{split} ({len(of_split)} images)" for split, of_split in paths.items())
            found.append((kind, f"{kind} {name!r} of {source} is in {shares}"))
    return found


def assert_disjoint(
    images: Sequence[LabelledImage], content_hash: Callable[[Path], str] | None = None, slides: bool = True
) -> None:
    """Make sure that no image's content or family, and no slide or patient either, is in two splits.

    Without ``content_hash`` the files are read.

    Raises:
        SplitError: naming everything that crosses.
    """
    found = crossings(images, content_hash or content_hashes(image.path for image in images))
    if torn := [message for bond, message in found if slides or bond in OF_PIXELS]:
        raise SplitError("the splits overlap", torn)
