"""The requests' bodies, made before the test so that making them costs it nothing."""

import secrets
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import cycle, islice
from pathlib import Path
from typing import Final

import numpy as np

from bench.loadtest.errors import LoadTestError
from contract.files import IMAGE_SUFFIXES

SAMPLES: Final = Path(__file__).parents[1] / "tests" / "data" / "cells"
"""Real cells, in a checkout."""
MOST_IMAGES: Final = 1024
_MOST_BULK_FORMS: Final = 32


@dataclass(frozen=True, slots=True)
class Images:
    """Encoded images and where they are from, in words."""

    data: tuple[bytes, ...]
    origin: str


@dataclass(frozen=True, slots=True)
class Form:
    """A request's body."""

    body: bytes
    content_type: str
    images: int


def load_images(folder: Path | None) -> Images:
    """Images of a folder; without one real sample cells, or where there are none drawn ones.

    Raises:
        LoadTestError: the folder has no image.
    """
    if folder is None and not SAMPLES.is_dir():
        return Images(tuple(drawn_cell(seed) for seed in range(32)), "32 drawn images (give --images for real cells)")
    root = folder or SAMPLES
    paths = sorted(path for path in root.rglob("*") if path.suffix.lower() in IMAGE_SUFFIXES)[:MOST_IMAGES]
    if not paths:
        raise LoadTestError(f"no image in {root}; expected files that end in {', '.join(sorted(IMAGE_SUFFIXES))}")
    return Images(tuple(path.read_bytes() for path in paths), f"{len(paths)} images of {root.name}")


def forms(images: Sequence[bytes], bulk: int) -> list[Form]:
    """Forms of ``bulk`` images each, in which all images take their turn."""
    if bulk == 1:
        return [form([data]) for data in images]
    turn = cycle(images)
    count = min(_MOST_BULK_FORMS, max(1, len(images)))
    return [form(list(islice(turn, bulk))) for _ in range(count)]


def form(images: Sequence[bytes]) -> Form:
    """One multipart form."""
    boundary = secrets.token_hex(16)
    head = (
        f'--{boundary}\r\nContent-Disposition: form-data; name="file"; filename="image"\r\n'
        "Content-Type: application/octet-stream\r\n\r\n"
    ).encode()
    parts = b"".join(head + data + b"\r\n" for data in images)
    return Form(parts + f"--{boundary}--\r\n".encode(), f"multipart/form-data; boundary={boundary}", len(images))


def drawn_cell(seed: int) -> bytes:
    """A JPEG of 256x256 pixels that costs a decoder about what a stained cell does; not a picture of anything."""
    import io

    from PIL import Image

    random = np.random.default_rng(seed)
    y, x = np.mgrid[:256, :256]
    far = np.hypot(y - 128 - random.normal(0, 6), x - 128 - random.normal(0, 6))
    pixels = np.full((256, 256, 3), (232.0, 214.0, 218.0))
    pixels[far < random.uniform(60, 80)] = (190, 180, 215)
    pixels[far < random.uniform(30, 55)] = (110, 70, 150)
    pixels += random.normal(0, 9, (256, 256, 1))
    stream = io.BytesIO()
    Image.fromarray(pixels.clip(0, 255).astype(np.uint8)).save(stream, "JPEG", quality=90)
    return stream.getvalue()
