"""Augmentation: the tables of the thesis, and what Keras 3 does with them."""

import numpy as np

from training.augment import CLASSIFIER_AUGMENTATION, PROJECTION_AUGMENTATION, Augmentation


def cell(count: int = 1) -> np.ndarray:
    rows, columns = np.mgrid[:256, :256]
    disc = np.hypot(rows - 110, columns - 140) < 40
    image = np.where(disc[..., None], [120.0, 60.0, 160.0], [235.0, 220.0, 215.0])
    return np.repeat(image[None], count, axis=0).astype(np.float32)


def test_settings_are_those_of_table_4_10() -> None:
    assert PROJECTION_AUGMENTATION.model_dump() == {
        "contrast": 0.5,
        "rotation": 0.5,
        "translation": 0.1,
        "zoom": 0.1,
        "mirror": False,
        "fill_mode": "reflect",
    }
    assert CLASSIFIER_AUGMENTATION.model_dump() == {
        "contrast": 0.1,
        "rotation": 0.5,
        "translation": 0.05,
        "zoom": 0.05,
        "mirror": False,
        "fill_mode": "reflect",
    }


def test_the_two_views_of_an_image_differ() -> None:
    views = np.asarray(PROJECTION_AUGMENTATION.layer(1)(cell(2), training=True))
    assert np.abs(views[0] - views[1]).mean() > 1


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
