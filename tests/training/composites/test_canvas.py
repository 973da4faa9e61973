"""Compression: edited and unedited images have the history of their original, and no other."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from tests.paths import CELLS
from training.composites.canvas import open_canvas, save, second_laboratory


def blockiness(image: np.ndarray, offset: int) -> float:
    """Mean step across the borders of 8-pixel blocks that begin at an offset, by the mean of all steps."""
    steps = np.abs(np.diff(image.astype(np.float64).mean(axis=-1), axis=1))
    borders = steps[:, [c for c in range(steps.shape[1]) if (c + 1 - offset) % 8 == 0]]
    return float(borders.mean() / steps.mean())


@pytest.fixture
def photograph(tmp_path: Path) -> Path:
    """A larger image of strong compression, whose centre does not begin at a block."""
    tile = np.asarray(Image.open(CELLS / "lymphocyte-1.jpg").convert("RGB"))
    frame = np.pad(tile, ((53, 54), (52, 52), (0, 0)), mode="reflect")
    Image.fromarray(frame).save(tmp_path / "frame.jpg", quality=40, subsampling=0)
    return tmp_path / "frame.jpg"


def test_an_edited_part_gets_the_blocks_of_the_original_on_its_own_grid(photograph: Path) -> None:
    canvas = open_canvas(photograph)
    smooth = canvas.pixels.copy()
    ramp = np.linspace(90, 200, 120).astype(np.uint8)
    smooth[60:180, 60:180] = (ramp[None, :, None] + ramp[:, None, None]) // 2
    noise = np.random.default_rng(0).integers(-12, 13, (120, 120, 1))
    smooth[60:180, 60:180] = np.clip(smooth[60:180, 60:180].astype(int) + noise, 0, 255)
    edited = canvas.finished(smooth)[60:180, 60:180]
    on_grid = blockiness(edited, (-(52 + 60)) % 8)
    off_grid = blockiness(edited, (-(52 + 60) + 4) % 8)
    assert on_grid > 1.15 * off_grid


def test_an_unedited_image_hardly_changes(photograph: Path) -> None:
    canvas = open_canvas(photograph)
    again = canvas.finished(canvas.pixels)
    assert np.abs(again.astype(int) - canvas.pixels).mean() < 0.6


def test_small_images_keep_their_padding(tmp_path: Path) -> None:
    tile = np.asarray(Image.open(CELLS / "blast-1.jpg").convert("RGB"))[3:253, 3:253]
    Image.fromarray(tile).save(tmp_path / "small.jpg", quality=90)
    canvas = open_canvas(tmp_path / "small.jpg")
    done = canvas.finished(canvas.pixels)
    assert done.shape == (256, 256, 3)
    np.testing.assert_array_equal(done[2], done[4])


def test_what_was_not_jpeg_is_not_compressed(tmp_path: Path) -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (256, 256, 3), dtype=np.uint8)
    save(tmp_path / "a" / "noise.png", pixels)
    canvas = open_canvas(tmp_path / "a" / "noise.png")
    np.testing.assert_array_equal(canvas.finished(canvas.pixels), pixels)
    assert [path.name for path in (tmp_path / "a").iterdir()] == ["noise.png"]


def test_the_second_style_differs_alike_for_parent_and_child() -> None:
    pixels = open_canvas(CELLS / "lymphocyte-1.jpg").pixels
    key = "0123456789abcdef"
    changed = second_laboratory(pixels, key)
    np.testing.assert_array_equal(changed, second_laboratory(pixels, key))
    assert np.abs(changed.astype(int) - pixels).mean() > 8
    assert np.corrcoef(changed.ravel(), pixels.ravel())[0, 1] > 0.9
