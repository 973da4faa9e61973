"""Augmentation: the tables of the thesis, and what Keras 3 does with them."""

import numpy as np
import skimage.color

from training.networks.augmentation import CLASSIFIER_AUGMENTATION, PROJECTION_AUGMENTATION, STAINS, Augmentation
from training.networks.styles import StainJitter


def cell(count: int = 1) -> np.ndarray:
    rows, columns = np.mgrid[:256, :256]
    disc = np.hypot(rows - 110, columns - 140) < 40
    image = np.where(disc[..., None], [120.0, 60.0, 160.0], [235.0, 220.0, 215.0])
    return np.repeat(image[None], count, axis=0).astype(np.float32)


def test_settings_are_those_of_table_4_10() -> None:
    none_of_ours = {"mirror": False, "stain": 0.0, "brightness": 0.0, "styles": False, "fill_mode": "reflect"}
    for augmentation, contrast, shift in ((PROJECTION_AUGMENTATION, 0.5, 0.1), (CLASSIFIER_AUGMENTATION, 0.1, 0.05)):
        drawn = {"contrast": contrast, "rotation": 0.5, "translation": shift, "zoom": shift}
        assert augmentation.model_dump() == drawn | none_of_ours


def test_outside_training_images_pass_unchanged() -> None:
    np.testing.assert_array_equal(np.asarray(PROJECTION_AUGMENTATION.layer(1)(cell(), training=False)), cell())


def test_pixels_stay_between_0_and_255_and_nothing_is_blackened_at_the_border() -> None:
    views = np.asarray(PROJECTION_AUGMENTATION.layer(2)(cell(16), training=True))
    assert views.min() >= 0
    assert views.max() <= 255
    only_moved = Augmentation(contrast=0, rotation=0.5, translation=0.1, zoom=0.1).layer(3)
    moved = np.asarray(only_moved(cell(16), training=True))
    assert moved.min() >= cell().min() - 1


def test_contrast_is_drawn_for_each_image_as_in_keras_3() -> None:
    layer = Augmentation(contrast=0.5, rotation=0, translation=0, zoom=0).layer(4)
    spreads = np.asarray(layer(cell(8), training=True)).std(axis=(1, 2, 3))
    assert len(np.unique(spreads.round(3))) == 8


def test_a_translation_of_t_moves_at_most_t_of_the_side() -> None:
    layer = Augmentation(contrast=0, rotation=0, translation=0.05, zoom=0).layer(5)
    moved = np.asarray(layer(cell(32), training=True))
    dark = moved[..., 1] < 140
    rows = np.array([np.nonzero(image)[0].mean() for image in dark])
    assert np.abs(rows - 110).max() <= 0.05 * 256 + 1
    assert np.abs(rows - 110).max() > 5


def test_half_of_the_images_are_mirrored_where_the_recipe_says_so() -> None:
    still = {"contrast": 0.0, "rotation": 0.0, "translation": 0.0, "zoom": 0.0}
    original, mirrored = cell(64), cell(64)[:, :, ::-1]
    views = np.asarray(Augmentation(**still, mirror=True).layer(6)(original, training=True))
    as_they_were = np.abs(views - original).max(axis=(1, 2, 3)) < 1e-3
    turned = np.abs(views - mirrored).max(axis=(1, 2, 3)) < 1e-3
    assert (as_they_were ^ turned).all()
    assert 16 <= turned.sum() <= 48
    np.testing.assert_allclose(Augmentation(**still).layer(6)(original, training=True), original, atol=1e-3)


def test_stains_are_those_of_scikit_image() -> None:
    np.testing.assert_allclose(STAINS, skimage.color.rgb_from_hed, atol=0.005)


def test_stain_jitter_by_nothing_changes_nothing() -> None:
    np.testing.assert_allclose(np.asarray(StainJitter(0.0, 0.0, seed=1)(cell(), training=True)), cell(), atol=1e-3)
    np.testing.assert_array_equal(np.asarray(StainJitter(0.3, 0.3, seed=1)(cell(), training=False)), cell())


def test_stain_jitter_scales_and_shifts_the_amount_of_each_stain_of_an_image() -> None:
    s, grey = 0.1, cell(200) * 0.6  # so that nothing is clipped
    views = np.asarray(StainJitter(s, 0.0, seed=1)(grey, training=True))

    def amounts(colour: np.ndarray) -> np.ndarray:
        return -np.log((colour + 1) / 256) @ np.linalg.inv(STAINS)

    inside, outside = amounts(views[:, 110, 140]), amounts(views[:, 0, 0])
    cell_before, plasma_before = amounts(grey[0, 110, 140]), amounts(grey[0, 0, 0])
    factors = (inside - outside) / (cell_before - plasma_before)
    shifts = inside - factors * cell_before
    assert np.abs(factors - 1).max() <= s + 1e-3
    assert np.abs(factors - 1).max(axis=0).min() > 0.8 * s
    assert np.abs(shifts).max() <= s + 1e-3
    assert np.abs(np.corrcoef(factors.T)[np.triu_indices(3, 1)]).max() < 0.3


def test_brightness_multiplies_all_pixels_of_an_image_alike() -> None:
    layer = Augmentation(contrast=0, rotation=0, translation=0, zoom=0, brightness=0.1).layer(7)
    views = np.asarray(layer(cell(100), training=True))
    factors = (views + 1) / (cell(100) + 1)
    dark = factors[:, 110, 140]
    np.testing.assert_allclose(dark, np.broadcast_to(dark[:, :1], dark.shape), rtol=1e-3)
    assert 0.9 - 1e-3 <= dark.min() < 0.92
    assert 1.08 < dark.max() <= 1.1 + 1e-3
    assert views.max() <= 255
