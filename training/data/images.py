"""Reading a training image at its own scale: cropped or padded to 256x256, never resampled."""

import os
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image, UnidentifiedImageError

from contract.description import IMAGE_SIDE
from training.errors import TrainingError
from training.progress import track

FORMATS = ("JPEG", "PNG", "BMP", "TIFF")
SUFFIXES = frozenset({".jpg", ".jpeg", ".png", ".bmp", ".tif", ".tiff"})
SMALLEST_SIDE = IMAGE_SIDE // 2 + 1
"""Reflection can at most double a side."""


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
            if image.mode not in ("RGB", "RGBA", "P"):
                raise ImageError(f"{path} has mode {image.mode}, expected 8-bit RGB; the service refuses it too")
            if image.mode != "RGB" and image.convert("RGBA").getchannel("A").getextrema() != (255, 255):
                raise ImageError(f"{path} has transparent pixels, whose colour is not defined; export it without them")
            return np.asarray(image.convert("RGB"))
    except (OSError, UnidentifiedImageError, SyntaxError, Image.DecompressionBombError) as error:
        raise ImageError(f"{path} cannot be decoded as {', '.join(FORMATS)}: {error}") from error


def fit(pixels: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Centre crop what is longer than 256 pixels, pad by reflection what is shorter; the scale stays as it is.

    Args:
        pixels: Shape: ``(height, width, 3)``, each side at least 129.

    Returns:
        Shape: ``(256, 256, 3)``.

    Raises:
        ImageError: too small to be padded by reflection.
    """
    if min(pixels.shape[:2]) < SMALLEST_SIDE:
        height, width = pixels.shape[:2]
        raise ImageError(f"{width}x{height} pixels; at least {SMALLEST_SIDE} are needed to fill 256x256 by reflection")
    for axis in (0, 1):
        surplus = pixels.shape[axis] - IMAGE_SIDE
        if surplus > 0:
            start = surplus // 2
            pixels = pixels.take(range(start, start + IMAGE_SIDE), axis=axis)
        elif surplus < 0:
            widths: list[Any] = [(0, 0)] * 3
            widths[axis] = (-surplus // 2, -surplus - -surplus // 2)
            pixels = np.pad(pixels, widths, mode="reflect")
    return np.ascontiguousarray(pixels)


def read_image(path: Path) -> NDArray[np.uint8]:
    """Decode and fit one image. Shape: ``(256, 256, 3)``, RGB, 0 to 255.

    Raises:
        ImageError: see :func:`read_pixels` and :func:`fit`.
    """
    pixels = read_pixels(path)
    try:
        return fit(pixels)
    except ImageError as error:
        raise ImageError(f"{path}: {error}") from error


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
