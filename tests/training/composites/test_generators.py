"""Generators: seeded, confined to the cell, and with the morphology that they are there for."""

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy import ndimage
from skimage import measure

from contract.classes import CLASS_NAMES
from tests.training.composites.cells import cell, donors, pixels
from training.composites import lymphocytes
from training.composites.edited_control import edited_control
from training.composites.generators import GENERATORS, PLATELETS, WHITE, chromatin_of, cytoplasm_of
from training.composites.segment import Cell, Pixels, SegmentationError, segment_white_cell
from training.data.presets.pbc import equivalent_diameter


def of_platelets(label: str) -> bool:
    return set(GENERATORS[label].parents) <= set(PLATELETS)


def parent_of(label: str) -> Cell:
    return cell("large-thrombocyte-1" if of_platelets(label) else "lymphocyte-2")


def draw(label: str, seed: int, parent: Cell | None = None) -> Pixels:
    generator = GENERATORS[label]
    others = donors(len(generator.donors), of_platelets(label))
    return generator.draw(parent or parent_of(label), others, np.random.default_rng(seed))


def test_every_class_without_open_images_has_a_generator() -> None:
    assert set(GENERATORS) == {
        "Hairy cell",
        "Abnormal lymphocyte",
        "Reactive lymphocyte",
        "Plasma cell",
        "Smudge cell",
        "Artefact",
        "Thrombocyte aggregation",
        "Giant thrombocyte",
    }
    assert set(WHITE) | set(PLATELETS) <= set(CLASS_NAMES)


@pytest.mark.parametrize("label", GENERATORS)
def test_the_same_seed_draws_the_same_cell_and_another_another(label: str) -> None:
    first, again, other = draw(label, 1), draw(label, 1), draw(label, 2)
    np.testing.assert_array_equal(first, again)
    assert first.shape == (256, 256, 3)
    assert np.isfinite(first).all()
    assert first.min() >= 0
    assert first.max() <= 255
    assert np.abs(first - other).max() > 50


@pytest.mark.parametrize("label", [label for label in GENERATORS if label != "Artefact"])
def test_the_smear_far_from_the_cell_stays_as_it_was(label: str) -> None:
    parent = parent_of(label)
    drawn = draw(label, 4, parent)
    corner = np.zeros((256, 256), dtype=bool)
    corner[:20, :20] = corner[-20:, -20:] = True
    np.testing.assert_allclose(drawn[corner], parent.pixels[corner], atol=1e-3)


def roughness(image: NDArray[np.uint8] | Pixels) -> float:
    """Length of the cell's outline by that of the same outline smoothed."""
    segmented = segment_white_cell(np.clip(np.round(image), 0, 255).astype(np.uint8))
    grey = ndimage.gaussian_filter(segmented.pixels[..., 1], 0.7)
    stained = (grey < segmented.ground[1] - 22) & ~ndimage.binary_dilation(segmented.field, iterations=2)
    near = ndimage.binary_dilation(segmented.body, iterations=14)
    smooth = ndimage.gaussian_filter((stained & near).astype(np.float32), 5) > 0.5
    return float(measure.perimeter(stained & near) / measure.perimeter(smooth))


def test_hairy_cells_have_rougher_outlines_than_shams_and_abnormal_lymphocytes() -> None:
    lymphocyte = cell("lymphocyte-2")
    chromatin, cytoplasm = chromatin_of(cell("monocyte-1")), cytoplasm_of(cell("monocyte-1"))

    def typical(images: list[Pixels]) -> float:
        found = []
        for image in images:
            try:
                found.append(roughness(image))
            except SegmentationError:
                continue
        assert len(found) >= len(images) // 2
        return float(np.median(found))

    hairy = typical([draw("Hairy cell", seed) for seed in range(8)])
    shams = typical([edited_control(lymphocyte, "Lymphocyte", np.random.default_rng(seed)) for seed in range(8)])
    smooth = []
    for seed in range(8):
        generator = np.random.default_rng(seed)
        smooth.append(lymphocytes.abnormal_lymphocyte(lymphocyte, chromatin, cytoplasm, generator))
    assert hairy > 1.15 * shams
    assert hairy > 1.15 * typical(smooth)


def test_giant_thrombocytes_measure_seven_micrometres_and_more() -> None:
    sizes = [equivalent_diameter(np.round(draw("Giant thrombocyte", seed)).astype(np.uint8)) for seed in range(8)]
    assert np.mean([size >= 7 for size in sizes]) >= 0.75
    assert min(sizes) > 6


def test_shams_of_large_thrombocytes_stay_below_seven() -> None:
    for seed in range(4):
        image = edited_control(cell("large-thrombocyte-1"), "Large thrombocyte", np.random.default_rng(seed))
        assert 3.5 < equivalent_diameter(np.round(image).astype(np.uint8)) < 7


def test_a_donor_without_cytoplasm_is_refused() -> None:
    generator = GENERATORS["Hairy cell"]
    bare = cell("lymphocyte-2")
    without = Cell(bare.pixels, bare.nucleus, bare.nucleus, bare.stained, bare.field, bare.ground)
    with pytest.raises(SegmentationError, match="cytoplasm too thin"):
        generator.draw(bare, [bare, without], np.random.default_rng(0))


def test_the_original_is_left_alone() -> None:
    parent = cell("lymphocyte-2")
    before = parent.pixels.copy()
    draw("Hairy cell", 0, parent)
    edited_control(parent, "Lymphocyte", np.random.default_rng(0))
    np.testing.assert_array_equal(parent.pixels, before)
    np.testing.assert_array_equal(parent.pixels, pixels("lymphocyte-2"))
