"""Images to send and the requests that carry them, made before a test so that making them costs it nothing."""

import io
import json
import urllib.error
import urllib.request
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import cycle, islice
from pathlib import Path
from typing import Final

from PIL import Image

from bench import BenchError
from contract.files import IMAGE_SUFFIXES
from contract.parts import IMAGE_SIDE

SAMPLES: Final = Path(__file__).parents[1] / "service" / "static" / "cells"
"""Real cells, in a checkout."""
_MOST_IMAGES: Final = 1024
_MOST_BULK_FORMS: Final = 32
_BOUNDARY: Final = b"----hal-bench-5f2b8c0d"


@dataclass(frozen=True, slots=True)
class Request:
    """A POST request with ``images`` encoded images in it."""

    path: str
    content_type: str
    body: bytes
    images: int = 1


@dataclass(frozen=True, slots=True)
class Target:
    """A service; ``timeout_s`` is the patience with one request."""

    url: str
    api_key: str | None = None
    timeout_s: float = 30.0

    @property
    def headers(self) -> dict[str, str]:
        return {"Authorization": f"Bearer {self.api_key}"} if self.api_key else {}


def form(files: Sequence[bytes], path: str = "/classify") -> Request:
    """A multipart form with each file in a field ``file``."""
    head = (
        b'--%s\r\nContent-Disposition: form-data; name="file"; filename="image"\r\n'
        b"Content-Type: application/octet-stream\r\n\r\n" % _BOUNDARY
    )
    body = b"".join(head + file + b"\r\n" for file in files) + b"--%s--\r\n" % _BOUNDARY
    return Request(path, f"multipart/form-data; boundary={_BOUNDARY.decode()}", body, len(files))


def forms(files: Sequence[bytes], bulk: int = 1, path: str = "/classify") -> list[Request]:
    """Forms of ``bulk`` images each, in which all images take their turn."""
    turn = cycle(files)
    count = len(files) if bulk == 1 else min(_MOST_BULK_FORMS, len(files))
    return [form(list(islice(turn, bulk)), path) for _ in range(count)]


def raw(files: Sequence[bytes], path: str = "/classify") -> list[Request]:
    """Requests whose bodies are JPEG files as they are."""
    return [Request(path, "image/jpeg", file) for file in files]


def load_images(folder: Path | None) -> tuple[list[bytes], str]:
    """The images of a folder and where they come from, in words.

    Without a folder these are the sample cells of the checkout or, where there is none, images of noise.

    Raises:
        BenchError: the folder has no image.
    """
    if folder is None and not SAMPLES.is_dir():
        return [noise() for _ in range(32)], "32 images of noise (give --images for real cells)"
    root = folder or SAMPLES
    paths = sorted(path for path in root.rglob("*") if path.suffix.lower() in IMAGE_SUFFIXES)[:_MOST_IMAGES]
    if not paths:
        raise BenchError(f"no image in {root}; expected files that end in {', '.join(sorted(IMAGE_SUFFIXES))}")
    return [path.read_bytes() for path in paths], f"{len(paths)} images of {root.name}"


def noise() -> bytes:
    """A JPEG that costs a decoder about what a stained cell does."""
    bands = [Image.effect_noise((IMAGE_SIDE, IMAGE_SIDE), 9) for _ in range(3)]
    return jpeg(Image.merge("RGB", bands))


def jpeg(image: Image.Image) -> bytes:
    """An image as a JPEG file of quality 90."""
    stream = io.BytesIO()
    image.save(stream, "JPEG", quality=90)
    return stream.getvalue()


def fetch(target: Target, path: str, request: Request | None = None) -> tuple[int, bytes]:
    """Status and body of a single GET, or of a POST of ``request``. Raises OSError: nobody answers HTTP there."""
    headers = target.headers | ({"Content-Type": request.content_type} if request else {})
    asked = urllib.request.Request(  # noqa: S310 - the user's own address
        target.url + path, data=request.body if request else None, headers=headers
    )
    try:
        with urllib.request.urlopen(asked, timeout=target.timeout_s) as answer:  # noqa: S310
            return answer.status, answer.read()
    except urllib.error.HTTPError as error:
        return error.code, error.read()


def code_of(status: int, body: bytes) -> str:
    """Status and HAL's code of an error, or the status alone."""
    try:
        return f"{status} {json.loads(body)['error']['code']}"
    except (ValueError, KeyError, TypeError):
        return str(status)
