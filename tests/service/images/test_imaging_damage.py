"""Damaged images: never filled with grey, never a crash; an image or a refusal, whatever arrives."""

import io
import struct

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from contract.refusals import ImageRefusedError, RefusalCode
from service.settings import Fit
from tests.service.image_files import CELL, KINDS, decoded, refusal, saved
from tests.service.tiny_bundle import encoded

pytestmark = pytest.mark.filterwarnings("ignore::UserWarning:PIL")


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
    data = encoded(CELL, "JPEG", progressive=progressive)
    cut = data[: -2 - missing].rstrip(b"\xff") + b"\xff\xd9"
    assert refusal(cut).code in (RefusalCode.TRUNCATED, RefusalCode.CORRUPT)


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
