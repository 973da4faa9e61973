"""Mutated images, many in a request: each gets a class or a known reason."""

import io
from collections.abc import Iterator
from random import Random
from typing import Final

import httpx
import numpy as np
from PIL import Image

from contract.refusals import RefusalCode
from service.batching.errors import ModelFailedError
from service.images.decode import decode
from service.settings import Fit
from tests.fuzz.mutate import mutated
from tests.fuzz.service import Findings, check_end, fuzz_target, resident_bytes
from tests.paths import CELLS
from tests.service.image_files import saved
from tests.service.tiny_bundle import CENTRE, POISON

IN_ONE_REQUEST: Final = 64
MEMORY_EVERY: Final = 1000
_PATIENCE_S: Final = 60
_KNOWN: Final = {"classified", "poisonous colour", *map(str, RefusalCode)}


def corpus() -> list[bytes]:
    """The sample cells as they are, and some as every other kind of file that the decoder knows or refuses."""
    cells = [path.read_bytes() for path in sorted(CELLS.glob("*.jpg"))]
    return cells + [encoded for cell in cells[:3] for encoded in _variants(cell)]


def _variants(cell: bytes) -> Iterator[bytes]:
    image = Image.open(io.BytesIO(cell)).convert("RGB").crop((0, 0, 256, 256))
    small = image.crop((0, 0, 32, 32))
    yield from (saved(image, "JPEG", progressive=True), saved(image, "JPEG", subsampling=0, optimize=True))
    yield from (saved(image.convert(mode), "JPEG") for mode in ("CMYK", "L"))
    yield from (saved(picture, "PNG") for picture in (image, image.quantize(16), image.convert("RGBA"), small))
    yield saved(Image.fromarray(np.zeros((256, 256), np.uint16)), "PNG")
    yield from (saved(image, "TIFF", compression=name) for name in ("raw", "tiff_lzw", "tiff_adobe_deflate"))
    yield from (saved(image, "BMP"), saved(small, "GIF"), saved(small, "WEBP"))


def fuzz_images(count: int, seed: int) -> Findings:
    """Send ``count`` mutated images; reproducible by its seed."""
    random, seeds, findings = Random(seed), corpus(), Findings()  # noqa: S311
    early = 0
    with fuzz_target(HAL_FIT="crop", HAL_LOG_LEVEL="warning") as served, served.http() as http:
        while findings.sent < count:
            size = min(IN_ONE_REQUEST, count - findings.sent)
            images = [mutated(random.choice(seeds), seeds, random) for _ in range(size)]
            _send(http, images, findings)
            findings.sent += size
            if not early and findings.sent >= count / 4:
                early = resident_bytes(served)
            if findings.sent // MEMORY_EVERY > (findings.sent - size) // MEMORY_EVERY:
                findings.memory.append(f"after {findings.sent} images {resident_bytes(served) >> 20} MiB resident")
        check_end(served, early, findings)
    return findings


def _is_poison(image: bytes) -> bool:
    """Whether it shows the colour at which the tests' network fails; damaged JPEG images do, saturated as they are."""
    pixels = decode(image, fit=Fit.CROP, max_bytes=len(image), max_pixels=1 << 24)
    return bool((pixels[CENTRE, CENTRE] == POISON).all())


def _send(http: httpx.Client, images: list[bytes], findings: Findings) -> None:
    together = b"".join(images)
    try:
        response = http.post("/classify", files=[("file", ("x", image)) for image in images], timeout=_PATIENCE_S)
    except httpx.TransportError as error:
        findings.problem(f"no answer: {error!r}", together)
        return
    if response.status_code not in (200, 422):
        findings.problem(f"status {response.status_code}: {response.text[:200]}", together)
        return
    for image, result in zip(images, response.json()["results"], strict=True):
        outcome = result["error"]["code"] if "error" in result else "classified"
        if outcome == ModelFailedError.code and _is_poison(image):
            outcome = "poisonous colour"
        findings.count(outcome)
        if outcome not in _KNOWN:
            findings.problem(f"unknown outcome {outcome!r}", image)
