"""Whether a JPEG is whole is told by what its scans deliver, not by what libjpeg says of it."""

import contextlib
import io
import time
import warnings

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from contract.decoding import decode
from contract.jpeg import read_header
from contract.refusals import ImageRefusedError, RefusalCode
from tests.contract.jpeg_files import scans, segment, with_spectrum, written
from tests.paths import CELLS

CELL = min(CELLS.glob("*.jpg")).read_bytes()
PIXELS = np.asarray(Image.open(io.BytesIO(CELL)))
PROGRESSIVE = written(PIXELS, progressive=True)
END = b"\xff\xd9"


def refusal(data: bytes) -> ImageRefusedError:
    with pytest.raises(ImageRefusedError) as caught:
        decode(data)
    return caught.value


@pytest.mark.parametrize("path", sorted(CELLS.glob("*.jpg")), ids=lambda path: path.stem)
@pytest.mark.parametrize("options", [None, {"progressive": True}, {"restart_marker_blocks": 7}, {"subsampling": 0}])
def test_a_whole_file_is_decoded_as_pillow_decodes_it(path: object, options: dict[str, int] | None) -> None:
    data = path.read_bytes() if options is None else written(Image.open(path), **options)  # type: ignore[attr-defined]
    np.testing.assert_array_equal(decode(data), np.asarray(Image.open(io.BytesIO(data))))


@pytest.mark.parametrize("data", [CELL, PROGRESSIVE, with_spectrum(CELL, 0, 0, 0)], ids=["", "progressive", "Se=0"])
@pytest.mark.parametrize("padding", [b"\0", bytes(3), bytes(4000), b"\x20" * 511, b"\xff" * 7, b"\0\0\xff\xff"])
def test_padding_before_the_end_marker_changes_nothing(data: bytes, padding: bytes) -> None:
    np.testing.assert_array_equal(decode(data[:-2] + padding + END + b"behind"), decode(data))


def test_other_bytes_before_the_end_marker_are_pixels_without_a_place() -> None:
    assert refusal(CELL[:-2] + CELL[3000:3020].replace(b"\xff", b"") + END).code is RefusalCode.CORRUPT


@pytest.mark.parametrize("spectrum", [(0, 0, 0), (63, 0, 0), (0, 63, 0x11)])
def test_the_spectrum_that_cameras_write_into_a_sequential_scan_does_not_matter(spectrum: tuple[int, int, int]) -> None:
    data = with_spectrum(CELL, *spectrum)
    np.testing.assert_array_equal(decode(data), PIXELS)
    assert refusal(data[:-300] + END).code is RefusalCode.TRUNCATED
    assert refusal(data[:-1]).code is RefusalCode.TRUNCATED


def test_an_unknown_version_of_jfif_does_not_matter_and_hides_no_damage() -> None:
    data = CELL[:11] + b"\2" + CELL[12:]
    np.testing.assert_array_equal(decode(data), PIXELS)
    assert refusal(data[:-300] + END).code is RefusalCode.TRUNCATED


def test_every_scan_of_a_progressive_file_counts() -> None:
    head, parts = scans(PROGRESSIVE)
    assert len(parts) == 10
    for left_out in range(10):
        rest = b"".join(part for place, part in enumerate(parts) if place != left_out)
        assert refusal(head + rest + END).code in (RefusalCode.TRUNCATED, RefusalCode.CORRUPT), left_out
    for kept in range(10):
        assert refusal(head + b"".join(parts[:kept]) + END).code in (RefusalCode.TRUNCATED, RefusalCode.CORRUPT), kept


@pytest.mark.parametrize("part", range(10))
def test_bytes_missing_at_the_end_of_any_scan_are_found(part: int) -> None:
    head, parts = scans(PROGRESSIVE)
    tables = parts[part].find(b"\xff\xc4")
    data, behind = (parts[part], b"") if tables < 0 else (parts[part][:tables], parts[part][tables:])
    parts[part] = data[: 14 + (len(data) - 14) // 2].rstrip(b"\xff") + behind
    assert refusal(head + b"".join(parts) + END).code in (RefusalCode.TRUNCATED, RefusalCode.CORRUPT)


def test_a_channel_without_a_scan_is_missed() -> None:
    scan = segment(CELL, 0xDA)
    first_only = b"\xff\xda\x00\x08\x01" + CELL[scan + 5 : scan + 7] + b"\x00\x3f\x00"
    grey = written(PIXELS[..., 0])
    entropy = grey[segment(grey, 0xDA) + 10 :]
    assert refusal(CELL[:scan] + first_only + entropy).code is RefusalCode.TRUNCATED


def test_a_file_of_more_scans_or_segments_than_anyone_writes_costs_nothing() -> None:
    head, parts = scans(PROGRESSIVE)
    for file in (
        head + b"".join(parts) + parts[-1] * 50_000 + END,
        CELL[:2] + b"\xff\xfe\0\2" * 2_000_000 + CELL[2:],
        PROGRESSIVE[:-2] + b"\xff\xfe\0\2" * 2_000_000 + END,
    ):
        begin = time.process_time()
        refusal(file)
        assert time.process_time() - begin < 2


@pytest.mark.parametrize("filling", [b"\xff" * (1 << 23), b"\xff\xd0" * (1 << 22)], ids=["fill bytes", "restarts"])
def test_megabytes_of_filling_cost_nothing(filling: bytes) -> None:
    begin = time.process_time()
    for data in (CELL[:2] + filling, CELL[:-2] + filling + END, PROGRESSIVE[:-2] + filling + END):
        with contextlib.suppress(ImageRefusedError):
            decode(data)
    assert time.process_time() - begin < 4


@pytest.mark.parametrize("process", [0xC3, 0xC5, 0xC9, 0xCA, 0xCB])
def test_codings_whose_damage_cannot_be_seen_are_refused_by_name(process: int) -> None:
    frame = segment(CELL, 0xC0)
    error = refusal(CELL[: frame + 1] + bytes([process]) + CELL[frame + 2 :])
    assert error.code is RefusalCode.UNSUPPORTED_TYPE
    assert ("arithmetic" if process >= 0xC9 else "lossless") in str(error)


def test_twelve_bits_and_a_height_behind_the_pixels_are_told_as_what_they_are() -> None:
    frame = segment(CELL, 0xC0)
    deep = refusal(CELL[: frame + 4] + b"\x0c" + CELL[frame + 5 :])
    assert deep.code is RefusalCode.BIT_DEPTH
    assert "12 bits per channel" in str(deep)
    without_height = refusal(CELL[: frame + 5] + b"\0\0" + CELL[frame + 7 :])
    assert without_height.code is RefusalCode.UNSUPPORTED_TYPE
    assert "DNL" in str(without_height)


@pytest.mark.parametrize("kept", [0.1, 0.5, 0.9])
def test_the_end_marker_of_a_thumbnail_is_not_the_images(kept: float) -> None:
    thumbnail = written(PIXELS[::4, ::4])
    exif = b"Exif\0\0MM\0*\0\0\0\x08\0\0\0\0\0\0" + thumbnail
    data = CELL[:2] + b"\xff\xe1" + (len(exif) + 2).to_bytes(2) + exif + CELL[2:]
    np.testing.assert_array_equal(decode(data), PIXELS)
    error = refusal(data[: len(data) - len(CELL) + int(len(CELL) * kept)])
    assert error.code is RefusalCode.TRUNCATED
    assert "end" in str(error)


def test_a_file_cut_in_its_header_is_told_so() -> None:
    for end in range(3, segment(CELL, 0xDA) + 4):
        assert refusal(CELL[:end]).code is RefusalCode.TRUNCATED


def test_an_image_of_several_pictures_says_so_in_its_header() -> None:
    stream = io.BytesIO()
    cell = Image.fromarray(PIXELS)
    cell.save(stream, "MPO", save_all=True, append_images=[cell])
    assert read_header(stream.getvalue()).lists_pictures
    assert refusal(stream.getvalue()).code is RefusalCode.ANIMATED
    assert not read_header(CELL).lists_pictures


@given(st.lists(st.tuples(st.integers(2, 700), st.binary(max_size=4), st.integers(0, 4)), max_size=4))
def test_however_the_header_is_damaged_there_are_pixels_of_the_declared_size_or_a_refusal(
    changes: list[tuple[int, bytes, int]],
) -> None:
    data = CELL
    for place, added, removed in changes:
        data = data[:place] + added + data[place + removed :]
    sizes: list[tuple[int, int]] = []

    def small(width: int, height: int) -> None:
        sizes.append((height, width))
        if width * height > 1 << 20:
            raise ImageRefusedError(RefusalCode.TOO_MANY_PIXELS, "too many")

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            pixels = decode(data, small)
        except ImageRefusedError:
            return
    assert sizes == [pixels.shape[:2]]
    assert (pixels.shape[2], pixels.dtype) == (3, np.uint8)
