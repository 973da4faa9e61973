"""What an image is, whatever it is called and wherever it lies: SHA-256 of its file, and of what a network sees of it.

The second finds a photograph that was written anew, as PNG or BMP of the same pixels or cropped to its centre.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Final

from contract.bundle import sha256_of
from training.data.manifest import LabelledImage
from training.progress import track

COLUMN: Final = "sha256"
"""Of a run's manifest: what each image was when the training began."""
PIXELS_COLUMN: Final = "pixels_sha256"
"""Of every manifest whose images were decoded when it was written."""


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


def stating_pixels(images: Iterable[LabelledImage], pixels: Mapping[Path, str]) -> list[LabelledImage]:
    """The images with the hashes of those whose pixels are known, in :data:`PIXELS_COLUMN`."""
    return [
        replace(image, extra=image.extra | {PIXELS_COLUMN: digest}) if (digest := pixels.get(image.path)) else image
        for image in images
    ]


def with_pixels(images: Sequence[LabelledImage]) -> list[LabelledImage]:
    """The images with the hashes of their pixels; only those without one are decoded, if they can be."""
    from training.data.images import decode_all  # loads Pillow, which no list of commands needs

    missing = [image.path for image in images if not image.extra.get(PIXELS_COLUMN)]
    return stating_pixels(images, decode_all(missing)[1]) if missing else list(images)


def identities(images: Iterable[LabelledImage], content_hash: Callable[[Path], str]) -> Callable[[LabelledImage], str]:
    """What tells images apart: their pixels where they are known, of this file or an equal one; else the file."""
    known = {content_hash(image.path): digest for image in images if (digest := image.extra.get(PIXELS_COLUMN))}

    def identity(image: LabelledImage) -> str:
        content = content_hash(image.path)
        return known.get(content, content)

    return identity
