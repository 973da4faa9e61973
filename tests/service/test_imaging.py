import io
import struct
import zlib
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from numpy.typing import NDArray
from PIL import Image, ImageCms

from service import jpeg
from service.imaging import ImageRefusedError, RefusalCode, decode
from service.settings import Fit
from tests.service.tiny_bundle import encoded

pytestmark = pytest.mark.filterwarnings("ignore::UserWarning:PIL")

LOSSLESS = ("PNG", "BMP", "TIFF")
KINDS = ("JPEG", *LOSSLESS)
CELLS = Path(__file__).parents[1] / "data" / "cells"
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


@pytest.mark.parametrize("kind", LOSSLESS)
def test_lossless_images_come_out_as_they_went_in(kind: str) -> None:
    pixels = decoded(encoded(CELL, kind))
    assert pixels.dtype == np.uint8
    assert np.array_equal(pixels, CELL)


@pytest.mark.parametrize("options", [{}, {"quality": 95, "subsampling": 0}, {"restart_marker_rows": 1}])
def test_jpeg_is_decoded_as_pillow_decodes_it(options: dict[str, int]) -> None:
    data = encoded(CELL, "JPEG", **options)
    assert np.array_equal(decoded(data), np.asarray(Image.open(io.BytesIO(data))))


@pytest.mark.parametrize("path", sorted(CELLS.glob("*.jpg")), ids=lambda path: path.stem)
def test_the_sample_cells_are_accepted_as_they_are(path: Path) -> None:
    assert np.array_equal(decoded(path.read_bytes()), np.asarray(Image.open(path)))


def test_progressive_jpeg_is_decoded() -> None:
    data = encoded(CELL[:, ::-1], "JPEG", progressive=True)
    assert np.array_equal(decoded(data), np.asarray(Image.open(io.BytesIO(data))))


def test_bytes_after_the_end_of_a_jpeg_are_ignored() -> None:
    data = encoded(CELL, "JPEG")
    assert np.array_equal(decoded(data + bytes(64)), decoded(data))


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


# Refusals


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


@pytest.mark.parametrize(("kind", "missing"), [("JPEG", 1), ("JPEG", 2), ("PNG", 12), ("PNG", 16)])
def test_an_image_without_its_end_mark_is_refused_even_if_its_pixels_are_there(kind: str, missing: int) -> None:
    assert refusal(encoded(CELL, kind)[:-missing]).code in (RefusalCode.TRUNCATED, RefusalCode.CORRUPT)


@pytest.mark.parametrize("kept", [0.3, 0.6, 0.9, 0.98])
def test_a_truncated_jpeg_is_found_even_with_an_end_marker(kept: float) -> None:
    data = encoded(CELL, "JPEG", quality=95)
    cut = data[: int(len(data) * kept)].rstrip(b"\xff") + b"\xff\xd9"
    assert Image.open(io.BytesIO(cut)).convert("RGB").size == (256, 256), "Pillow alone would have filled it"
    assert refusal(cut).code is RefusalCode.TRUNCATED


@pytest.mark.parametrize("progressive", [False, True])
@pytest.mark.parametrize("missing", [1, 2, 3, 9, 40, 400])
def test_bytes_missing_just_before_the_end_marker_are_found(missing: int, progressive: bool) -> None:
    pytest.importorskip("simplejpeg", reason="Pillow alone does not pass on libjpeg's warnings")
    data = encoded(CELL, "JPEG", progressive=progressive)
    cut = data[: -2 - missing].rstrip(b"\xff") + b"\xff\xd9"
    assert refusal(cut).code in (RefusalCode.TRUNCATED, RefusalCode.CORRUPT)


def test_without_simplejpeg_images_are_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    files = [path.read_bytes() for path in sorted(CELLS.glob("*.jpg"))[:3]]
    by_turbo = [decoded(file) for file in files]
    monkeypatch.setattr(jpeg, "turbo", None)
    for file, pixels in zip(files, by_turbo, strict=True):
        assert np.array_equal(decoded(file), pixels)
    assert refusal(files[0][:-500]).code is RefusalCode.TRUNCATED
    assert refusal(files[0][:5000] + b"\xff\xd9").code is RefusalCode.TRUNCATED


def test_a_jpeg_that_only_pillow_can_decode_is_accepted(monkeypatch: pytest.MonkeyPatch) -> None:
    def lacking(*_: object, **__: object) -> None:
        raise ValueError("arithmetic coding is not in this libjpeg-turbo")

    pytest.importorskip("simplejpeg")
    data = encoded(CELL, "JPEG")
    monkeypatch.setattr("service.jpeg.turbo.decode_jpeg", lacking)
    assert np.array_equal(decoded(data), np.asarray(Image.open(io.BytesIO(data))))


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
def test_an_opaque_alpha_channel_is_dropped(kind: str) -> None:
    image = Image.fromarray(CELL)
    image.putalpha(255)
    assert np.array_equal(decoded(saved(image, kind)), CELL)


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


@pytest.mark.parametrize("kind", LOSSLESS)
def test_a_palette_is_looked_up_exactly(kind: str) -> None:
    image = Image.fromarray(CELL).quantize(64)
    assert np.array_equal(decoded(saved(image, kind)), np.asarray(image.convert("RGB")))


def test_a_transparent_palette_entry_is_refused() -> None:
    image = Image.fromarray(CELL).quantize(64)
    assert refusal(saved(image, "PNG", transparency=0)).code is RefusalCode.TRANSPARENT


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


# Size


def test_strict_refuses_every_other_size_and_says_why() -> None:
    error = refusal(encoded(noise(360, 363), "PNG"))
    assert error.code is RefusalCode.WRONG_SIZE
    assert "360x363" in str(error)
    assert "256x256" in str(error)


@pytest.mark.parametrize(
    ("width", "height", "remedy"),
    [
        (360, 363, "set HAL_FIT=crop"),
        (256, 257, "set HAL_FIT=crop"),
        (250, 250, "set HAL_FIT=pad"),
        (129, 256, "set HAL_FIT=pad"),
        (100, 100, "export a larger field"),
        (250, 360, "export a larger field"),
    ],
)
def test_strict_names_the_fit_that_would_take_the_image_and_no_other(width: int, height: int, remedy: str) -> None:
    data = encoded(noise(width, height), "PNG")
    assert remedy in str(refusal(data))
    if "HAL_FIT" in remedy:
        assert decoded(data, Fit(remedy.rpartition("=")[2])).shape == (256, 256, 3)
    assert str(refusal(data)).count("HAL_FIT") == remedy.count("HAL_FIT")


def test_crop_takes_the_centre() -> None:
    pixels = noise(360, 363)
    assert np.array_equal(decoded(encoded(pixels), Fit.CROP), pixels[53:309, 52:308])


def test_pad_reflects_the_border_without_repeating_it() -> None:
    pixels = noise(250, 251)
    padded = decoded(encoded(pixels), Fit.PAD)
    assert np.array_equal(padded[2:253, 3:253], pixels)
    assert np.array_equal(padded[2:253, 2], pixels[:, 1])
    assert np.array_equal(padded[1, 3:253], pixels[1])
    assert np.array_equal(padded[255, 3:253], pixels[-4])


def size_cases() -> Iterator[tuple[Fit, int, int]]:
    yield Fit.CROP, 255, 256
    yield Fit.CROP, 300, 200
    yield Fit.PAD, 257, 256
    yield Fit.PAD, 300, 200
    yield Fit.PAD, 128, 256
    yield Fit.PAD, 1, 1


@pytest.mark.parametrize(("fit", "width", "height"), list(size_cases()))
def test_neither_crop_nor_pad_does_the_others_work(fit: Fit, width: int, height: int) -> None:
    assert refusal(encoded(noise(width, height)), fit=fit).code is RefusalCode.WRONG_SIZE


@given(width=st.integers(1, 400), height=st.integers(1, 400), fit=st.sampled_from(Fit))
@example(width=129, height=129, fit=Fit.PAD)
def test_every_pixel_of_an_answer_is_a_pixel_of_the_image(width: int, height: int, fit: Fit) -> None:
    column, row = np.meshgrid(np.arange(width) % 256, np.arange(height) % 256)
    pixels = np.stack([column, row, (column + row) % 256], axis=-1).astype(np.uint8)
    try:
        result = decoded(encoded(pixels, "BMP"), fit)
    except ImageRefusedError as error:
        assert error.code is RefusalCode.WRONG_SIZE
        return
    assert result.shape == (256, 256, 3)
    assert np.array_equal(result[..., 2], (result[..., 0].astype(int) + result[..., 1]) % 256)


# Whatever arrives


FILES = [encoded(CELL[:, :, ::-1], kind) for kind in KINDS] + [
    saved(Image.fromarray(CELL).quantize(16), "PNG"),
    saved(Image.fromarray(CELL), "JPEG", progressive=True),
    saved(Image.fromarray(CELL), "TIFF", compression="tiff_lzw"),
    saved(Image.fromarray(CELL), "TIFF", compression="jpeg"),
]


@given(data=st.data(), file=st.sampled_from(FILES))
def test_mutated_bytes_give_an_image_or_a_refusal(data: st.DataObject, file: bytes) -> None:
    mutated = bytearray(file)
    # Headers are where parsers break, so half of the damage goes there.
    place = st.one_of(st.integers(0, min(400, len(file) - 1)), st.integers(0, len(file) - 1))
    for where, value in data.draw(st.lists(st.tuples(place, st.integers(0, 255)), min_size=1, max_size=8)):
        mutated[where] = value
    end = data.draw(st.one_of(st.just(len(file)), st.integers(0, len(file))))
    try:
        pixels = decoded(bytes(mutated[:end]), data.draw(st.sampled_from(Fit)))
    except ImageRefusedError as error:
        assert str(error)
    else:
        assert (pixels.shape, pixels.dtype) == ((256, 256, 3), np.uint8)


@given(
    st.binary(max_size=300), st.sampled_from([b"", b"\xff\xd8\xff", b"\x89PNG\r\n\x1a\n", b"BM", b"II*\0", b"MM\0*"])
)
def test_random_bytes_are_refused(tail: bytes, signature: bytes) -> None:
    refusal(signature + tail)
