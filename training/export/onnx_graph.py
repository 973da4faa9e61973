"""From the trained networks to one ONNX graph: uint8 pixels in; logits, l2-normalised embedding and middle flow out."""

from typing import Any, Final

import keras
import numpy as np
import onnx
import tensorflow as tf
import tf2onnx
from numpy.typing import NDArray

from contract.parts import IMAGE_SIDE
from training.export.middle_flow import add_middle_flow

OPSET: Final = 17


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
    """Convert to ONNX, opset 17, float32, with the output ``middle_flow`` of an Xception; all first axes are ``n``."""
    infer = inference_function(encoder, classifier_head)
    model: onnx.ModelProto
    model, _ = tf2onnx.convert.from_function(infer, infer.input_signature, opset=OPSET, large_model=False)
    for value in (*model.graph.input, *model.graph.output):
        value.type.tensor_type.shape.dim[0].dim_param = "n"
    onnx.checker.check_model(model)
    add_middle_flow(model)
    return model


def keras_logits(encoder: keras.Model, classifier_head: keras.Model, images: NDArray[np.uint8]) -> NDArray[np.float32]:
    """Logits of the Keras networks, the reference for parity. Shape: ``(n, 20)``."""
    outputs = inference_function(encoder, classifier_head)(tf.constant(images))
    return np.asarray(outputs["logits"])
