"""Parameter counts of appendix B, the l2 layers, and batch normalisation in inference mode."""

from pathlib import Path

import keras
import numpy as np
import pytest

from training.networks import xception as networks
from training.networks.augmentation import PROJECTION_AUGMENTATION, Augmentation


@pytest.fixture(scope="module")
def encoder() -> keras.Model:
    keras.mixed_precision.set_global_policy("float32")
    return networks.build_encoder(None)


@pytest.mark.slow
@pytest.mark.parametrize(("units", "total", "head_only"), [(16, 20_894_264, 32_784), (128, 21_123_752, 262_272)])
def test_projection_networks_have_the_parameters_of_appendix_b(
    encoder: keras.Model, units: int, total: int, head_only: int
) -> None:
    network = networks.TrainingNetwork(
        encoder, networks.build_projection_head(units, 0.2, 1), PROJECTION_AUGMENTATION, 1
    )
    assert network.count_params() == total
    encoder.trainable = False
    assert _trainable(network) == head_only
    encoder.trainable = True
    assert _trainable(network) == total - 54_528


@pytest.mark.slow
@pytest.mark.parametrize("normalised", [True, False])
def test_the_classifier_networks_have_the_parameters_of_appendix_b(encoder: keras.Model, normalised: bool) -> None:
    head = networks.build_classifier_head(0.3, 1, normalised)
    network = networks.TrainingNetwork(encoder, head, PROJECTION_AUGMENTATION, 1)
    assert encoder.count_params() == 20_861_480
    assert network.count_params() == 20_902_460
    encoder.trainable = True
    assert _trainable(network) == 20_847_932
    encoder.trainable = False
    assert _trainable(network) == 40_980
    encoder.trainable = True


@pytest.mark.slow
@pytest.mark.parametrize(("frozen_blocks", "shortcuts"), [(1, 0), (4, 3), (12, 3), (13, 4)])
def test_blocks_are_frozen_from_the_image_on_with_their_shortcuts(
    encoder: keras.Model, frozen_blocks: int, shortcuts: int
) -> None:
    networks.set_trainable(encoder, True, frozen_blocks)
    layers = [layer for layer in encoder.get_layer("xception").layers if layer.weights]
    blocks = {
        layer.name: int(layer.name.removeprefix("block").split("_")[0]) for layer in layers if "block" in layer.name
    }
    assert {name for name, block in blocks.items() if block <= frozen_blocks} == {
        layer.name for layer in layers if not layer.trainable and layer.name in blocks
    }
    unnamed = [layer for layer in layers if layer.name not in blocks and isinstance(layer, keras.layers.Conv2D)]
    assert [layer.trainable for layer in unnamed] == [False] * shortcuts + [True] * (4 - shortcuts)
    networks.set_trainable(encoder, True)
    assert all(layer.trainable for layer in layers)
    networks.set_trainable(encoder, False, frozen_blocks)
    assert encoder.trainable_variables == []
    encoder.trainable = True


def test_more_blocks_than_the_encoder_has_cannot_be_frozen(small_encoder: keras.Model) -> None:
    with pytest.raises(ValueError, match="block14_"):
        networks.set_trainable(small_encoder, True, 13)


@pytest.mark.slow
def test_training_the_network_leaves_batch_normalisation_in_inference_mode(encoder: keras.Model) -> None:
    head = networks.build_projection_head(16, 0.2, 1)
    network = networks.TrainingNetwork(encoder, head, PROJECTION_AUGMENTATION, 1)
    before = networks.fingerprint(encoder)
    network(np.full((2, 256, 256, 3), 99.0, np.float32), training=True)
    assert networks.fingerprint(encoder) == before


def test_projections_lie_on_the_whole_unit_sphere() -> None:
    """A ReLU before the last normalisation would leave only the positive orthant, and similarities of 0 to 1."""
    head = networks.build_projection_head(128, 0.2, 1)
    projections = np.asarray(head(np.random.default_rng(0).normal(size=(64, 2048)).astype(np.float32)))
    np.testing.assert_allclose(np.linalg.norm(projections, axis=1), 1, rtol=1e-5)
    assert (projections < 0).mean() > 0.3


def test_features_are_normalised_before_the_heads() -> None:
    features = np.random.default_rng(0).normal(size=(3, 2048)).astype(np.float32)
    for head in (networks.build_projection_head(16, 0.2, 1), networks.build_classifier_head(0.3, 1, normalised=True)):
        np.testing.assert_allclose(np.asarray(head(features)), np.asarray(head(7 * features)), rtol=1e-4, atol=1e-5)


def test_bytes_and_floats_are_the_same_pixels(small_encoder: keras.Model) -> None:
    head = networks.build_classifier_head(0.3, 1, normalised=True)
    network = networks.TrainingNetwork(small_encoder, head, PROJECTION_AUGMENTATION, 1)
    pixels = np.random.default_rng(0).integers(0, 256, (2, 256, 256, 3), np.uint8)
    np.testing.assert_array_equal(np.asarray(network(pixels)), np.asarray(network(pixels.astype(np.float32))))


@pytest.mark.parametrize("image_side", [128, 256])
def test_images_are_scaled_down_in_training_only(image_side: int) -> None:
    """A chessboard of single pixels keeps its white where nothing scales it, and is grey where something does."""
    pixels = keras.Input((256, 256, 3))
    brightest = keras.Model(pixels, keras.layers.GlobalMaxPooling2D()(pixels))
    still = Augmentation(contrast=0, rotation=0, translation=0, zoom=0)
    network = networks.TrainingNetwork(brightest, keras.layers.Identity(), still, 1, image_side=image_side)
    board = np.repeat(255 * (np.indices((256, 256)).sum(axis=0) % 2)[None, ..., None], 3, axis=-1)
    assert np.asarray(network(board)).max() == 255
    seen = np.asarray(network(board, training=True)).max()
    assert seen == pytest.approx(255, abs=1) if image_side == 256 else seen < 200


def test_the_features_of_hal_t_are_not_normalised() -> None:
    head = networks.build_classifier_head(0.2, 1, normalised=False)
    features = np.random.default_rng(0).normal(size=(3, 2048)).astype(np.float32)
    np.testing.assert_allclose(np.asarray(head(7 * features)), 7 * np.asarray(head(features)), rtol=1e-3, atol=1e-3)


def test_another_weights_file_is_refused_by_its_hash(tmp_path: Path) -> None:
    other = tmp_path / "weights.h5"
    other.write_bytes(b"something else")
    with pytest.raises(networks.WeightsError, match="fetch the file again"):
        networks.imagenet_weights(other)
    with pytest.raises(networks.WeightsError, match="not a file"):
        networks.imagenet_weights(tmp_path / "missing.h5")
    assert networks.imagenet_weights(None) == "imagenet"


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore:Skipping nested container")
def test_weights_of_another_network_are_refused(tmp_path: Path) -> None:
    other = keras.Sequential([keras.Input((4,)), keras.layers.Dense(2)])
    other.save_weights(tmp_path / "other.weights.h5")
    with pytest.raises(networks.WeightsError, match="Xception without top"):
        networks.build_encoder(tmp_path / "other.weights.h5")


def _trainable(network: keras.Model) -> int:
    return sum(int(np.prod(variable.shape)) for variable in network.trainable_variables)
