"""Training reads an image or says what is wrong with it."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from training.data.images import ImageError, read_image


def numbered(height: int, width: int) -> np.ndarray:
    generator = np.random.default_rng(height * 1000 + width)
    return generator.integers(0, 256, (height, width, 3), dtype=np.uint8)


@pytest.mark.parametrize("suffix", ["jpg", "png", "bmp", "tif"])
def test_four_formats_are_read(tmp_path: Path, suffix: str) -> None:
    path = tmp_path / f"cell.{suffix}"
    Image.fromarray(np.full((256, 256, 3), 90, np.uint8)).save(path)
    np.testing.assert_allclose(read_image(path), 90, atol=2)


def test_an_unreadable_image_is_named(tmp_path: Path) -> None:
    path = tmp_path / "cell.png"
    path.write_bytes(b"not an image")
    with pytest.raises(ImageError, match=r"cell\.png"):
        read_image(path)


def test_a_truncated_image_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "cell.jpg"
    Image.fromarray(numbered(256, 256)).save(path)
    path.write_bytes(path.read_bytes()[:5000])
    with pytest.raises(ImageError):
        read_image(path)


def test_sixteen_bits_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "cell.png"
    Image.fromarray(np.full((256, 256), 40_000, np.uint16)).save(path)
    with pytest.raises(ImageError, match="16 bits per channel"):
        read_image(path)


def test_greyscale_and_transparency_are_refused_as_in_the_service(tmp_path: Path) -> None:
    Image.fromarray(np.full((256, 256), 90, np.uint8)).save(tmp_path / "grey.png")
    Image.fromarray(np.full((256, 256, 4), 90, np.uint8)).save(tmp_path / "clear.png")
    with pytest.raises(ImageError, match="greyscale"):
        read_image(tmp_path / "grey.png")
    with pytest.raises(ImageError, match="transparent"):
        read_image(tmp_path / "clear.png")


def test_a_colour_declared_transparent_is_refused_as_in_the_service(tmp_path: Path) -> None:
    pixels = np.full((256, 256, 3), 90, np.uint8)
    Image.fromarray(pixels).save(tmp_path / "keyed.png", transparency=(90, 90, 90))
    with pytest.raises(ImageError, match="transparent"):
        read_image(tmp_path / "keyed.png")


def test_what_a_png_says_beside_its_pixels_is_not_read(tmp_path: Path) -> None:
    path = tmp_path / "cell.png"
    Image.fromarray(numbered(256, 256)).save(path, icc_profile=bytes(2_000_000))
    np.testing.assert_array_equal(read_image(path), numbered(256, 256))


def test_a_file_of_the_size_of_a_slide_is_not_read(tmp_path: Path) -> None:
    path = tmp_path / "slide.tif"
    with path.open("wb") as file:
        file.truncate(12 << 30)
    with pytest.raises(ImageError, match=r"slide\.tif has 12884901888 bytes, .*expected one cell"):
        read_image(path)


@pytest.mark.filterwarnings("ignore::UserWarning:PIL")
@pytest.mark.parametrize("suffix", ["png", "bmp", "tif"])
def test_a_damaged_file_is_refused_and_named(tmp_path: Path, suffix: str) -> None:
    path = tmp_path / f"cell.{suffix}"
    Image.fromarray(numbered(256, 256)).save(path)
    whole = path.read_bytes()
    generator = np.random.default_rng(7)
    for _ in range(40):
        damaged = bytearray(whole)
        for place in generator.integers(0, min(len(whole), 200), 12):
            damaged[place] = generator.integers(256)
        path.write_bytes(damaged)
        try:
            assert read_image(path).shape == (256, 256, 3)
        except ImageError as error:
            assert path.name in str(error)
