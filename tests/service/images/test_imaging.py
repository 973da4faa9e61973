"""Images that are taken come out as they went in, whatever the file says besides; all others are refused by name."""

import struct
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image, ImageCms

from contract.refusals import RefusalCode
from service.settings import Fit
from tests.service.image_files import CELL, KINDS, LOSSLESS, decoded, noise, refusal, saved
from tests.service.tiny_bundle import encoded

pytestmark = pytest.mark.filterwarnings("ignore::UserWarning:PIL")


@pytest.mark.parametrize("kind", LOSSLESS)
def test_lossless_images_come_out_as_they_went_in(kind: str) -> None:
    pixels = decoded(encoded(CELL, kind))
    assert pixels.dtype == np.uint8
    assert np.array_equal(pixels, CELL)


@pytest.mark.parametrize("compression", [None, "tiff_lzw", "tiff_deflate", "packbits"])
def test_compressed_tiff_is_decoded(compression: str | None) -> None:
    assert np.array_equal(decoded(encoded(CELL, "TIFF", compression=compression)), CELL)


def test_several_threads_decode_at_once() -> None:
    marked = np.repeat(CELL[np.newaxis], 32, axis=0)
    marked[:, 0, 0, 0] = range(32)
    files = [encoded(image, "PNG") for image in marked]
    with ThreadPoolExecutor(8) as threads:
        shades = [int(pixels[0, 0, 0]) for pixels in threads.map(decoded, files)]
    assert shades == list(range(32))


@pytest.mark.parametrize("kind", ["PNG", "TIFF"])
def test_an_opaque_alpha_channel_is_dropped(kind: str) -> None:
    image = Image.fromarray(CELL)
    image.putalpha(255)
    assert np.array_equal(decoded(saved(image, kind)), CELL)


@pytest.mark.parametrize("kind", LOSSLESS)
def test_a_palette_is_looked_up_exactly(kind: str) -> None:
    image = Image.fromarray(CELL).quantize(64)
    assert np.array_equal(decoded(saved(image, kind)), np.asarray(image.convert("RGB")))


@pytest.mark.parametrize("kind", ["JPEG", "PNG"])
def test_exif_orientation_is_ignored(kind: str) -> None:
    exif = Image.Exif()
    exif[0x0112] = 6
    assert np.array_equal(decoded(encoded(CELL, kind, exif=exif)), decoded(encoded(CELL, kind)))


def test_the_orientation_of_a_tiff_is_applied() -> None:
    upside_down = 3
    data = encoded(CELL, "TIFF", tiffinfo={274: upside_down})
    assert np.array_equal(decoded(data), CELL[::-1, ::-1])


def test_a_colour_profile_is_ignored() -> None:
    profile = ImageCms.ImageCmsProfile(ImageCms.createProfile("LAB")).tobytes()
    assert np.array_equal(decoded(encoded(CELL, "PNG", icc_profile=profile)), CELL)


# Of a kind that the network was not made for: refused before they cost anything


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
    bomb = saved(Image.new("1", (12_000, 12_000)), "PNG")
    assert len(bomb) < 200_000
    for fit in Fit:
        assert refusal(bomb, fit=fit).code is RefusalCode.TOO_MANY_PIXELS


def test_pixels_are_counted_from_the_header_alone() -> None:
    data = encoded(noise(300, 300), "BMP")
    assert refusal(data[:60], fit=Fit.CROP, max_pixels=300 * 300 - 1).code is RefusalCode.TOO_MANY_PIXELS


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


# Damaged: never filled with grey, never a crash


@pytest.mark.parametrize("kind", KINDS)
def test_garbage_behind_a_good_signature_is_damaged(kind: str) -> None:
    data = encoded(CELL, kind)[:8] + b"\x07" * 400 + b"\xff\xd9"
    assert refusal(data).code in (RefusalCode.CORRUPT, RefusalCode.TRUNCATED)


@pytest.mark.parametrize("level", [0, 6])
def test_one_flipped_bit_in_a_png_is_found(level: int) -> None:
    data = bytearray(encoded(CELL, "PNG", compress_level=level))
    data[len(data) // 2] ^= 1
    assert refusal(bytes(data)).code is RefusalCode.CORRUPT


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("kept", [0.3, 0.6, 0.9, 0.98])
def test_a_truncated_image_is_never_filled_with_grey(kind: str, kept: float) -> None:
    data = encoded(CELL, kind)
    assert refusal(data[: int(len(data) * kept)]).code in (RefusalCode.TRUNCATED, RefusalCode.CORRUPT)


def test_a_tiff_that_describes_half_of_its_rows_is_truncated() -> None:
    image = saved(Image.fromarray(CELL), "TIFF", tiffinfo={278: 128})
    strips = 273
    data = bytearray(image)
    (directory,) = struct.unpack_from("<I", data, 4)
    (entries,) = struct.unpack_from("<H", data, directory)
    for entry in range(directory + 2, directory + 2 + 12 * entries, 12):
        tag, _, count = struct.unpack_from("<HHI", data, entry)
        if tag in (strips, 279):
            assert count == 2
            struct.pack_into("<I", data, entry + 4, 1)
            (first,) = struct.unpack_from("<I", data, entry + 8)
            struct.pack_into("<I", data, entry + 8, struct.unpack_from("<I", data, first)[0])
    assert refusal(bytes(data)).code is RefusalCode.TRUNCATED


@given(
    st.binary(max_size=300), st.sampled_from([b"", b"\xff\xd8\xff", b"\x89PNG\r\n\x1a\n", b"BM", b"II*\0", b"MM\0*"])
)
def test_random_bytes_are_refused(tail: bytes, signature: bytes) -> None:
    refusal(signature + tail)
