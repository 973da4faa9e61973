"""An exported graph's weights in the network that trains."""

from typing import Any

import keras
import numpy as np
import onnxruntime as ort
import pytest

from contract import bundle
from service.settings import Settings
from tests.paths import ROOT
from training.networks import xception
from training.networks.graph_weights import GraphWeightsError, read_encoder

SHIPPED = bundle.load(ROOT / Settings.model_fields["bundle"].default)


@pytest.fixture(scope="module")
def encoder() -> Any:
    """Xception with other kernels and statistics."""
    generator = np.random.default_rng(0)
    built = xception.build_encoder(None)
    inside = next(layer for layer in built.layers if isinstance(layer, keras.Model))
    for layer in inside.layers:
        if isinstance(layer, keras.layers.BatchNormalization):
            layer.set_weights([generator.uniform(0.5, 2, weight.shape) for weight in layer.weights])
    return built


def test_the_encoder_gives_the_embeddings_of_the_graph(encoder: Any) -> None:
    path = SHIPPED.path(SHIPPED.file("float16"))
    read_encoder(path, encoder)
    images = SHIPPED.golden()["images"]
    session = ort.InferenceSession(path, providers=["CPUExecutionProvider"])
    (expected,) = session.run(["embedding"], {"image": images})
    features = np.asarray(encoder(images.astype(np.float32)))
    np.testing.assert_allclose(features / np.linalg.norm(features, axis=1, keepdims=True), expected, atol=1e-3)


def test_a_quantised_graph_is_refused(encoder: Any) -> None:
    with pytest.raises(GraphWeightsError, match=r"model.int8.onnx is not an Xception that 'hal export' wrote"):
        read_encoder(SHIPPED.path(SHIPPED.file("int8")), encoder)
