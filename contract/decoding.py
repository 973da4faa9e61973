"""From the bytes of a file to RGB pixels at their own size, or a refusal that says why: one policy for training and
service, so that a network meets what it has learned.

- JPEG, PNG, BMP and TIFF, told apart by their first bytes. A declared type or a file name never decides: browsers and
  analysers guess them.
- Nothing resamples, rotates or manages colour. EXIF orientation in JPEG and PNG and ICC profiles are ignored; TIFF's
  own orientation tag is part of its layout and is applied.
- Palette images are looked up exactly; an alpha channel is dropped if it is opaque everywhere. Anything whose colours
  or depth would have to be guessed (greyscale, CMYK, 16 bits, transparency, several frames) is refused.
- An incomplete or damaged image is refused, never filled with grey. What libjpeg warns of counts as damage, unless the
  pixels are whole (:mod:`contract.jpeg`). JPEG, BMP and TIFF have no checksum: changed bits that leave a file's
  structure right go unseen.
- What a PNG says beside its pixels (profile, text, time) is not read, so neither its size nor its damage matters.
"""

import io
from collections.abc import Callable
from typing import Any, Final

import numpy as np
import simplejpeg
from numpy.typing import NDArray
from PIL import Image, TiffImagePlugin, UnidentifiedImageError

from contract import jpeg
from contract.pixels import MODES
from contract.refusals import ImageRefusedError, RefusalCode

MOST_PIXELS: Final = 1 << 27
"""No image with more is decoded, whatever the caller allows."""
_SIGNATURES: Final = (
    (b"\xff\xd8\xff", "JPEG"),
    (b"\x89PNG\r\n\x1a\n", "PNG"),
    (b"BM", "BMP"),
    (b"II*\0", "TIFF"),
    (b"MM\0*", "TIFF"),
)
_BASE64: Final = (b"data:image/", b"/9j/", b"iVBORw0KGgo", b"SUkqA", b"TU0AK", b"Qk")
"""How the signatures begin when they are written as text."""
_PNG_SIGNATURE: Final = 8
_PNG_DEPTH: Final = 24
_PNG_ANCILLARY: Final = frozenset({b"tRNS", b"acTL", b"fcTL", b"fdAT"})
"""Of the chunks that a decoder may ignore, those that change pixels or declare other frames."""
_TIFF_BITS: Final = 258
_TIFF_COMPRESSION: Final = 259
_TIFF_JPEG: Final = 7
_TIFF_JPEG_TABLES: Final = 347
_TIFF_STRIPS: Final = (273, 279)
_TIFF_TILES: Final = (324, 325)
_TIFF_SAMPLES: Final = 339
_TIFF_FLOAT: Final = 3
_JPEG_MODES: Final = {1: "L", 3: "RGB", 4: "CMYK"}
_GREYSCALE_MODES: Final = frozenset({"1", "L", "LA", "La", "I", "F"})

CheckSize = Callable[[int, int], None]


def decode(data: bytes, check_size: CheckSize = lambda _width, _height: None) -> NDArray[np.uint8]:
    """Decode one image. Safe to call from several threads.

    Args:
        data: the encoded image.
        check_size: is given width and height before anything is decoded, and may raise.

    Returns:
        Shape: ``(height, width, 3)``, RGB, 0 to 255.

    Raises:
        ImageRefusedError: for every other outcome, whatever the bytes.
    """
    kind = _kind(data)
    if kind == "JPEG":
        return _decode_jpeg(data, check_size)
    try:
        image = _open(data, kind)
        _check_header(image, data, check_size)
        return np.array(_opaque_rgb(image))
    except ImageRefusedError:
        raise
    except Image.DecompressionBombError:
        raise _too_many_pixels("far more") from None
    except Exception as error:
        # Pillow's parsers meet hostile bytes with a dozen kinds of exception (struct.error, KeyError, SyntaxError ...).
        raise _undecodable(kind, error) from error


def _kind(data: bytes) -> str:
    if not data:
        raise ImageRefusedError(RefusalCode.EMPTY, "The image has 0 bytes; check that the file was written completely.")
    for signature, kind in _SIGNATURES:
        if data.startswith(signature):
            return kind
    begin = f"they begin with {data[:4].hex(' ')}"
    if data[128:132] == b"DICM":
        found = "The bytes are a DICOM file; export the picture in it as PNG or JPEG in colour"
    elif data.lstrip().startswith(_BASE64):
        found = f"The bytes look like an image written as base64 text ({begin}); send the file's bytes as they are"
    elif data.startswith((b"II+\0", b"MM\0+")):
        found = f"The bytes are a BigTIFF file ({begin}); export the cell as a plain TIFF or a PNG"
    elif data.startswith(b"\x1f\x8b"):
        found = f"The bytes are compressed with gzip ({begin}); send the image itself"
    else:
        found = (
            f"The bytes are not a JPEG, PNG, BMP or TIFF image ({begin}); convert the image to one of these without "
            "resampling it"
        )
    raise ImageRefusedError(RefusalCode.UNSUPPORTED_TYPE, f"{found}.")


def _decode_jpeg(data: bytes, check_size: CheckSize) -> NDArray[np.uint8]:
    header = jpeg.read_header(data)
    _check_depth(header.bits)
    _check_pixels(header.width, header.height, check_size)
    if header.lists_pictures:
        _check_single(Image.open(io.BytesIO(data), formats=["JPEG"]))
    _check_mode(_JPEG_MODES.get(len(header.components), "of an unknown kind"))
    return _decode_whole_jpeg(data, header)


def _decode_whole_jpeg(data: bytes, header: jpeg.Header) -> NDArray[np.uint8]:
    if header.process == jpeg.PROGRESSIVE or not header.interleaved:
        jpeg.check_complete(data, header)
    try:
        pixels = _turbo(data)
    except ValueError:
        pixels = _decode_jpeg_with_remarks(data, header)
    if pixels.shape != (header.height, header.width, 3):
        raise _damaged("JPEG", "its header gives two sizes")
    return pixels


def _decode_jpeg_with_remarks(data: bytes, header: jpeg.Header) -> NDArray[np.uint8]:
    """The pixels of a file that libjpeg has warned of, if they are whole."""
    jpeg.check_complete(data, header)
    quiet = jpeg.without_remarks(data, header)
    try:
        return _turbo(quiet)
    except ValueError as warning:
        if jpeg.is_padded(quiet, str(warning)):
            return _turbo(quiet, strict=False)
        raise _undecodable("JPEG", warning) from warning


def _turbo(data: bytes, *, strict: bool = True) -> NDArray[np.uint8]:
    # Not by Pillow, which keeps libjpeg's warnings to itself and takes twice the time.
    pixels: NDArray[np.uint8] = simplejpeg.decode_jpeg(data, colorspace="RGB", strict=strict)
    return pixels


def _open(data: bytes, kind: str) -> Image.Image:
    if kind == "PNG":
        data = _essential_chunks(data)
        with Image.open(io.BytesIO(data), formats=[kind]) as image:
            image.verify()
    elif kind == "TIFF":
        _check_tiff(data)
    return Image.open(io.BytesIO(data), formats=[kind])


def _essential_chunks(data: bytes) -> bytes:
    """A PNG with the chunks that say what its pixels are, and no other: Pillow would unpack profiles and texts."""
    parts, place = [data[:_PNG_SIGNATURE]], _PNG_SIGNATURE
    while place + 12 <= len(data):
        end = place + 12 + int.from_bytes(data[place : place + 4])
        kind = data[place + 4 : place + 8]
        if kind[:1].isupper() or kind in _PNG_ANCILLARY:
            parts.append(data[place:end])
        if kind == b"IEND" and end <= len(data):
            return b"".join(parts)
        place = end
    raise ImageRefusedError(
        RefusalCode.TRUNCATED, "The PNG image is cut: its end is missing; export or upload it again."
    )


def _check_header(image: Image.Image, data: bytes, check_size: CheckSize) -> None:
    _check_pixels(image.width, image.height, check_size)
    _check_single(image)
    if image.mode.startswith("I;16"):
        _check_depth(16)
    elif image.format == "PNG":
        _check_depth(data[_PNG_DEPTH])
    _check_mode(image.mode)
    covered = sum((right - left) * (lower - upper) for _, (left, upper, right, lower), *_ in _tiles(image))
    if covered < image.width * image.height:
        raise ImageRefusedError(
            RefusalCode.TRUNCATED, "The file describes only a part of the image's pixels; export or upload it again."
        )


def _tiles(image: Image.Image) -> list[Any]:
    return list(getattr(image, "tile", ()))


def _check_pixels(width: int, height: int, check_size: CheckSize) -> None:
    if width * height > MOST_PIXELS:
        raise _too_many_pixels(f"{width}x{height}")
    check_size(width, height)


def _check_single(image: Image.Image) -> None:
    if getattr(image, "is_animated", False):
        raise ImageRefusedError(
            RefusalCode.ANIMATED, "The image has several frames or pages, expected one; send each as its own image."
        )


def _check_tiff(data: bytes) -> None:
    """Refuse more than 8 bits a channel, which Pillow does not always tell from damage, and JPEGs that are not whole,
    of which libtiff only warns.
    """
    stream = io.BytesIO(data)
    tags = TiffImagePlugin.ImageFileDirectory_v2(stream.read(8))
    stream.seek(tags.next)
    tags.load(stream)
    floating = _TIFF_FLOAT in tags.get(_TIFF_SAMPLES, ())
    _check_depth(int(max(tags.get(_TIFF_BITS, (8,)))), " as floating-point numbers" if floating else "")
    if tags.get(_TIFF_COMPRESSION) == _TIFF_JPEG:
        tables = tags.get(_TIFF_JPEG_TABLES, b"")
        places = [tags.get(tag, ()) for tag in (_TIFF_STRIPS if _TIFF_STRIPS[0] in tags else _TIFF_TILES)]
        for begin, size in zip(*places, strict=True):
            part = data[begin : begin + size]
            picture = tables[:-2] + part[2:] if tables else part
            _decode_whole_jpeg(picture, jpeg.read_header(picture))


def _check_depth(bits: int, how: str = "") -> None:
    if bits > 8:
        raise ImageRefusedError(
            RefusalCode.BIT_DEPTH,
            f"The image has {bits} bits per channel{how}, expected 8; export it with 8 bits, so that the conversion is "
            "the microscope's and not a guess.",
        )


def _check_mode(mode: str) -> None:
    if mode in MODES:
        return
    code, said = RefusalCode.COLOUR_SPACE, f"The image's colour space is {mode}, expected RGB; export it as RGB."
    if mode in _GREYSCALE_MODES:
        code = RefusalCode.GREYSCALE
        said = "The image is greyscale, expected RGB: a stained smear is told by its colours; export it in colour."
    elif mode == "CMYK":
        code = RefusalCode.CMYK
        said = "The image is CMYK, a colour space for printing, expected RGB; export it as RGB."
    raise ImageRefusedError(code, said)


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


def _too_many_pixels(declared: str) -> ImageRefusedError:
    return ImageRefusedError(
        RefusalCode.TOO_MANY_PIXELS,
        f"The image declares {declared} pixels, at most {MOST_PIXELS} are decoded; send one cell, not a whole field of "
        "view.",
    )


def _undecodable(kind: str, error: Exception) -> ImageRefusedError:
    words = str(error).lower()
    if "truncated" in words or "premature end" in words:
        return ImageRefusedError(
            RefusalCode.TRUNCATED, f"The {kind} image ends before its last pixel; export or upload it again."
        )
    return _damaged(
        kind, "its header is damaged" if isinstance(error, UnidentifiedImageError) else f"decoding failed: {error}"
    )


def _damaged(kind: str, reason: str) -> ImageRefusedError:
    return ImageRefusedError(
        RefusalCode.CORRUPT, f"The {kind} image is damaged ({reason[:200]}); export or upload it again."
    )
