"""Training reads an image or names it; what is refused, and why, is tests/contract/test_decoding.py's."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from training.data.images import ImageError, read_image


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


def test_a_file_of_the_size_of_a_slide_is_not_read(tmp_path: Path) -> None:
    path = tmp_path / "slide.tif"
    with path.open("wb") as file:
        file.truncate(12 << 30)
    with pytest.raises(ImageError, match=r"slide\.tif has 12884901888 bytes, .*expected one cell"):
        read_image(path)
