"""Images keep their scale: cropped or reflected, never resampled."""

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from training.data.images import ImageError, fit, read_image


def numbered(height: int, width: int) -> np.ndarray:
    generator = np.random.default_rng(height * 1000 + width)
    return generator.integers(0, 256, (height, width, 3), dtype=np.uint8)


def test_a_barcelona_image_is_cropped_at_its_centre() -> None:
    pixels = numbered(363, 360)
    np.testing.assert_array_equal(fit(pixels), pixels[53 : 53 + 256, 52 : 52 + 256])


def test_a_marrow_image_is_padded_by_reflection() -> None:
    pixels = numbered(250, 250)
    fitted = fit(pixels)
    np.testing.assert_array_equal(fitted[3:253, 3:253], pixels)
    np.testing.assert_array_equal(fitted[2, 3:253], pixels[1])
    np.testing.assert_array_equal(fitted[253, 3:253], pixels[-2])


@settings(max_examples=40, deadline=None)
@given(height=st.integers(129, 400), width=st.integers(129, 400))
def test_every_pixel_of_the_result_is_a_pixel_of_the_image(height: int, width: int) -> None:
    pixels = numbered(height, width)
    fitted = fit(pixels)
    assert fitted.shape == (256, 256, 3)
    shared = min(height, width, 256)
    centre = fitted[128 - 60 : 128 + 60, 128 - 60 : 128 + 60]
    windows = {
        (dy, dx)
        for dy in (-1, 0, 1)
        for dx in (-1, 0, 1)
        if np.array_equal(
            centre,
            pixels[height // 2 - 60 + dy : height // 2 + 60 + dy, width // 2 - 60 + dx : width // 2 + 60 + dx],
        )
    }
    assert windows, f"the centre of a {width}x{height} image moved or changed (shared {shared})"


def test_too_small_an_image_is_refused() -> None:
    with pytest.raises(ImageError, match="at least 129"):
        fit(numbered(100, 300))


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
    with pytest.raises(ImageError, match="8-bit"):
        read_image(path)


def test_greyscale_and_transparency_are_refused_as_in_the_service(tmp_path: Path) -> None:
    Image.fromarray(np.full((256, 256), 90, np.uint8)).save(tmp_path / "grey.png")
    Image.fromarray(np.full((256, 256, 4), 90, np.uint8)).save(tmp_path / "clear.png")
    with pytest.raises(ImageError, match="mode L"):
        read_image(tmp_path / "grey.png")
    with pytest.raises(ImageError, match="transparent"):
        read_image(tmp_path / "clear.png")
