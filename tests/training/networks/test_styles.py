"""Photometric styles: other laboratories' stain, light and camera, the same for every class."""

import numpy as np
import pytest

from training.networks.augmentation import PROJECTION_AUGMENTATION
from training.networks.styles import SHARES, PhotometricStyle


def cells(count: int, side: int = 96) -> np.ndarray:
    rows, columns = np.mgrid[:side, :side]
    disc = np.hypot(rows - side / 2, columns - side / 2) < side / 5
    image = np.where(disc[..., None], [120.0, 60.0, 160.0], [235.0, 220.0, 215.0])
    return np.repeat(image[None], count, axis=0).astype(np.float32)


@pytest.fixture(scope="module")
def styled() -> np.ndarray:
    return np.asarray(PhotometricStyle(seed=3)(cells(300), training=True))


def test_outside_training_images_pass_unchanged() -> None:
    np.testing.assert_array_equal(np.asarray(PhotometricStyle(seed=3)(cells(2), training=False)), cells(2))


def test_pixels_stay_between_0_and_255(styled: np.ndarray) -> None:
    assert styled.shape == (300, 96, 96, 3)
    assert np.isfinite(styled).all()
    assert styled.min() >= 0
    assert styled.max() <= 255


def test_a_fifth_has_no_style_three_tenths_a_mild_and_half_a_strong_one(styled: np.ndarray) -> None:
    changed = np.abs(styled - cells(300)).mean(axis=(1, 2, 3))
    none = changed == 0
    assert none.mean() == pytest.approx(SHARES[0], abs=0.07)
    # A mild style changes an image by a third of what a strong one does: the median lies between the two.
    ordered = np.sort(changed[~none])
    mild = round(SHARES[1] / (SHARES[1] + SHARES[2]) * len(ordered))
    assert ordered[:mild].mean() < 0.6 * ordered[mild:].mean()


def test_shapes_do_not_move(styled: np.ndarray) -> None:
    green = styled[..., 1]
    inside = cells(1)[0, ..., 1] < 100
    contrast = green[:, ~inside].mean(axis=1) - green[:, inside].mean(axis=1)
    assert (contrast > 20).mean() > 0.98, "the cell is where it was, darker than its background"


def test_equal_seeds_draw_equal_styles_and_others_do_not(styled: np.ndarray) -> None:
    np.testing.assert_array_equal(np.asarray(PhotometricStyle(seed=3)(cells(300), training=True)), styled)
    assert np.abs(np.asarray(PhotometricStyle(seed=4)(cells(300), training=True)) - styled).max() > 10


def test_which_views_get_a_style_does_not_depend_on_the_image() -> None:
    """So no class can have a style of its own."""
    bright, dark = np.full((64, 32, 32, 3), 200.0, np.float32), np.full((64, 32, 32, 3), 120.0, np.float32)
    first, second = (
        np.abs(np.asarray(PhotometricStyle(seed=5)(given, training=True)) - given).max(axis=(1, 2, 3))
        for given in (bright, dark)
    )
    np.testing.assert_array_equal(first == 0, second == 0)
    assert 0 < (first == 0).sum() < 64


def test_an_augmentation_with_styles_trains_on_views_of_its_own() -> None:
    layer = PROJECTION_AUGMENTATION.model_copy(update={"styles": True}).layer(1)
    views = np.asarray(layer(cells(8, 128), training=True))
    assert views.shape == (8, 128, 128, 3)
    assert 0 <= views.min() <= views.max() <= 255
