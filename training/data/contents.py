"""The SHA-256 of every image: what an image is, whatever it is called and wherever it lies."""

from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Final

from contract.bundle import sha256_of
from training.data.manifest import LabelledImage
from training.progress import track

COLUMN: Final = "sha256"
"""Of a run's manifest: what each image was when the training began."""


def content_hashes(paths: Iterable[Path]) -> Callable[[Path], str]:
    """Read each file once, with a progress bar, and look the hashes up from then on."""
    unique = list(dict.fromkeys(paths))
    hashes: dict[Path, str] = {}
    with track("hashing", len(unique)) as advance:
        for path in unique:
            hashes[path] = sha256_of(path)
            advance(1)
    return hashes.__getitem__


def recorded_hashes(images: Sequence[LabelledImage]) -> Callable[[Path], str]:
    """The hashes that a run's manifest states; only files without one are read."""
    stated = {image.path: digest for image in images if (digest := image.extra.get(COLUMN))}
    if missing := [image.path for image in images if image.path not in stated]:
        found = content_hashes(missing)
        stated |= {path: found(path) for path in missing}
    return stated.__getitem__
