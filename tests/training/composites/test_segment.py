"""Segmentation: the central cell, or a refusal with a reason, never a guess."""

import numpy as np
import pytest
from PIL import Image, ImageDraw
from scipy import ndimage

from tests.training.composites.cells import cell, pixels, rows
from training.composites.segment import SegmentationError, segment_platelet, segment_white_cell
from training.data.presets.pbc import equivalent_diameter

WHITE = [row.path.stem for row in rows() if row.source == "pbc" and "thrombocyte" not in row.label]


def test_finds_a_single_central_cell_on_most_barcelona_samples() -> None:
    found = 0
    for name in WHITE:
        try:
            segmented = cell(name)
        except SegmentationError:
            continue
        found += 1
        assert ndimage.label(segmented.body)[1] == 1, name
        assert not (segmented.nucleus & ~segmented.body).any(), name
        row, column = segmented.centre
        assert np.hypot(row - 127.5, column - 127.5) < 45, name
    assert found >= 0.75 * len(WHITE)


@pytest.mark.parametrize("name", ["lymphocyte-1", "lymphocyte-2", "monocyte-1", "monocyte-2"])
def test_nucleus_is_darker_than_cytoplasm_and_cytoplasm_than_ground(name: str) -> None:
    segmented = cell(name)
    green = segmented.pixels[..., 1]
    inside = ndimage.binary_erosion(segmented.nucleus, iterations=3)
    outside = ndimage.binary_dilation(segmented.body, iterations=6) | segmented.field | segmented.stained
    assert np.median(green[inside]) < np.median(green[segmented.body & ~segmented.nucleus])
    assert np.median(green[segmented.body]) < np.median(green[~outside]) - 40


@pytest.mark.parametrize("name", ["lymphocyte-1", "lymphocyte-2", "monocyte-1", "monocyte-2", "erythroblast-1"])
def test_red_cells_are_no_part_of_the_cell(name: str) -> None:
    segmented = cell(name)
    red, _, blue = np.moveaxis(segmented.pixels, -1, 0)
    pink = ndimage.gaussian_filter(red - blue, 2)[segmented.body]
    assert np.mean(pink > 35) < 0.12


def test_a_platelet_has_the_size_by_which_it_was_named() -> None:
    measured = 2 * np.sqrt(cell("large-thrombocyte-1").body.sum() / np.pi) / 10
    assert measured == pytest.approx(equivalent_diameter(pixels("large-thrombocyte-1")), rel=0.3)


def test_a_ragged_platelet_is_refused() -> None:
    image = Image.new("RGB", (256, 256), (252, 229, 202))
    ImageDraw.Draw(image).arc((100, 100, 156, 156), 90, 330, (130, 80, 150), 10)
    with pytest.raises(SegmentationError, match="ragged"):
        segment_platelet(np.asarray(image))


def test_an_empty_field_is_refused() -> None:
    blank = np.full((256, 256, 3), (252, 229, 202), np.uint8)
    with pytest.raises(SegmentationError, match="nothing stained"):
        segment_white_cell(blank)
    with pytest.raises(SegmentationError, match="platelet"):
        segment_platelet(blank)


def test_a_cell_beside_the_centre_is_refused() -> None:
    moved = np.roll(pixels("lymphocyte-1"), 80, axis=1)
    with pytest.raises(SegmentationError, match=r"centre|border"):
        segment_white_cell(moved)


def test_a_dark_picture_is_refused() -> None:
    with pytest.raises(SegmentationError, match="bright background"):
        segment_white_cell((pixels("lymphocyte-1") * 0.5).astype(np.uint8))
