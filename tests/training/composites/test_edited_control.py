"""Shams: the same hands, the same class, and no trace that trivial statistics could read."""

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy import ndimage

from tests.paths import CELLS
from tests.training.composites.cells import cell
from training.composites.canvas import open_canvas
from training.composites.edited_control import edited_control, redrawn, repoured
from training.composites.generators import cytoplasm_of
from training.composites.segment import Cell, segment_white_cell

ROUND = ["lymphocyte-1", "lymphocyte-2", "erythroblast-1"]


def finished(name: str, seed: int | None) -> NDArray[np.uint8]:
    """As a made set holds it: the copy of the real image, or a sham."""
    canvas = open_canvas(CELLS / f"{name}.jpg")
    if seed is None:
        return canvas.finished(canvas.pixels)
    return canvas.finished(
        edited_control(cell(name), name.rpartition("-")[0].capitalize(), np.random.default_rng(seed))
    )


def far_from_cells(segmented: Cell) -> NDArray[np.bool_]:
    result: NDArray[np.bool_] = ~ndimage.binary_dilation(segmented.stained | segmented.field, iterations=8)
    return result


def high_frequencies(image: NDArray[np.uint8], where: NDArray[np.bool_]) -> float:
    grey = image.astype(np.float64).mean(axis=-1)
    return float(np.std(ndimage.laplace(grey)[where]))


@pytest.mark.parametrize("name", ["lymphocyte-1", "monocyte-1", "erythroblast-1", "erythroblast-2"])
def test_background_of_shams_is_as_noisy_as_that_of_real_images(name: str) -> None:
    real = finished(name, None)
    for seed in range(3):
        made = finished(name, seed)
        where = far_from_cells(segment_white_cell(real)) & far_from_cells(segment_white_cell(made))
        assert high_frequencies(made, where) == pytest.approx(high_frequencies(real, where), rel=0.15)


@pytest.mark.parametrize("name", ["lymphocyte-2", "monocyte-1"])
def test_the_place_from_which_a_cell_was_taken_is_as_noisy_as_the_rest(name: str) -> None:
    from training.composites.background import removed

    parent = cell(name)
    plate = np.round(removed(parent, np.random.default_rng(0))).astype(np.uint8)
    hole = ndimage.binary_erosion(parent.body, iterations=5)
    around = far_from_cells(parent)
    assert high_frequencies(plate, hole) == pytest.approx(high_frequencies(plate, around), rel=0.5)
    np.testing.assert_allclose(plate[hole].mean(axis=0), plate[around].mean(axis=0), atol=6)


@pytest.mark.parametrize("name", ["lymphocyte-1", "monocyte-1", "segmented-neutrophil-2"])
def test_a_sham_keeps_size_and_colours_of_its_cell(name: str) -> None:
    parent = cell(name)
    label = name.rpartition("-")[0].replace("-", " ").capitalize()
    for seed in range(3):
        image = np.round(edited_control(parent, label, np.random.default_rng(seed))).astype(np.uint8)
        after = segment_white_cell(image)
        assert after.body.sum() == pytest.approx(parent.body.sum(), rel=0.25)
        assert after.nucleus.sum() == pytest.approx(parent.nucleus.sum(), rel=0.3)
        before = parent.pixels[parent.nucleus].mean(axis=0)
        np.testing.assert_allclose(after.pixels[after.nucleus].mean(axis=0), before, atol=22)


def test_a_sham_is_edited_for_real() -> None:
    parent = cell("lymphocyte-2")
    for draw in (
        lambda g: repoured(parent, None, False, g),
        lambda g: redrawn(parent, cytoplasm_of(cell("monocyte-1")), g),
    ):
        image = draw(np.random.default_rng(3))
        inside = ndimage.binary_erosion(parent.nucleus, iterations=5)
        assert np.abs(image - parent.pixels)[inside].mean() > 5


def test_the_same_seed_makes_the_same_sham() -> None:
    parent = cell("monocyte-1")
    first, again = (edited_control(parent, "Monocyte", np.random.default_rng(5)) for _ in range(2))
    np.testing.assert_array_equal(first, again)
