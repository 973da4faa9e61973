"""Image files of every kind, and what :mod:`service.images.decode` makes of them."""

import io
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from contract.refusals import ImageRefusedError
from service.images.decode import decode
from service.settings import Fit

LOSSLESS = ("PNG", "BMP", "TIFF")
KINDS = ("JPEG", *LOSSLESS)
RANDOM = np.random.default_rng(5)
CELL = np.asarray(
    Image.fromarray(RANDOM.integers(0, 256, (32, 32, 3)).astype(np.uint8)).resize((256, 256), Image.Resampling.BICUBIC)
)


def decoded(data: bytes, fit: Fit = Fit.STRICT, max_bytes: int = 1 << 24, max_pixels: int = 1 << 24) -> NDArray[Any]:
    return decode(data, fit=fit, max_bytes=max_bytes, max_pixels=max_pixels)


def refusal(data: bytes, **options: Any) -> ImageRefusedError:
    with pytest.raises(ImageRefusedError) as caught:
        decoded(data, **options)
    return caught.value


def saved(image: Image.Image, kind: str, **options: Any) -> bytes:
    stream = io.BytesIO()
    image.save(stream, kind, **options)
    return stream.getvalue()


def noise(width: int, height: int) -> NDArray[np.uint8]:
    return RANDOM.integers(0, 256, (height, width, 3)).astype(np.uint8)
