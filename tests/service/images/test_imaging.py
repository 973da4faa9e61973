"""Images that are taken: their pixels come out as they went in, whatever the file says besides."""

import io
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageCms

from tests.paths import CELLS
from tests.service.image_files import CELL, LOSSLESS, decoded, saved
from tests.service.tiny_bundle import encoded

pytestmark = pytest.mark.filterwarnings("ignore::UserWarning:PIL")


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
