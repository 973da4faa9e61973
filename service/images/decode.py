"""From the bytes of an upload to uint8 ``[256, 256, 3]`` RGB, or a refusal that says why.

Behaviour fixed here, once:

- JPEG, PNG, BMP and TIFF, told apart by their first bytes. A declared type or a file name never decides: browsers and
  analysers guess them.
- Nothing resamples, rotates or manages colour. EXIF orientation in JPEG and PNG and ICC profiles are ignored; TIFF's
  own orientation tag is part of its layout and is applied. Training reads its images the same way.
- Palette images are looked up exactly; an alpha channel is dropped if it is opaque everywhere. Anything whose colours
  or depth would have to be guessed (greyscale, CMYK, 16 bits, transparency, several frames) is refused.
- Another size than 256x256 is refused, cropped or padded (:mod:`service.images.fitting`).
- A truncated or damaged image is refused, never filled with grey. What libjpeg only warns of counts as damage where
  simplejpeg is installed. Pillow alone leaves two gaps: bytes missing just before an intact end marker go unseen within
  a JPEG's last block (bottom right corner), and anywhere in a progressive JPEG.
- An image that shows nothing (a dark frame, a white field, one colour) is refused: a network has no class for it and
  would name one all the same.
- A JPEG of 256x256 pixels in colour goes to simplejpeg first (:mod:`service.images.jpeg`, half of the time). All else,
  and whatever simplejpeg refuses, goes to Pillow, which finds out why.
"""

import io
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray
from PIL import Image, UnidentifiedImageError

from contract.pixels import MODES
from contract.pixels import fit as fitted
from service.images import jpeg
from service.images.fitting import check_size
from service.images.refusals import ImageRefusedError, RefusalCode
from service.settings import Fit

LEAST_CONTRAST: Final = 24
"""Below it an image is blank: what a camera gives of a dark or an empty field, noise included. Real cells have 105 and
more (``test_contrast.py`` looks at all that are at hand)."""
_COARSE: Final = slice(None, None, 8)
_SIGNATURES: Final = (
    (b"\xff\xd8\xff", "JPEG"),
    (b"\x89PNG\r\n\x1a\n", "PNG"),
    (b"BM", "BMP"),
    (b"II*\0", "TIFF"),
    (b"MM\0*", "TIFF"),
)
_JPEG_END: Final = b"\xff\xd9"
_JPEG_LOOKAHEAD: Final = bytes(8)
"""libjpeg's Huffman decoder reads up to 64 bits ahead of the last pixel."""
_PNG_DEPTH_OFFSET: Final = 24
_TIFF_BITS_PER_SAMPLE: Final = 258
_GREYSCALE_MODES: Final = frozenset({"1", "L", "LA", "La", "I", "F"})


def decode(data: bytes, *, fit: Fit, max_bytes: int, max_pixels: int) -> NDArray[np.uint8]:
    """Decode one image. Safe to call from several threads.

    Args:
        data: the encoded image.
        fit: what to do with an image that is not 256x256.
        max_bytes: largest accepted ``len(data)``.
        max_pixels: largest accepted width x height, checked before anything is decoded.

    Returns:
        Shape: ``(256, 256, 3)``, RGB, 0 to 255.

    Raises:
        ImageRefusedError: for every other outcome, whatever the bytes.
    """
    kind = _kind(data, max_bytes)
    damage = None
    if kind == "JPEG" and jpeg.is_plain(data):
        try:
            return _showing_something(jpeg.decode(data))
        except ValueError as error:
            damage = error
    pixels = _decode_by_pillow(data, kind, fit, max_pixels)
    if damage is not None and jpeg.is_only_warned_of(data):
        raise _undecodable(kind, damage) from damage
    return _showing_something(pixels)


def _decode_by_pillow(data: bytes, kind: str, fit: Fit, max_pixels: int) -> NDArray[np.uint8]:
    try:
        image = _open(data, kind)
        _check_header(image, data, fit, max_pixels)
        pixels = np.array(_opaque_rgb(image))
    except ImageRefusedError:
        raise
    except Image.DecompressionBombError:
        raise _too_many_pixels(max_pixels) from None
    except Exception as error:
        # Pillow's parsers meet hostile bytes with a dozen kinds of exception (struct.error, KeyError, SyntaxError ...).
        raise _undecodable(kind, error) from error
    return fitted(pixels)


def _kind(data: bytes, max_bytes: int) -> str:
    if not data:
        raise ImageRefusedError(RefusalCode.EMPTY, "The image has 0 bytes; check that the file was written completely.")
    if len(data) > max_bytes:
        raise ImageRefusedError(
            RefusalCode.TOO_LARGE,
            f"The image has {len(data)} bytes, at most {max_bytes} are accepted (HAL_MAX_IMAGE_BYTES); "
            "send one cell, not a whole field of view.",
        )
    for signature, kind in _SIGNATURES:
        if data.startswith(signature):
            return kind
    raise ImageRefusedError(
        RefusalCode.UNSUPPORTED_TYPE,
        f"The bytes are not a JPEG, PNG, BMP or TIFF image (they begin with {data[:4].hex(' ')}); convert the image "
        "to one of these without resampling it.",
    )


def _open(data: bytes, kind: str) -> Image.Image:
    if kind == "PNG":
        with Image.open(io.BytesIO(data), formats=[kind]) as image:
            image.verify()
    if kind != "JPEG":
        return Image.open(io.BytesIO(data), formats=[kind])
    # Meeting the end marker too early, libjpeg fills the rest with grey and only warns, which Pillow does not pass on.
    # Without the marker it asks for more data and Pillow raises. Progressive files cannot be decoded without it.
    end = data.rfind(_JPEG_END)
    if end < 0:
        raise ImageRefusedError(
            RefusalCode.TRUNCATED, "The JPEG image has no end marker: its end is missing; export or upload it again."
        )
    image = Image.open(io.BytesIO(data[:end] + _JPEG_LOOKAHEAD), formats=[kind])
    return Image.open(io.BytesIO(data), formats=[kind]) if image.info.get("progressive") else image


def _check_header(image: Image.Image, data: bytes, fit: Fit, max_pixels: int) -> None:
    if image.width * image.height > max_pixels:
        raise _too_many_pixels(max_pixels, f"{image.width}x{image.height}")
    check_size(image.width, image.height, fit)
    if getattr(image, "is_animated", False):
        raise ImageRefusedError(
            RefusalCode.ANIMATED, "The image has several frames or pages, expected one; send each as its own image."
        )
    if (depth := _bits_per_channel(image, data)) > 8:
        raise ImageRefusedError(
            RefusalCode.BIT_DEPTH,
            f"The image has {depth} bits per channel, expected 8; export it with 8 bits, so that the conversion is the "
            "microscope's and not a guess.",
        )
    if image.mode in _GREYSCALE_MODES:
        raise ImageRefusedError(
            RefusalCode.GREYSCALE,
            "The image is greyscale, expected RGB: a stained smear is told by its colours; export it in colour.",
        )
    if image.mode == "CMYK":
        raise ImageRefusedError(
            RefusalCode.CMYK, "The image is CMYK, a colour space for printing, expected RGB; export it as RGB."
        )
    if image.mode not in MODES:
        raise ImageRefusedError(
            RefusalCode.COLOUR_SPACE, f"The image's colour space is {image.mode}, expected RGB; export it as RGB."
        )
    covered = sum((right - left) * (lower - upper) for _, (left, upper, right, lower), *_ in _tiles(image))
    if covered < image.width * image.height:
        raise ImageRefusedError(
            RefusalCode.TRUNCATED, "The file describes only a part of the image's pixels; export or upload it again."
        )


def _tiles(image: Image.Image) -> list[Any]:
    return list(getattr(image, "tile", ()))


def _bits_per_channel(image: Image.Image, data: bytes) -> int:
    if image.mode.startswith("I;16"):
        return 16
    if image.format == "PNG":
        return data[_PNG_DEPTH_OFFSET]
    if image.format == "TIFF":
        tags: Any = getattr(image, "tag_v2", {})
        return int(max(tags.get(_TIFF_BITS_PER_SAMPLE, (8,))))
    return 8


def _opaque_rgb(image: Image.Image) -> Image.Image:
    if image.mode == "RGB" and "transparency" not in image.info:
        image.load()
        return image
    coloured = image.convert("RGBA")
    if coloured.getchannel("A").getextrema() != (255, 255):
        raise ImageRefusedError(
            RefusalCode.TRANSPARENT,
            "The image has transparent pixels, whose colour is not defined; export it without transparency.",
        )
    return coloured.convert("RGB")


def _showing_something(pixels: NDArray[np.uint8]) -> NDArray[np.uint8]:
    if (found := contrast(pixels)) < LEAST_CONTRAST:
        raise ImageRefusedError(
            RefusalCode.BLANK,
            f"The image shows nothing: its pixels differ by {found} of 255 levels of green, expected at least "
            f"{LEAST_CONTRAST} (a stained cell has over 100); check the lamp, the shutter and where the cell is.",
        )
    return pixels


def _too_many_pixels(max_pixels: int, declared: str = "far more") -> ImageRefusedError:
    return ImageRefusedError(
        RefusalCode.TOO_MANY_PIXELS,
        f"The image declares {declared} pixels, at most {max_pixels} are decoded (HAL_MAX_PIXELS); send one cell, "
        "not a whole field of view.",
    )


def _undecodable(kind: str, error: Exception) -> ImageRefusedError:
    if "truncated" in str(error).lower():
        return ImageRefusedError(
            RefusalCode.TRUNCATED, f"The {kind} image ends before its last pixel; export or upload it again."
        )
    reason = "its header is damaged" if isinstance(error, UnidentifiedImageError) else f"decoding failed: {error}"
    return ImageRefusedError(
        RefusalCode.CORRUPT, f"The {kind} image is damaged ({reason[:200]}); export or upload it again."
    )


def contrast(pixels: NDArray[np.uint8]) -> int:
    """Levels of green, 0 to 255, between the darkest and the brightest pixel of every eighth row and column.

    Green is what stained nuclei absorb most.

    Args:
        pixels: Shape: ``(height, width, 3)``, RGB.
    """
    green = pixels[_COARSE, _COARSE, 1]
    return int(green.max()) - int(green.min())
