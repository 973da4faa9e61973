"""The conditions of another laboratory: what each does to an image, and that it does no more."""

import numpy as np
import pytest
import skimage.color
from PIL import Image

from contract.description import AS_PHOTOGRAPHED
from training.evaluation.conditions import CONDITIONS, brightened, compressed, defocused, restained, rotated


@pytest.fixture
def cell() -> np.ndarray:
    generator = np.random.default_rng(0)
    rows, columns = np.mgrid[:256, :256]
    disc = np.hypot(rows - 128, columns - 128) < 50
    colours = np.where(disc[..., None], [120, 60, 150], [220, 205, 200])
    return np.asarray(colours + generator.integers(-4, 5, (256, 256, 1)), np.uint8)


def test_images_as_photographed_are_not_touched_and_all_other_conditions_change_them(cell: np.ndarray) -> None:
    assert CONDITIONS[AS_PHOTOGRAPHED] is None
    assert len(CONDITIONS) == 9
    before = cell.copy()
    for name, change in CONDITIONS.items():
        if change is not None:
            after = change(cell)
            assert (after.shape, after.dtype) == (cell.shape, np.uint8), name
            assert (after != cell).any(), name
            np.testing.assert_array_equal(change(cell), after)
    np.testing.assert_array_equal(cell, before)


def test_a_quarter_turn_is_that_of_numpy(cell: np.ndarray) -> None:
    cell[20:40, 60:200] = 0
    np.testing.assert_array_equal(rotated(90)(cell), np.rot90(cell))


def test_brightness_is_multiplied_and_clipped(cell: np.ndarray) -> None:
    np.testing.assert_array_equal(brightened(1.15)(cell), np.clip(np.rint(cell * 1.15), 0, 255))
    assert brightened(2.0)(cell).max() == 255


def test_stains_are_scaled_as_scikit_image_separates_them(cell: np.ndarray) -> None:
    def amounts(pixels: np.ndarray) -> np.ndarray:
        return skimage.color.rgb2hed(pixels)[120:136, 120:136].mean(axis=(0, 1))

    before, bluer = amounts(cell), amounts(restained(1.15, 0.85)(cell))
    assert bluer[0] / before[0] == pytest.approx(1.15, abs=0.02)
    assert bluer[1] / before[1] == pytest.approx(0.85, abs=0.03)
    np.testing.assert_array_equal(restained(1, 1)(cell), cell)


def test_compression_and_defocus_take_detail_away(cell: np.ndarray) -> None:
    def detail(pixels: np.ndarray) -> float:
        return float(np.abs(np.diff(np.asarray(Image.fromarray(pixels).convert("L"), float), axis=0)).mean())

    assert detail(defocused(1.5)(cell)) < 0.5 * detail(cell)
    assert detail(compressed(10)(cell)) < detail(compressed(95)(cell))
