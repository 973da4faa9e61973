"""JPEG files of kinds that Pillow does not write, made from those that it does."""

import io
import re
from typing import Any

import numpy as np
from PIL import Image


def written(pixels: Any, **options: Any) -> bytes:
    stream = io.BytesIO()
    Image.fromarray(np.asarray(pixels)).save(stream, "JPEG", **options)
    return stream.getvalue()


def segment(data: bytes, kind: int) -> int:
    """Where the first segment of a kind begins, its marker included."""
    place = 2
    while data[place + 1] != kind:
        place += 2 + int.from_bytes(data[place + 2 : place + 4])
    return place


def scans(progressive: bytes) -> tuple[bytes, list[bytes]]:
    """What comes before the first scan of a file, and each scan with the tables behind it; no end marker."""
    starts = [found.start() for found in re.finditer(rb"\xff\xda", progressive)]
    return progressive[: starts[0]], [
        progressive[start:end] for start, end in zip(starts, [*starts[1:], len(progressive) - 2], strict=True)
    ]


def with_spectrum(data: bytes, *values: int) -> bytes:
    """A sequential file whose scan header has other values of Ss, Se, Ah and Al."""
    scan = segment(data, 0xDA)
    size = int.from_bytes(data[scan + 2 : scan + 4])
    end = scan + 2 + size
    return data[: end - 3] + bytes(values) + data[end:]
