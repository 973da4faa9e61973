"""Reading a training image at its own scale: cropped or padded to 256x256, never resampled."""

import os
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from contract.pixels import FORMATS, MODES, fit
from training.errors import TrainingError
from training.progress import track


class ImageError(TrainingError):
    """An image cannot be used for training."""


class UnreadableImageError(ImageError):
    """An image could not be read when its turn came."""


def read_pixels(path: Path) -> NDArray[np.uint8]:
    """Decode an image at its own size.

    Returns:
        RGB, 0 to 255. Shape: ``(height, width, 3)``.

    Raises:
        ImageError: unreadable, not in 8-bit colour, or with transparent pixels, as in the service.
    """
    try:
        with Image.open(path, formats=FORMATS) as image:
            if image.mode not in MODES:
                raise ImageError(f"{path} has mode {image.mode}, expected 8-bit RGB; the service refuses it too")
            may_be_transparent = image.mode != "RGB" or "transparency" in image.info
            if may_be_transparent and image.convert("RGBA").getchannel("A").getextrema() != (255, 255):
                raise ImageError(f"{path} has transparent pixels, whose colour is not defined; export it without them")
            return np.asarray(image.convert("RGB"))
    except ImageError:
        raise
    except Exception as error:
        # Pillow's parsers meet damaged files with a dozen kinds of exception (struct.error, KeyError, ValueError ...).
        raise ImageError(
            f"{path} cannot be decoded as {', '.join(FORMATS)}: {error or type(error).__name__}"
        ) from error


def read_image(path: Path) -> NDArray[np.uint8]:
    """Decode and fit one image. Shape: ``(256, 256, 3)``, RGB, 0 to 255.

    Raises:
        ImageError: see :func:`read_pixels`; or the image is too small, see :func:`contract.pixels.fit`.
    """
    pixels = read_pixels(path)
    try:
        return fit(pixels)
    except ValueError as error:
        raise ImageError(f"{path}: {error}") from error


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


def unreadable(paths: Iterable[Path]) -> dict[Path, str]:
    """Decode every image as training would, with a progress bar.

    Returns:
        What is wrong with each that cannot be used, in the order of the paths.
    """

    def complaint(path: Path) -> str:
        try:
            read_image(path)
        except ImageError as error:
            return str(error)
        return ""

    unique = list(dict.fromkeys(paths))
    complaints = {}
    with track("decoding", len(unique)) as advance, ThreadPoolExecutor(os.cpu_count()) as pool:
        for path, message in zip(unique, pool.map(complaint, unique), strict=True):
            if message:
                complaints[path] = message
            advance(1)
    return complaints
