"""Training and service agree on what an image is: the same pixels from both, or both refuse."""

import base64
import io
import struct
import warnings
import zlib
from collections import Counter
from pathlib import Path
from random import Random

import numpy as np
import pytest
import simplejpeg
from numpy.typing import NDArray
from PIL import Image, PngImagePlugin

from contract.decoding import decode
from contract.refusals import ImageRefusedError, RefusalCode
from service.images.decode import decode as serve
from service.settings import Fit
from tests.contract.jpeg_files import with_spectrum, written
from tests.fuzz.images import corpus
from tests.fuzz.mutate import mutated
from tests.paths import CELLS
from tests.service.image_files import saved
from training.data.images import ImageError, read_image

pytestmark = pytest.mark.filterwarnings("ignore:.*:UserWarning", "ignore::PIL.Image.DecompressionBombWarning")
CELL = min(CELLS.glob("*.jpg")).read_bytes()
PIXELS = np.asarray(Image.open(io.BytesIO(CELL)))
END = b"\xff\xd9"
SERVICE_ONLY = {RefusalCode.BLANK, RefusalCode.TOO_MANY_PIXELS, RefusalCode.WRONG_SIZE}
"""What the service refuses besides: images without a cell, and what its settings do not take."""


def refusal(data: bytes) -> ImageRefusedError:
    with pytest.raises(ImageRefusedError) as caught:
        decode(data)
    return caught.value


def trained(data: bytes, path: Path) -> NDArray[np.uint8] | None:
    path.write_bytes(data)
    try:
        return read_image(path)
    except ImageError as error:
        assert path.name in str(error)
        return None


def served(data: bytes) -> NDArray[np.uint8] | RefusalCode:
    codes = []
    for fit in Fit:
        try:
            return serve(data, fit=fit, max_bytes=1 << 24, max_pixels=1 << 24)
        except ImageRefusedError as error:
            codes.append(error.code)
    return next((code for code in codes if code is not RefusalCode.WRONG_SIZE), codes[0])


def agree(data: bytes, path: Path) -> str:
    """How both halves take a file; what they make of it is the same."""
    ours, theirs = trained(data, path), served(data)
    if isinstance(theirs, RefusalCode):
        assert ours is None or theirs in SERVICE_ONLY, theirs
        return theirs
    assert ours is not None
    np.testing.assert_array_equal(ours, theirs)
    return "taken"


def files() -> list[bytes]:
    """The sample cells, and some of them in every mode and by every encoder at hand."""
    cell = Image.fromarray(PIXELS)
    modes = ("RGB", "RGBA", "P", "L", "LA", "1", "CMYK", "YCbCr", "I", "F", "I;16")
    found = corpus()
    for kind in ("JPEG", "PNG", "BMP", "TIFF"):
        for mode in modes:
            image = cell.convert("L").convert(mode) if mode == "I;16" else cell.convert(mode)
            try:
                found.append(saved(image, kind))
            except OSError:
                continue  # This format has no such mode.
    found += [
        simplejpeg.encode_jpeg(np.ascontiguousarray(PIXELS), quality, "RGB", sampling, fastdct=False)
        for quality in (60, 95)
        for sampling in ("444", "422", "420", "440", "411")
    ]
    found += [saved(cell, "JPEG", keep_rgb=True), saved(cell, "TIFF", compression="jpeg")]
    return [*found, with_spectrum(CELL, 0, 0, 0), CELL[:-2] + bytes(99) + END, written(PIXELS, restart_marker_rows=1)]


def test_files_of_every_kind_are_taken_by_both_with_the_same_pixels_or_by_none(tmp_path: Path) -> None:
    outcomes = Counter(agree(data, tmp_path / f"cell-{place}") for place, data in enumerate(files()))
    assert outcomes["taken"] > 50
    assert len(outcomes) > 5


def test_mutated_files_are_taken_by_both_with_the_same_pixels_or_by_none(tmp_path: Path) -> None:
    seeds, random = files(), Random(16)  # noqa: S311
    outcomes = Counter(agree(mutated(random.choice(seeds), seeds, random), tmp_path / "cell") for _ in range(1500))
    assert outcomes["taken"] > 100
    assert len(outcomes) > 6


def test_what_is_taken_has_the_pixels_that_pillow_finds() -> None:
    seeds, random, compared = [each for each in files() if each.startswith(b"\xff\xd8")], Random(7), 0  # noqa: S311
    for _ in range(600):
        data = mutated(random.choice(seeds), seeds, random)
        try:
            pixels = decode(data)
            expected = Image.open(io.BytesIO(data), formats=["JPEG"]).convert("RGB")
        except (ImageRefusedError, OSError, SyntaxError):
            continue
        np.testing.assert_array_equal(pixels, np.asarray(expected))
        compared += 1
    assert compared > 30


@pytest.mark.parametrize("options", [{}, {"progressive": True}, {"restart_marker_blocks": 5}, {"subsampling": 0}])
def test_wherever_a_jpeg_is_cut_it_is_refused_with_and_without_an_end_marker(options: dict[str, int]) -> None:
    whole, random = written(PIXELS, **options), Random(3)  # noqa: S311
    for _ in range(200):
        cut = whole[: random.randrange(3, len(whole) - 2)]
        refusal(cut)
        marked = cut.rstrip(b"\xff") + END
        try:
            decode(marked)
        except ImageRefusedError:
            continue
        assert whole[len(marked) - 2 :].strip(b"\xff\0") == b"\xd9", "pixels were left out"


@pytest.mark.parametrize("kind", ["PNG", "BMP", "TIFF"])
def test_wherever_another_file_is_cut_no_pixel_is_made_up(kind: str) -> None:
    whole, random = saved(Image.fromarray(PIXELS), kind), Random(3)  # noqa: S311
    for _ in range(100):
        cut = whole[: random.randrange(3, len(whole))]
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            try:
                np.testing.assert_array_equal(decode(cut), PIXELS)
            except ImageRefusedError:
                continue
            assert kind == "TIFF", "only a TIFF may have something behind its pixels"


@pytest.mark.parametrize("rows", [32, 88, 256])
@pytest.mark.parametrize("kept", [0.3, 0.9])
def test_a_jpeg_within_a_tiff_is_whole_or_refused(rows: int, kept: float, tmp_path: Path) -> None:
    data = saved(Image.fromarray(PIXELS), "TIFF", compression="jpeg", tiffinfo={278: rows})
    assert agree(data, tmp_path / "cell.tif") == "taken"
    scan, end = data.rindex(b"\xff\xda") + 14, data.rindex(END)
    cut = scan + int((end - scan) * kept)
    for rest in (bytes(end - cut), END + bytes(end - cut - 2)):
        assert refusal(data[:cut] + rest + data[end:]).code in (RefusalCode.TRUNCATED, RefusalCode.CORRUPT)


def text(size: int) -> PngImagePlugin.PngInfo:
    info = PngImagePlugin.PngInfo()
    info.add_text("note", "x" * size, zip=True)
    return info


@pytest.mark.parametrize(
    "options",
    [{"icc_profile": bytes(2_000_000)}, {"pnginfo": text(2_000_000)}, {"pnginfo": text(200_000_000)}],
    ids=["profile", "text", "bomb"],
)
def test_large_profiles_and_texts_of_a_png_are_ignored(options: dict[str, object], tmp_path: Path) -> None:
    data = saved(Image.fromarray(PIXELS), "PNG", **options)
    assert agree(data, tmp_path / "cell.png") == "taken"
    np.testing.assert_array_equal(decode(data), PIXELS)


def test_a_damaged_text_of_a_png_is_ignored_and_a_damaged_pixel_is_not() -> None:
    data = saved(Image.fromarray(PIXELS), "PNG", pnginfo=text(1000))
    note, pixels = data.index(b"zTXt") + 9, data.index(b"IDAT") + 99
    flipped = [bytearray(data), bytearray(data)]
    flipped[0][note] ^= 1
    flipped[1][pixels] ^= 1
    np.testing.assert_array_equal(decode(bytes(flipped[0])), PIXELS)
    assert refusal(bytes(flipped[1])).code is RefusalCode.CORRUPT


def chunk(kind: bytes, content: bytes) -> bytes:
    return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))


def float_tiff() -> bytes:
    """RGB with 32-bit floating-point numbers, which Pillow cannot open."""
    entries = [
        (256, 3, 1, 2), (257, 3, 1, 2), (258, 3, 3, 134), (259, 3, 1, 1), (262, 3, 1, 2),
        (273, 4, 1, 146), (277, 3, 1, 3), (278, 3, 1, 2), (279, 4, 1, 48), (339, 3, 3, 140),
    ]  # fmt: skip
    directory = b"".join(struct.pack("<HHII", *entry) for entry in entries)
    return (
        b"II*\0\x08\0\0\0"
        + struct.pack("<H", 10)
        + directory
        + bytes(4)
        + struct.pack("<6H", 32, 32, 32, 3, 3, 3)
        + bytes(48)
    )


def tiff_with_16_bits() -> bytes:
    """RGB with 16 bits a channel: the 8-bit file with its BitsPerSample changed."""
    data = bytearray(saved(Image.new("RGB", (512, 256)), "TIFF"))
    (directory,) = struct.unpack_from("<I", data, 4)
    (entries,) = struct.unpack_from("<H", data, directory)
    for entry in range(directory + 2, directory + 2 + 12 * entries, 12):
        tag, _, _, value = struct.unpack_from("<HHII", data, entry)
        if tag == 256:
            struct.pack_into("<I", data, entry + 8, 256)
        if tag == 258:
            struct.pack_into("<HHH", data, value, 16, 16, 16)
    return bytes(data)


def pages(kind: str) -> bytes:
    cell = Image.fromarray(PIXELS)
    return saved(cell, kind, save_all=True, append_images=[Image.fromarray(255 - PIXELS)])


DEEP_HEAD = chunk(b"IHDR", struct.pack(">IIBBBBB", 256, 256, 16, 2, 0, 0, 0))
DEEP_ROWS = chunk(b"IDAT", zlib.compress((b"\0" + bytes(range(192)) * 8) * 256))
DEEP_PNG = b"\x89PNG\r\n\x1a\n" + DEEP_HEAD + DEEP_ROWS + chunk(b"IEND", b"")


@pytest.mark.parametrize(
    ("data", "code", "words"),
    [
        (float_tiff(), RefusalCode.BIT_DEPTH, "32 bits per channel as floating-point"),
        (saved(Image.new("F", (256, 256)), "TIFF"), RefusalCode.BIT_DEPTH, "floating-point"),
        (DEEP_PNG, RefusalCode.BIT_DEPTH, "16 bits per channel"),
        (tiff_with_16_bits(), RefusalCode.BIT_DEPTH, "16 bits per channel"),
        (saved(Image.new("I;16", (256, 256)), "PNG"), RefusalCode.BIT_DEPTH, "16 bits per channel"),
        (saved(Image.new("I;16", (256, 256)), "TIFF"), RefusalCode.BIT_DEPTH, "16 bits per channel"),
        (pages("TIFF"), RefusalCode.ANIMATED, "several frames or pages"),
        (pages("PNG"), RefusalCode.ANIMATED, "several frames or pages"),
        (pages("MPO"), RefusalCode.ANIMATED, "several frames or pages"),
        (bytes(128) + b"DICM" + bytes(99), RefusalCode.UNSUPPORTED_TYPE, "DICOM file; export the picture"),
        (base64.b64encode(CELL), RefusalCode.UNSUPPORTED_TYPE, "base64 text .*2f 39 6a.* send the file's bytes"),
        (b"data:image/png;base64,iVBORw0KGgo=", RefusalCode.UNSUPPORTED_TYPE, "base64 text"),
        (base64.b64encode(saved(Image.fromarray(PIXELS), "BMP")), RefusalCode.UNSUPPORTED_TYPE, "base64 text"),
        (base64.b64encode(saved(Image.fromarray(PIXELS), "TIFF")), RefusalCode.UNSUPPORTED_TYPE, "base64 text"),
        (b"\x1f\x8b\x08" + bytes(20), RefusalCode.UNSUPPORTED_TYPE, "gzip"),
        (b"II+\0\x08\0\0\0" + bytes(20), RefusalCode.UNSUPPORTED_TYPE, "BigTIFF file .* plain TIFF or a PNG"),
    ],
)  # fmt: skip
def test_both_halves_name_the_right_cause(data: bytes, code: RefusalCode, words: str, tmp_path: Path) -> None:
    error = refusal(data)
    assert error.code is code
    path = tmp_path / "cell"
    path.write_bytes(data)
    with pytest.raises(ImageError, match=words):
        read_image(path)
    assert served(data) is code
