"""Images of another scale, brought to the analyser's once, when they are prepared: size tells classes apart.

They are written as PNG; the manifest names each one's photograph by SHA-256, and the scale that it had.
"""

import hashlib
import io
import os
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

from PIL import Image

from contract.pixels import fit
from training.data.contents import PIXELS_COLUMN
from training.data.images import ANALYSER_SCALE, pixels_sha256, read_pixels, scaled
from training.data.manifest import LabelledImage
from training.data.overlap import PARENT_COLUMN, PARENT_PIXELS_COLUMN
from training.data.presets.base import RESAMPLED_COLUMN
from training.progress import track


def resample(
    images: Sequence[LabelledImage], folder: Path, content_hash: Callable[[Path], str]
) -> tuple[list[LabelledImage], dict[Path, str]]:
    """Write the images whose preset says so at 10 pixels a micrometre, in one folder a class.

    Returns:
        All images, in their order, and the SHA-256 of each file written.

    Raises:
        ImageError: an image cannot be read.
        OSError: it cannot be written.
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
