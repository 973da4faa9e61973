"""An original image as a canvas: edits come back with the compression that the original has.

Barcelona and Matek images are JPEG files. If only the edited images were decoded and written anew, or if edited cells
had never been compressed, the grid of 8x8 blocks would tell real from edited. So every image of a made set, real ones
included, is put back into its original frame, compressed with the original's own quantisation tables on the original's
own grid, decoded, cropped, and stored without loss as PNG.
"""

import io
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray
from PIL import Image, JpegImagePlugin
from scipy import ndimage

from contract.files import replacing
from contract.parts import IMAGE_SIDE
from contract.pixels import fit
from training.data.images import read_pixels


@dataclass(frozen=True, slots=True)
class Canvas:
    """The whole of an original, and its JPEG quantisation tables; ``None`` if it is not a JPEG file."""

    frame: NDArray[np.uint8]
    tables: dict[int, list[int]] | None
    sampling: int

    @property
    def pixels(self) -> NDArray[np.uint8]:
        """Cropped or padded. Shape: ``(256, 256, 3)``."""
        return fit(self.frame)

    def finished(self, pixels: NDArray[np.float32] | NDArray[np.uint8]) -> NDArray[np.uint8]:
        """Put edited pixels back, compress as the original was, and take them out again. Shape: ``(256, 256, 3)``."""
        frame = self.frame.copy()
        target, source = _overlap(frame.shape[0]), _overlap(frame.shape[1])
        rounded = np.clip(np.round(pixels), 0, 255).astype(np.uint8)
        frame[target[0], source[0]] = rounded[target[1], source[1]]
        if self.tables is not None:
            buffer = io.BytesIO()
            options: dict[str, Any] = {"qtables": self.tables, "subsampling": self.sampling}
            Image.fromarray(frame).save(buffer, "JPEG", **options)
            with Image.open(buffer) as image:
                frame = np.asarray(image.convert("RGB"))
        return fit(frame)


def _overlap(side: int) -> tuple[slice, slice]:
    """Which part of an axis of the frame is which part of the 256 pixels."""
    surplus = side - IMAGE_SIDE
    if surplus >= 0:
        return slice(surplus // 2, surplus // 2 + IMAGE_SIDE), slice(None)
    return slice(None), slice(-surplus // 2, -surplus // 2 + side)


def open_canvas(path: Path) -> Canvas:
    frame = read_pixels(path)
    with Image.open(path) as image:
        if isinstance(image, JpegImagePlugin.JpegImageFile):
            return Canvas(frame, dict(image.quantization), max(JpegImagePlugin.get_sampling(image), 0))
    return Canvas(frame, None, 0)


def save(path: Path, pixels: NDArray[np.uint8]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    with replacing(path) as partial:
        Image.fromarray(pixels).save(partial, "PNG", compress_level=3)


DYES: Final = np.array([[0.62, 0.70, 0.35], [0.12, 0.80, 0.58]])
"""Directions of azure and eosin in optical density (red, green, blue), from the colours of Barcelona's nuclei and red
cells."""


def second_laboratory(pixels: NDArray[np.uint8], key: str) -> NDArray[np.uint8]:
    """The image in the stain and camera style of another laboratory than Barcelona's.

    Dyes, light, focus and noise differ from Barcelona's, and slightly from image to image. ``key`` (hexadecimal) seeds
    that: images with one key, such as a parent and its child, differ in the same way. Shape: ``(256, 256, 3)``.
    """
    generator = np.random.default_rng(int(key[:16], 16))
    factors = np.array([0.86, 0.72, 0.90, 0.95, 1.06]) * np.exp(generator.normal(0, 0.03, 5))
    density = -np.log((pixels.astype(np.float64) + 1) / 256)
    amounts = density @ np.linalg.pinv(DYES)
    rest = density - amounts @ DYES
    image = (256 * np.exp(-((amounts * factors[:2]) @ DYES + rest)) - 1) * factors[2:]
    image = ndimage.gaussian_filter(image, (0.9, 0.9, 0)) + generator.normal(0, 2.0, image.shape)
    return np.clip(np.round(image), 0, 255).astype(np.uint8)
