import io

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from service.images import jpeg
from tests.paths import CELLS

CELLS = sorted((CELLS).glob("*.jpg"))

pytestmark = pytest.mark.skipif(jpeg.turbo is None, reason="simplejpeg is not installed")


def by_libjpeg(data: bytes) -> bool:
    try:
        height, width, colours, _ = jpeg.turbo.decode_jpeg_header(data)
    except ValueError:
        return False
    return (height, width) == (256, 256) and colours in ("YCbCr", "RGB")


def written(mode: str = "RGB", size: tuple[int, int] = (256, 256), **options: object) -> bytes:
    stream = io.BytesIO()
    Image.new(mode, size).save(stream, "JPEG", **options)
    return stream.getvalue()


def test_the_header_of_a_usual_file_is_read_without_libjpeg(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(jpeg.turbo, "decode_jpeg_header", None)
    for file in CELLS:
        assert jpeg.is_plain(file.read_bytes()), file.name
    assert jpeg.is_plain(written(progressive=True))
    assert jpeg.is_plain(written(comment=b"of a cell", exif=Image.Exif().tobytes(), icc_profile=bytes(70_000)))


@pytest.mark.parametrize(
    "data",
    [written("L"), written("CMYK"), written(size=(256, 255)), written(size=(255, 256)), b"\xff\xd8\xff", b""],
    ids=["greyscale", "CMYK", "low", "narrow", "cut", "empty"],
)
def test_what_is_not_plain_is_not_taken_for_it(data: bytes) -> None:
    assert not jpeg.is_plain(data)


def test_a_file_of_several_pictures_is_not_plain() -> None:
    stream = io.BytesIO()
    cell = Image.open(CELLS[0])
    cell.save(stream, "MPO", save_all=True, append_images=[cell])
    assert by_libjpeg(stream.getvalue())
    assert not jpeg.is_plain(stream.getvalue())


HEAD = CELLS[0].read_bytes()[:700]


@given(st.lists(st.tuples(st.integers(2, len(HEAD) - 1), st.binary(max_size=4), st.integers(0, 4)), max_size=4))
def test_however_the_header_is_damaged_what_is_taken_for_plain_is_refused_or_has_the_size_of_a_cell(
    changes: list[tuple[int, bytes, int]],
) -> None:
    data = CELLS[0].read_bytes()
    for place, added, removed in changes:
        data = data[:place] + added + data[place + removed :]
    if jpeg.is_plain(data):
        try:
            pixels = jpeg.decode(data)
        except ValueError:
            return
        assert pixels.shape == (256, 256, 3)
        assert pixels.dtype == np.uint8
