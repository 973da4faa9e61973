"""float16: what is in it, what stays out of it, and what a GPU makes of it."""

from pathlib import Path

import numpy as np
import onnx
import onnxruntime as ort
import pytest
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper

from training.export.float16 import as_on_a_gpu, to_float16

WIDTH = 4
HIDDEN = 5


def graph(path: Path, *, gain: float = 1.0) -> dict[str, NDArray[np.float32]]:
    """Rescaling, two convolutions with a rectifier and a sum around them, pooling, a classifier; and the weights."""
    random = np.random.default_rng(5)
    weights = {
        "scale": np.float32([1 / 127.5]),
        "first": random.normal(0, 0.3, (HIDDEN, WIDTH, 3, 3)).astype(np.float32) * np.float32(gain),
        "bias": random.normal(0, 0.1, HIDDEN).astype(np.float32),
        "second": random.normal(0, 0.3, (HIDDEN, HIDDEN, 1, 1)).astype(np.float32),
        "head": random.normal(0, 0.3, (HIDDEN, 3)).astype(np.float32),
    }
    nodes = [
        helper.make_node("Cast", ["image"], ["numbers"], to=TensorProto.FLOAT),
        helper.make_node("Mul", ["numbers", "scale"], ["pixels"]),
        helper.make_node("Conv", ["pixels", "first", "bias"], ["one"], pads=[1, 1, 1, 1]),
        helper.make_node("Relu", ["one"], ["two"]),
        helper.make_node("Conv", ["two", "second"], ["three"]),
        helper.make_node("Add", ["two", "three"], ["four"]),
        helper.make_node("Conv", ["four", "second"], ["five"]),
        helper.make_node("ReduceMean", ["five"], ["embedding"], axes=[2, 3], keepdims=0),
        helper.make_node("MatMul", ["embedding", "head"], ["logits"]),
    ]
    model = helper.make_model(
        helper.make_graph(
            nodes,
            "stand-in",
            [helper.make_tensor_value_info("image", TensorProto.UINT8, ["n", WIDTH, 8, 8])],
            [
                helper.make_tensor_value_info("logits", TensorProto.FLOAT, ["n", 3]),
                helper.make_tensor_value_info("embedding", TensorProto.FLOAT, ["n", HIDDEN]),
            ],
            [numpy_helper.from_array(values, name) for name, values in weights.items()],
        ),
        opset_imports=[helper.make_opsetid("", 17)],
        ir_version=8,
    )
    onnx.save(model, path)
    return weights


def run(path: Path, images: NDArray[np.uint8]) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    session = ort.InferenceSession(path, providers=["CPUExecutionProvider"])
    logits, embedding = session.run(["logits", "embedding"], {"image": images})
    return logits, embedding


@pytest.fixture
def images() -> NDArray[np.uint8]:
    return np.random.default_rng(6).integers(0, 256, (3, WIDTH, 8, 8), dtype=np.uint8)


def kinds(model: onnx.ModelProto) -> dict[str, str]:
    inferred = onnx.shape_inference.infer_shapes(model).graph
    return {
        value.name: TensorProto.DataType.Name(value.type.tensor_type.elem_type)
        for value in (*inferred.value_info, *inferred.output)
    }


def test_the_convolutions_are_in_float16_and_what_is_around_them_is_not(tmp_path: Path) -> None:
    graph(tmp_path / "32.onnx")
    to_float16(tmp_path / "32.onnx", tmp_path / "16.onnx")
    model = onnx.load(tmp_path / "16.onnx")
    found = kinds(model)
    assert {found[name] for name in ("one", "two", "three", "four", "five")} == {"FLOAT16"}
    assert {found[name] for name in ("numbers", "pixels", "embedding", "logits")} == {"FLOAT"}
    casts = [tuple(node.input) for node in model.graph.node if node.op_type == "Cast"]
    assert casts == [("image",), ("pixels",), ("five",)], "one way in and one out, and none between the convolutions"
    halves = {i.name for i in model.graph.initializer if i.data_type == TensorProto.FLOAT16}
    assert halves == {"first/half", "bias/half", "second/half"}


def test_a_gpu_s_answers_are_those_of_numpy_with_every_value_rounded(tmp_path: Path, images: NDArray[np.uint8]) -> None:
    weights = graph(tmp_path / "32.onnx")
    to_float16(tmp_path / "32.onnx", tmp_path / "16.onnx")
    as_on_a_gpu(tmp_path / "16.onnx", tmp_path / "rounded.onnx")
    expected, _ = in_numpy(weights, images, rounded=True)
    exact, _ = in_numpy(weights, images, rounded=False)
    logits, _ = run(tmp_path / "rounded.onnx", images)
    np.testing.assert_allclose(run(tmp_path / "32.onnx", images)[0], exact, atol=1e-6)
    rounding = np.abs(expected - exact).max()
    assert np.abs(logits - expected).max() < rounding / 4, "one value may be rounded to the other side of a tie"
    assert 1e-5 < rounding < 1e-3


def in_numpy(
    weights: dict[str, NDArray[np.float32]], images: NDArray[np.uint8], *, rounded: bool
) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    def half(values: NDArray[np.float32]) -> NDArray[np.float32]:
        return values.astype(np.float16).astype(np.float32) if rounded else values

    pixels = half(images.astype(np.float32) * weights["scale"])
    padded = np.pad(pixels, ((0, 0), (0, 0), (1, 1), (1, 1)))
    windows = np.lib.stride_tricks.sliding_window_view(padded, (3, 3), axis=(2, 3))
    one = half(np.einsum("nchwij,ocij->nohw", windows, half(weights["first"])) + half(weights["bias"])[:, None, None])
    two = np.maximum(one, 0)
    second = half(weights["second"])[:, :, 0, 0]
    four = half(two + half(np.einsum("nchw,oc->nohw", two, second)))
    embedding = half(np.einsum("nchw,oc->nohw", four, second)).mean(axis=(2, 3))
    return embedding @ weights["head"], embedding


def test_what_float16_cannot_hold_does_not_pass_for_an_answer(tmp_path: Path, images: NDArray[np.uint8]) -> None:
    """On a CPU, which computes the file in float32, nothing would show."""
    graph(tmp_path / "32.onnx", gain=50_000)
    to_float16(tmp_path / "32.onnx", tmp_path / "16.onnx")
    as_on_a_gpu(tmp_path / "16.onnx", tmp_path / "rounded.onnx")
    assert np.isfinite(run(tmp_path / "32.onnx", images)[0]).all()
    assert not np.isfinite(run(tmp_path / "rounded.onnx", images)[0]).all()
