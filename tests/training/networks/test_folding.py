from collections.abc import Callable
from typing import Any

import keras
import numpy as np
import pytest
import tensorflow as tf
from numpy.typing import NDArray

from training.networks.folding import folded

layers = keras.layers


def network(dtype: str) -> keras.Model:
    """Every kind of layer that Xception has, a model within the model, and statistics far from 0 and 1."""
    keras.utils.set_random_seed(5)
    pixels = keras.Input((17, 17, 3), dtype="float64" if dtype == "float64" else "float32")
    x = layers.Conv2D(6, 3, strides=2, use_bias=False, dtype=dtype)(pixels)
    x = layers.BatchNormalization(dtype=dtype)(x)
    x = layers.Activation("relu", dtype=dtype)(x)
    shortcut = layers.Conv2D(8, 1, strides=2, padding="same", use_bias=False, dtype=dtype)(x)
    shortcut = layers.BatchNormalization(dtype=dtype)(shortcut)
    x = layers.SeparableConv2D(8, 3, padding="same", use_bias=False, dtype=dtype)(x)
    x = layers.BatchNormalization(dtype=dtype)(x)
    x = layers.MaxPooling2D(3, strides=2, padding="same", dtype=dtype)(x)
    inner = keras.Model(pixels, layers.add([x, shortcut], dtype=dtype))

    outer = keras.Input((17, 17, 3), dtype="float64" if dtype == "float64" else "float32")
    x = layers.Rescaling(1 / 127.5, offset=-1.0, dtype=dtype)(outer)
    x = inner(x)
    x = layers.Conv2D(8, 1, bias_initializer="random_normal", dtype=dtype)(x)
    x = layers.BatchNormalization(scale=False, dtype=dtype)(x)
    x = layers.Conv2D(8, 1, bias_initializer="random_normal", dtype=dtype)(x)
    model = keras.Model(outer, layers.GlobalAveragePooling2D(dtype=dtype)(x))
    generator = np.random.default_rng(6)
    for variable in model.weights:
        if variable.path.rpartition("/")[2] in ("gamma", "beta", "moving_mean", "moving_variance"):
            variable.assign(generator.uniform(0.3, 2.0, variable.shape))
    return model


def loss_and_gradients(
    model: keras.Model, call: Callable[[Any], Any], pixels: NDArray[np.float64]
) -> tuple[Any, list[Any]]:
    with tf.GradientTape() as tape:
        outputs = call(tf.constant(pixels))
        loss = tf.reduce_sum(tf.sin(outputs) * outputs)
    return outputs, tape.gradient(loss, [variable.value for variable in model.trainable_variables])


@pytest.fixture
def pixels() -> NDArray[np.float64]:
    return np.random.default_rng(7).uniform(0, 255, (4, 17, 17, 3))


def test_outputs_and_every_gradient_are_those_of_keras_in_float64(pixels: NDArray[np.float64]) -> None:
    model = network("float64")
    expected, expected_gradients = loss_and_gradients(model, lambda x: model(x, training=False), pixels)
    outputs, gradients = loss_and_gradients(model, lambda x: folded(model, x), pixels)
    np.testing.assert_allclose(outputs, expected, rtol=1e-9)
    for variable, gradient, wanted in zip(model.trainable_variables, gradients, expected_gradients, strict=True):
        np.testing.assert_allclose(gradient, wanted, rtol=1e-6, atol=1e-9, err_msg=variable.path)
        assert np.abs(wanted).max() > 1e-6, f"{variable.path} has no gradient to compare"


def test_no_normalisation_is_left_to_compute(pixels: NDArray[np.float64]) -> None:
    model = network("float32")
    counted: list[str] = []

    class Counting:
        def __init__(self, layer: keras.Layer) -> None:
            self._call = layer.call
            self._name = layer.name

        def __call__(self, *arguments: Any, **options: Any) -> Any:
            counted.append(self._name)
            return self._call(*arguments, **options)

    normalisations = [layer for layer in model._flatten_layers() if isinstance(layer, layers.BatchNormalization)]
    for layer in normalisations:
        layer.call = Counting(layer)
    folded(model, tf.constant(pixels, tf.float32))
    assert counted == []
    model(tf.constant(pixels, tf.float32), training=False)
    assert len(counted) == len(normalisations) == 4


@pytest.mark.parametrize(
    "convolution",
    [
        layers.Conv2D(4, 3, dilation_rate=2, use_bias=False),
        layers.Conv2D(6, 3, groups=3, use_bias=False),
        layers.Conv2D(4, 3, activation="relu"),
        layers.DepthwiseConv2D(3),
    ],
    ids=["dilated", "grouped", "activated", "depthwise"],
)
def test_a_convolution_that_cannot_be_folded_is_left_to_keras(convolution: keras.Layer) -> None:
    source = keras.Input((9, 9, 3))
    model = keras.Model(source, layers.BatchNormalization()(convolution(source)))
    model.layers[-1].moving_mean.assign(np.full(model.output.shape[-1], 0.4))
    pixels = tf.random.stateless_normal((2, 9, 9, 3), (1, 2))
    np.testing.assert_allclose(folded(model, pixels), model(pixels, training=False), rtol=1e-5, atol=1e-6)


def test_batch_normalisation_without_a_convolution_before_it_is_computed() -> None:
    source = keras.Input((9, 9, 3))
    model = keras.Model(source, layers.BatchNormalization()(layers.ReLU()(source)))
    model.layers[-1].moving_mean.assign([0.1, 0.2, 0.3])
    pixels = tf.random.stateless_normal((2, 9, 9, 3), (1, 2))
    np.testing.assert_allclose(folded(model, pixels), model(pixels, training=False), rtol=1e-5, atol=1e-6)


def test_bfloat16_stays_close_to_float32(pixels: NDArray[np.float64]) -> None:
    exact, half = network("float32"), network("mixed_bfloat16")
    half.set_weights(exact.get_weights())
    expected = folded(exact, tf.constant(pixels, tf.float32))
    np.testing.assert_allclose(tf.cast(folded(half, tf.constant(pixels, tf.float32)), tf.float32), expected, rtol=0.05)
