"""The gradient is that of the whole batch, however many images are embedded at once and on however many devices."""

import json
import subprocess
import sys
from collections.abc import Sequence
from typing import Any

import keras
import numpy as np
import pytest
import tensorflow as tf
from numpy.typing import NDArray

from tests.paths import ROOT
from tests.training import devices, small
from training.fit.update import Contrastive, CrossEntropy, Objective, Update, random_state
from training.networks import xception as networks
from training.networks.augmentation import PROJECTION_AUGMENTATION

IMAGES = 7
SETTINGS = {"contrastive": (Contrastive(0.1), 16), "cross-entropy": (CrossEntropy(), 20)}


def batch() -> tuple[NDArray[np.float32], NDArray[np.int64]]:
    """Pixels and labels of a batch; the labels lie in no order."""
    generator = np.random.default_rng(5)
    return (
        generator.uniform(0, 255, (IMAGES, 256, 256, 3)).astype(np.float32),
        generator.integers(0, 4, IMAGES),
    )


def network(kind: str) -> networks.TrainingNetwork:
    """Augmentation, small encoder and head, all seeded."""
    encoder = small.encoder()
    if kind == "contrastive":
        head = networks.build_projection_head(16, 0.2, 11)
    else:
        head = networks.build_classifier_head(0.3, 11, normalised=True)
    return networks.TrainingNetwork(encoder, head, PROJECTION_AUGMENTATION, 3)


def update(model: keras.Model, objective: Objective, micro_batch: int | None) -> Update:
    optimizer = keras.optimizers.SGD(0.5)
    optimizer.build(model.trainable_variables)
    return Update(model, model.trainable_variables, optimizer, objective, micro_batch)


def relative_difference(found: Sequence[Any], expected: Sequence[Any]) -> float:
    """Of all gradients taken as one vector."""
    one, other = (np.concatenate([np.asarray(each).ravel() for each in part]) for part in (found, expected))
    return float(np.linalg.norm(one - other) / np.linalg.norm(other))


@pytest.mark.parametrize("kind", SETTINGS)
@pytest.mark.parametrize("micro_batch", [1, 3, IMAGES])
def test_gradients_in_micro_batches_are_those_of_one_graph_over_the_whole_batch(kind: str, micro_batch: int) -> None:
    objective, _ = SETTINGS[kind]
    pixels, labels = batch()
    inputs = np.repeat(pixels, objective.copies, axis=0)
    model = network(kind)

    found_loss, found = update(model, objective, micro_batch).gradients(inputs, labels)
    with tf.GradientTape() as tape:  # the same parts, so the same augmentation and dropout, but all activations kept
        rows = micro_batch * objective.copies
        parts = [model(inputs[start : start + rows], training=True) for start in range(0, len(inputs), rows)]
        loss = objective(tf.concat(parts, axis=0), tf.constant(labels))
    expected = tape.gradient(loss, [variable.value for variable in model.trainable_variables])

    assert found_loss == pytest.approx(float(loss), rel=1e-6)
    assert relative_difference(found, expected) < 1e-5


@pytest.mark.parametrize("kind", SETTINGS)
def test_without_randomness_the_size_of_the_micro_batch_does_not_matter(kind: str) -> None:
    objective, width = SETTINGS[kind]
    generator = np.random.default_rng(8)
    features = generator.normal(size=(IMAGES * objective.copies, 2048)).astype(np.float32)
    _, labels = batch()
    weights = []
    for micro_batch in (None, 5):
        if kind == "contrastive":
            head = networks.build_projection_head(width, 0.0, 11)
        else:
            head = networks.build_classifier_head(0.0, 11, normalised=True)
        loss, outputs = update(head, objective, micro_batch)(features, labels)
        assert outputs.shape == (IMAGES * objective.copies, width)
        assert loss == pytest.approx(float(objective(tf.constant(outputs), labels)), rel=1e-5)
        weights.append(head.get_weights())
    np.testing.assert_allclose(weights[0][0], weights[1][0], rtol=1e-5, atol=1e-7)


def test_the_second_pass_spends_no_random_numbers_of_its_own() -> None:
    objective, _ = SETTINGS["contrastive"]
    pixels, labels = batch()
    inputs = np.repeat(pixels, 2, axis=0)
    model = network("contrastive")
    before = [variable.numpy() for variable in random_state(model)]
    for start in range(0, len(inputs), 8):
        model(inputs[start : start + 8], training=True)
    once = [variable.numpy() for variable in random_state(model)]
    for variable, value in zip(random_state(model), before, strict=True):
        variable.assign(value)
    update(model, objective, 4)(inputs, labels)
    np.testing.assert_array_equal([variable.numpy() for variable in random_state(model)], once)
    assert not np.array_equal(before, once)


def test_the_two_views_of_an_image_differ() -> None:
    pixels, _ = batch()
    views = network("contrastive").augmentation(np.repeat(pixels[:4], 2, axis=0), training=True).numpy()
    assert np.abs(views[0::2] - views[1::2]).max(axis=(1, 2, 3)).min() > 1


def test_a_loss_scale_for_float16_leaves_the_update_as_it_is() -> None:
    objective, _ = SETTINGS["contrastive"]
    features = np.random.default_rng(8).normal(size=(2 * IMAGES, 2048)).astype(np.float32)
    _, labels = batch()
    weights = []
    for scaled in (False, True):
        head = networks.build_projection_head(16, 0.0, 11)
        optimizer = keras.optimizers.SGD(0.5)
        if scaled:
            optimizer = keras.optimizers.LossScaleOptimizer(optimizer, initial_scale=1024.0)
        optimizer.build(head.trainable_variables)
        for micro_batch in (None, 4):
            Update(head, head.trainable_variables, optimizer, objective, micro_batch)(features, labels)
        weights.append(head.get_weights()[0])
    np.testing.assert_allclose(weights[0], weights[1], rtol=1e-4, atol=1e-6)


@pytest.fixture(scope="module")
def on_two_devices(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """What a process of its own did on two devices: the devices are fixed once TensorFlow has begun."""
    command = [sys.executable, "-m", "tests.training.devices", str(tmp_path_factory.mktemp("devices"))]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-3000:]
    answers: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return answers


@pytest.mark.parametrize("setting", devices.SETTINGS)
def test_two_devices_learn_what_one_learns(on_two_devices: dict[str, Any], setting: str) -> None:
    one, two = devices.SETTINGS[setting](), on_two_devices[setting]
    assert on_two_devices["devices"] == 2
    assert two["loss"] == pytest.approx(one["loss"], rel=1e-5)
    assert two["outputs"] == pytest.approx(one["outputs"], abs=1e-5)
    np.testing.assert_allclose(two["weights"], one["weights"], rtol=1e-4, atol=1e-6)
    np.testing.assert_allclose(two["gradient"], one["gradient"], rtol=1e-3, atol=1e-5)
    assert np.abs(np.array(one["weights"]) - one["initial"]).max() > 1e-4, "nothing was learned"


def test_all_devices_of_a_machine_train_and_resume_a_run_whose_epochs_end_with_fewer_images_than_devices(
    on_two_devices: dict[str, Any],
) -> None:
    run = on_two_devices["run"]
    assert "float32, on 2 devices, from stage 1" in run["said"]
    assert run["updates"] == [4, 2]
    assert run["stages"] == [2, 2]
    assert run["learned"] > 1e-3
    assert run["same"]
