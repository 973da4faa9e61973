"""What may differ in another laboratory, done to images one at a time: how robust a network is against it."""

import io
from collections.abc import Callable, Mapping
from typing import Final

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageFilter
from scipy import ndimage

from contract.description import AS_PHOTOGRAPHED
from training.networks.augmentation import STAINS

Change = Callable[[NDArray[np.uint8]], NDArray[np.uint8]]
"""Pixels of an image to pixels of an image. Shape: ``(256, 256, 3)``, RGB, 0 to 255."""


def rotated(degrees: float) -> Change:
    """Turned about the centre, the corners filled by reflection."""
    return lambda pixels: np.asarray(
        ndimage.rotate(pixels, degrees, axes=(0, 1), reshape=False, order=1, mode="reflect"), np.uint8
    )


def brightened(factor: float) -> Change:
    """Every pixel multiplied by ``factor``."""
    return lambda pixels: _bytes(pixels * np.float32(factor))


def restained(haematoxylin: float, eosin: float) -> Change:
    """The amount of each stain multiplied, in optical density."""

    def change(pixels: NDArray[np.uint8]) -> NDArray[np.uint8]:
        amounts = -np.log((pixels + 1.0) / 256.0) @ np.linalg.inv(STAINS)
        return _bytes(256.0 * np.exp(-(amounts * [haematoxylin, eosin, 1.0]) @ STAINS) - 1.0)

    return change


def compressed(quality: int) -> Change:
    """Through JPEG of that quality, 1 to 95, with the colours at half the resolution."""

    def change(pixels: NDArray[np.uint8]) -> NDArray[np.uint8]:
        stream = io.BytesIO()
        Image.fromarray(pixels).save(stream, "JPEG", quality=quality)
        return np.asarray(Image.open(stream))

    return change


def defocused(radius: float) -> Change:
    """Gaussian blur; ``radius`` is its standard deviation in pixels."""
    return lambda pixels: np.asarray(Image.fromarray(pixels).filter(ImageFilter.GaussianBlur(radius)))


def _bytes(pixels: NDArray[np.floating]) -> NDArray[np.uint8]:
    return np.asarray(np.clip(np.rint(pixels), 0, 255), np.uint8)


CONDITIONS: Final[Mapping[str, Change | None]] = {
    AS_PHOTOGRAPHED: None,
    "rotated by 45 degrees": rotated(45),
    "rotated by 90 degrees": rotated(90),
    "15 % darker": brightened(0.85),
    "15 % brighter": brightened(1.15),
    "bluer stain": restained(1.15, 0.85),
    "redder stain": restained(0.85, 1.15),
    "JPEG of quality 50": compressed(50),
    "slightly out of focus": defocused(1.5),
}
