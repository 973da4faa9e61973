"""Reading a training image at its own scale: cropped or padded to 256x256, and not resampled."""

import hashlib
import os
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Final

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from contract.decoding import decode
from contract.pixels import fit
from contract.refusals import ImageRefusedError
from training.errors import TrainingError
from training.progress import track

ANALYSER_SCALE: Final = 10.0
"""Pixels a micrometre of the images that HAL is made for."""
MOST_BYTES: Final = 1 << 28
"""Of a file that is read; no photograph of a field has a tenth of it."""


class ImageError(TrainingError):
    """An image cannot be used for training."""


class UnreadableImageError(ImageError):
    """An image could not be read when its turn came."""


def read_pixels(path: Path) -> NDArray[np.uint8]:
    """Decode an image at its own size: RGB, 0 to 255. Shape: ``(height, width, 3)``.

    Raises ImageError: unreadable, or refused by :func:`contract.decoding.decode` as in the service.
    """
    try:
        if (size := path.stat().st_size) > MOST_BYTES:
            raise ImageError(f"{path} has {size} bytes, at most {MOST_BYTES} are read; expected one cell, not a slide")
        return decode(path.read_bytes())
    except OSError as error:
        raise ImageError(f"{path} cannot be read: {error.strerror or error}") from error
    except ImageRefusedError as refusal:
        raise ImageError(f"{path} cannot be decoded: {refusal}") from refusal


def read_image(path: Path) -> NDArray[np.uint8]:
    """Decode and fit one image. Shape: ``(256, 256, 3)``, RGB, 0 to 255.

    Raises ImageError: see :func:`read_pixels`; or the image is too small, see :func:`contract.pixels.fit`.
    """
    pixels = read_pixels(path)
    try:
        return fit(pixels)
    except ValueError as error:
        raise ImageError(f"{path}: {error}") from error


def scaled(pixels: NDArray[np.uint8], factor: float) -> NDArray[np.uint8]:
    """An image of other size, by bicubic interpolation that averages where it shrinks. Shape: ``(h, w, 3)``."""
    height, width = (round(side * factor) for side in pixels.shape[:2])
    return np.asarray(Image.fromarray(pixels).resize((width, height), Image.Resampling.BICUBIC))


def unopenable(paths: Iterable[Path]) -> dict[Path, str]:
    """What is wrong with each file that cannot be opened at all: links to nothing, files of another user."""
    complaints = {}
    for path in dict.fromkeys(paths):
        try:
            path.open("rb").close()
        except OSError as error:
            target = f" (a link to {path.readlink()})" if path.is_symlink() else ""
            complaints[path] = f"{path}{target} cannot be read: {error.strerror}"
    return complaints


def pixels_sha256(image: NDArray[np.uint8]) -> str:
    """SHA-256 of what a network sees, whatever file it lies in. Shape: ``(256, 256, 3)``."""
    return hashlib.sha256(image.tobytes()).hexdigest()


def decode_all(paths: Iterable[Path]) -> tuple[dict[Path, str], dict[Path, str]]:
    """Decode every image as training would, with a progress bar.

    Returns what is wrong with each that cannot be used, and :func:`pixels_sha256` of each of the others.
    """

    def decoded(path: Path) -> tuple[str, str]:
        try:
            return "", pixels_sha256(read_image(path))
        except ImageError as error:
            return str(error), ""

    unique = list(dict.fromkeys(paths))
    complaints: dict[Path, str] = {}
    pixels: dict[Path, str] = {}
    with track("decoding", len(unique)) as advance, ThreadPoolExecutor(os.cpu_count()) as pool:
        for path, (complaint, digest) in zip(unique, pool.map(decoded, unique), strict=True):
            if complaint:
                complaints[path] = complaint
            else:
                pixels[path] = digest
            advance(1)
    return complaints, pixels
