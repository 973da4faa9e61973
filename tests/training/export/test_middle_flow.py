"""The third output of an exported graph, beside the Keras network that it was exported from."""

from pathlib import Path

import keras
import numpy as np
import onnx
import onnxruntime as ort
from numpy.typing import NDArray

from contract import bundle as bundles
from contract.description import BundleDescription
from contract.parts import EMBEDDING_SIZE, OUTPUT_SIZES
from service.settings import Settings
from tests.paths import ROOT
from training.export import onnx_graph
from training.export.middle_flow import NAME, add_middle_flow, with_middle_flow
from training.networks import xception

SHIPPED = ROOT / Settings.model_fields["bundle"].default


def flow(path: Path, images: NDArray[np.uint8]) -> NDArray[np.float32]:
    session = ort.InferenceSession(path, providers=["CPUExecutionProvider"])
    return np.asarray(session.run([NAME], {"image": images})[0])


def without(model: onnx.ModelProto) -> onnx.ModelProto:
    kept = [node for node in model.graph.node if not node.output[0].startswith(NAME)]
    outputs = [output for output in model.graph.output if output.name != NAME]
    constants = [constant for constant in model.graph.initializer if not constant.name.startswith(NAME)]
    for field, values in (("node", kept), ("output", outputs), ("initializer", constants)):
        model.graph.ClearField(field)
        getattr(model.graph, field).extend(values)
    return model


def test_it_is_the_mean_of_each_feature_map_before_the_exit_flow(tmp_path: Path) -> None:
    keras.utils.set_random_seed(3)
    encoder = xception.build_encoder(None)
    head = xception.build_classifier_head(0.0, 0, normalised=True)
    inside = next(layer for layer in encoder.layers if isinstance(layer, keras.Model))
    end = keras.Model(inside.input, inside.get_layer("block13_sepconv1_act").input)
    images = np.random.default_rng(0).integers(0, 256, (1, 256, 256, 3), dtype=np.uint8)
    means = np.asarray(end(images / np.float32(127.5) - 1)).mean(axis=(1, 2))
    expected = means / np.linalg.norm(means, axis=1, keepdims=True)

    onnx.save(onnx_graph.to_onnx(encoder, head), tmp_path / "model.onnx")
    np.testing.assert_allclose(flow(tmp_path / "model.onnx", images), expected, atol=1e-4)


def test_a_bundle_without_it_is_given_the_output_that_an_export_gives(tmp_path: Path) -> None:
    before = bundles.load(SHIPPED)
    images = before.golden()["images"]
    for file in before.description.files:
        onnx.save(without(onnx.load(before.path(file))), tmp_path / file.path)
    scratch = tmp_path / "scratch"
    scratch.mkdir()
    plain = BundleDescription.model_fields["outputs"].default
    found = with_middle_flow(tmp_path, before.description.model_copy(update={"outputs": plain}), scratch)
    assert {output.name: output.size for output in found.outputs} == OUTPUT_SIZES
    for was, file in zip(before.description.files, found.files, strict=True):
        assert file.sha256 == bundles.sha256_of(scratch / file.path)
        np.testing.assert_allclose(flow(scratch / file.path, images), flow(before.path(was), images), atol=1e-6)
    first, second = (flow(before.path(file), images) for file in before.description.files)
    np.testing.assert_allclose(first, second, atol=0.01)
    assert not add_middle_flow(onnx.load(scratch / found.files[0].path)), "once is enough"
    assert found.feature_size == EMBEDDING_SIZE + OUTPUT_SIZES[NAME]
