"""Images of a kind that the network was not made for: refused by name, before they cost anything."""

import struct
import zlib

import numpy as np
import pytest
from PIL import Image

from contract.refusals import RefusalCode
from service.settings import Fit
from tests.service.image_files import CELL, decoded, noise, refusal, saved
from tests.service.tiny_bundle import encoded

pytestmark = pytest.mark.filterwarnings("ignore::UserWarning:PIL")


def test_nothing_is_not_an_image() -> None:
    assert refusal(b"").code is RefusalCode.EMPTY


def test_an_image_with_too_many_bytes_is_refused_unread() -> None:
    assert refusal(encoded(CELL, "BMP"), max_bytes=1000).code is RefusalCode.TOO_LARGE


@pytest.mark.parametrize(
    "data",
    [b"GIF89a" + bytes(99), b"%PDF-1.7", b"hello", b"RIFF\0\0\0\0WEBPVP8 ", b"\0" * 500],
    ids=["gif", "pdf", "text", "webp", "zeros"],
)
def test_other_types_are_refused_by_their_bytes(data: bytes) -> None:
    error = refusal(data)
    assert error.code is RefusalCode.UNSUPPORTED_TYPE
    assert "JPEG, PNG, BMP or TIFF" in str(error)


def test_a_decompression_bomb_is_refused_before_it_is_decoded() -> None:
    bomb = saved(Image.new("1", (30_000, 30_000)), "PNG")
    assert len(bomb) < 200_000
    for fit in Fit:
        assert refusal(bomb, fit=fit).code is RefusalCode.TOO_MANY_PIXELS


def test_pixels_are_counted_from_the_header_alone() -> None:
    data = encoded(noise(300, 300), "BMP")
    assert refusal(data[:60], fit=Fit.CROP, max_pixels=300 * 300 - 1).code is RefusalCode.TOO_MANY_PIXELS


@pytest.mark.parametrize("kind", ["PNG", "TIFF"])
def test_several_frames_are_refused(kind: str) -> None:
    frames = [Image.fromarray(CELL), Image.fromarray(255 - CELL)]
    data = saved(frames[0], kind, save_all=True, append_images=frames[1:])
    assert refusal(data).code is RefusalCode.ANIMATED


def test_a_multi_picture_jpeg_is_refused() -> None:
    data = saved(Image.fromarray(CELL), "MPO", save_all=True, append_images=[Image.fromarray(255 - CELL)])
    assert refusal(data).code is RefusalCode.ANIMATED


def png_with_16_bits() -> bytes:
    """RGB with 16 bits a channel, which Pillow reads but cannot write."""

    def chunk(kind: bytes, content: bytes) -> bytes:
        return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))

    header = struct.pack(">IIBBBBB", 256, 256, 16, 2, 0, 0, 0)
    rows = zlib.compress((b"\0" + bytes(256 * 6)) * 256)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", rows) + chunk(b"IEND", b"")


def tiff_with_16_bits() -> bytes:
    """RGB with 16 bits a channel: the 8-bit file with its BitsPerSample changed."""
    data = bytearray(encoded(np.zeros((256, 512, 3), np.uint8), "TIFF"))
    (directory,) = struct.unpack_from("<I", data, 4)
    (entries,) = struct.unpack_from("<H", data, directory)
    for entry in range(directory + 2, directory + 2 + 12 * entries, 12):
        tag, _, _, value = struct.unpack_from("<HHII", data, entry)
        if tag == 256:
            struct.pack_into("<I", data, entry + 8, 256)
        if tag == 258:
            struct.pack_into("<HHH", data, value, 16, 16, 16)
    return bytes(data)


@pytest.mark.parametrize(
    "data",
    [
        png_with_16_bits(),
        tiff_with_16_bits(),
        saved(Image.new("I;16", (256, 256)), "PNG"),
        saved(Image.new("I;16", (256, 256)), "TIFF"),
    ],
    ids=["rgb png", "rgb tiff", "grey png", "grey tiff"],
)
def test_16_bits_are_refused(data: bytes) -> None:
    assert refusal(data).code is RefusalCode.BIT_DEPTH


@pytest.mark.parametrize(
    ("mode", "kind", "code"),
    [
        ("CMYK", "JPEG", RefusalCode.CMYK),
        ("CMYK", "TIFF", RefusalCode.CMYK),
        ("L", "JPEG", RefusalCode.GREYSCALE),
        ("L", "PNG", RefusalCode.GREYSCALE),
        ("LA", "PNG", RefusalCode.GREYSCALE),
        ("1", "BMP", RefusalCode.GREYSCALE),
        ("LAB", "TIFF", RefusalCode.COLOUR_SPACE),
    ],
)
def test_other_colour_spaces_are_refused(mode: str, kind: str, code: RefusalCode) -> None:
    error = refusal(saved(Image.new(mode, (256, 256)), kind))
    assert error.code is code
    assert "expected RGB" in str(error)


@pytest.mark.parametrize("kind", ["PNG", "TIFF"])
def test_one_transparent_pixel_is_refused(kind: str) -> None:
    image = Image.fromarray(CELL)
    image.putalpha(255)
    image.putpixel((9, 9), (1, 2, 3, 254))
    assert refusal(saved(image, kind)).code is RefusalCode.TRANSPARENT


def test_a_transparent_colour_counts_only_where_it_occurs() -> None:
    pixels = np.full((256, 256, 3), 10, np.uint8)
    pixels[64:192, 64:192] = 100
    assert np.array_equal(decoded(encoded(pixels, "PNG", transparency=(1, 2, 3))), pixels)
    assert refusal(encoded(pixels, "PNG", transparency=(10, 10, 10))).code is RefusalCode.TRANSPARENT


def test_a_transparent_palette_entry_is_refused() -> None:
    image = Image.fromarray(CELL).quantize(64)
    assert refusal(saved(image, "PNG", transparency=0)).code is RefusalCode.TRANSPARENT
