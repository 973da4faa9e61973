"""The last layer in an ONNX file of a bundle: read, replaced, and checked by running the file."""

from pathlib import Path
from typing import Final

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import ModelProto, TensorProto, numpy_helper

from contract.classes import CLASS_COUNT
from contract.parts import EMBEDDING_SIZE, Precision
from training.adapt.layer import LastLayer
from training.errors import TrainingError
from training.evaluation.onnx_inference import Outputs, onnx_pixels
from training.export.float16 import as_on_a_gpu

LARGEST_DIFFERENCE: Final = 1e-3
"""Of a logit of the file to the same layer in NumPy; in float32 it is about 1e-5."""


class LayerError(TrainingError):
    """The last layer of a file is not one that can be replaced."""


def read_layer(path: Path) -> LastLayer:
    """The last layer of an exported graph, a product of the embeddings in float32 in every precision.

    Raises:
        LayerError: the graph does not end in such a layer.
    """
    weights, bias, transposed = _tensors(onnx.load(path), path.name)
    matrix = numpy_helper.to_array(weights).astype(np.float64)
    return LastLayer(matrix.T if transposed else matrix, numpy_helper.to_array(bias).astype(np.float64))


def write_layer(path: Path, out: Path, layer: LastLayer) -> None:
    """Write a graph with another last layer; everything before it stays as it is.

    Raises:
        LayerError: see :func:`read_layer`.
    """
    model = onnx.load(path)
    weights, bias, transposed = _tensors(model, path.name)
    for tensor, values in ((weights, layer.weights.T if transposed else layer.weights), (bias, layer.bias)):
        kind = numpy_helper.to_array(tensor).dtype
        tensor.CopyFrom(numpy_helper.from_array(np.ascontiguousarray(values, kind), tensor.name))
    onnx.checker.check_model(model)
    onnx.save(model, out)


def parity(path: Path, precision: Precision, layer: LastLayer, images: NDArray[np.uint8]) -> tuple[Outputs, float]:
    """The outputs of a file, float16 as on a GPU, and how far its logits are from the layer's on its own embeddings.

    Raises:
        LayerError: the logits are not those of the layer, as where the classifier's features are not normalised.
    """
    runnable = path
    if precision == "float16":
        runnable = path.with_suffix(".as-on-a-gpu")
        as_on_a_gpu(path, runnable)
    outputs = onnx_pixels(runnable, images)
    if runnable != path:
        runnable.unlink()
    difference = float(np.abs(outputs.logits - layer.logits(outputs.embeddings)).max())
    if not difference <= LARGEST_DIFFERENCE:  # also true of what is no number
        raise LayerError(
            f"the logits of {path.name} are {difference:.2g} from embedding times last layer, allowed is "
            f"{LARGEST_DIFFERENCE}; only bundles whose classifier stands on the normalised embedding (HAL-C) can be "
            "adapted"
        )
    return outputs, difference


def _tensors(model: ModelProto, name: str) -> tuple[TensorProto, TensorProto, bool]:
    """Weights and bias of the layer that gives the logits, and whether the weights are transposed.

    ONNX Runtime's quantiser writes one node (Gemm), tf2onnx two (MatMul, Add).
    """
    constants = {tensor.name: tensor for tensor in model.graph.initializer}
    producers = {output: node for node in model.graph.node for output in node.output}
    last, transposed, inputs = producers.get("logits"), False, []
    if last is not None and last.op_type == "Gemm":
        options = {attribute.name: onnx.helper.get_attribute_value(attribute) for attribute in last.attribute}
        if options.get("alpha", 1.0) == options.get("beta", 1.0) == 1.0 and not options.get("transA", 0):
            inputs, transposed = list(last.input[1:]), bool(options.get("transB", 0))
    elif last is not None and last.op_type == "Add":
        product = producers.get(last.input[0])
        if product is not None and product.op_type == "MatMul":
            inputs = [product.input[1], last.input[1]]
    if len(inputs) == 2 and {*inputs} <= {*constants}:
        weights, bias = (constants[each] for each in inputs)
        shape = [CLASS_COUNT, EMBEDDING_SIZE] if transposed else [EMBEDDING_SIZE, CLASS_COUNT]
        if list(weights.dims) == shape and list(bias.dims) == [CLASS_COUNT]:
            return weights, bias, transposed
    raise LayerError(
        f"{name} does not end in a layer of {EMBEDDING_SIZE} weights and a bias for each of {CLASS_COUNT} logits, as "
        "'hal export' writes it; train further instead (hal train --start-from)"
    )
