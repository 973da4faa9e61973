"""From the trained networks to one ONNX graph: uint8 pixels in, logits and l2-normalised embedding out."""

from typing import Any, Final

import keras
import numpy as np
import onnx
import tensorflow as tf
import tf2onnx
from numpy.typing import NDArray

from contract.classes import CLASS_COUNT
from contract.description import EMBEDDING_SIZE, IMAGE_SIDE
from training.errors import TrainingError

OPSET: Final = 17
TRAINING_ONLY: Final = frozenset({"Dropout", "RandomUniform", "RandomNormal", "RandomUniformLike", "Bernoulli"})


class ExportError(TrainingError):
    """The graph is not what the bundle's contract says."""


def inference_function(encoder: keras.Model, classifier_head: keras.Model) -> Any:
    """Pixels to logits and embedding, without augmentation and dropout.

    Returns:
        ``tf.function`` from ``image`` uint8 ``(n, 256, 256, 3)`` to ``logits`` ``(n, 20)`` and ``embedding``
        ``(n, 2048)``, both float32.
    """

    @tf.function(input_signature=[tf.TensorSpec((None, IMAGE_SIDE, IMAGE_SIDE, 3), tf.uint8, name="image")])
    def infer(image: Any) -> dict[str, Any]:
        features = encoder(tf.cast(image, tf.float32), training=False)
        return {
            "logits": tf.identity(classifier_head(features, training=False), name="logits"),
            "embedding": tf.identity(tf.math.l2_normalize(features, axis=-1), name="embedding"),
        }

    return infer


def to_onnx(encoder: keras.Model, classifier_head: keras.Model) -> onnx.ModelProto:
    """Convert to ONNX, opset 17, float32.

    Raises:
        ExportError: the graph's inputs, outputs or operators are not those of the contract.
    """
    infer = inference_function(encoder, classifier_head)
    model: onnx.ModelProto
    model, _ = tf2onnx.convert.from_function(infer, infer.input_signature, opset=OPSET, large_model=False)
    _name_batch_axis(model)
    onnx.checker.check_model(model)
    check_graph(model)
    return model


def _name_batch_axis(model: onnx.ModelProto) -> None:
    for value in (*model.graph.input, *model.graph.output):
        value.type.tensor_type.shape.dim[0].dim_param = "n"


def check_graph(model: onnx.ModelProto) -> None:
    """Assert names, types and shapes of inputs and outputs, and that nothing of training is left.

    Raises:
        ExportError: with every difference.
    """
    expected_inputs = {"image": ("UINT8", ["n", IMAGE_SIDE, IMAGE_SIDE, 3])}
    expected_outputs = {"logits": ("FLOAT", ["n", CLASS_COUNT]), "embedding": ("FLOAT", ["n", EMBEDDING_SIZE])}
    problems = [
        f"{what} are {found}, expected {expected}"
        for what, values, expected in (
            ("inputs", model.graph.input, expected_inputs),
            ("outputs", model.graph.output, expected_outputs),
        )
        if (found := {value.name: _type_and_shape(value) for value in values}) != expected
    ]
    if leftover := sorted({node.op_type for node in model.graph.node} & TRAINING_ONLY):
        problems.append(f"training-only operators {leftover} are left in the graph")
    if problems:
        raise ExportError("; ".join(problems))


def _type_and_shape(value: onnx.ValueInfoProto) -> tuple[str, list[str | int]]:
    tensor = value.type.tensor_type
    shape = [dim.dim_param or dim.dim_value for dim in tensor.shape.dim]
    return onnx.TensorProto.DataType.Name(tensor.elem_type), shape


def keras_logits(encoder: keras.Model, classifier_head: keras.Model, images: NDArray[np.uint8]) -> NDArray[np.float32]:
    """Logits of the Keras networks, the reference for parity. Shape: ``(n, 20)``."""
    outputs = inference_function(encoder, classifier_head)(tf.constant(images))
    return np.asarray(outputs["logits"])
