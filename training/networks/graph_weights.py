"""The weights of Xception from an exported graph, to train them further where the run's folder is not at hand.

``hal export`` folds batch normalisation into the convolutions. Here its scale is taken out of the kernels again and its
shift put back, by ImageNet's moving statistics and ``gamma``, which gives the same function.
"""

import re
from pathlib import Path
from typing import Any, Final

import keras
import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import NodeProto, numpy_helper

from training.errors import TrainingError

_BLOCK: Final = re.compile(r"\b(block\d+_(?:sep)?conv\d+)_\d+/")
_KERAS_KERNEL: Final = (2, 3, 1, 0)
"""Of the axes of ONNX's kernels: output channel, input channel, row, column."""
Kernel = NDArray[np.float32]


class GraphWeightsError(TrainingError):
    """A graph does not hold the convolutions of Xception under the names that ``hal export`` gives them."""


def read_encoder(path: Path, encoder: keras.Model) -> None:
    """Replace kernels and shifts of an encoder with ImageNet's weights by those of an exported graph.

    Args:
        path: an ONNX file in float32 or float16.
        encoder: see :func:`training.networks.xception.build_encoder`.

    Raises:
        GraphWeightsError: the graph's convolutions are not the encoder's.
    """
    xception = next((layer for layer in encoder.layers if isinstance(layer, keras.Model)), encoder)
    kinds = (keras.layers.Conv2D, keras.layers.SeparableConv2D)
    convolutions = [layer for layer in xception.layers if isinstance(layer, kinds)]
    found = _convolutions(onnx.load(path))
    if {*found} != {_name(layer) for layer in convolutions}:
        raise GraphWeightsError(f"{path} is not an Xception that 'hal export' wrote in float32 or float16")
    for layer in convolutions:
        depthwise, kernel, shift = found[_name(layer)]
        (node,) = layer._outbound_nodes
        normalisation = node.operation
        gamma, _, mean, variance = (np.asarray(each) for each in normalisation.weights)
        scale = gamma / np.sqrt(variance + normalisation.epsilon)
        unscaled = np.divide(kernel, scale, out=np.zeros_like(kernel), where=scale != 0)
        layer.set_weights([unscaled] if depthwise is None else [depthwise, unscaled])
        normalisation.set_weights([gamma, shift + mean * scale, mean, variance])


def _name(layer: keras.Layer) -> str:
    """The layer's own, or of the unnamed ones beside the blocks the output's channels, which no two share."""
    return layer.name if layer.name.startswith("block") else f"beside, {layer.filters} channels"


def _convolutions(model: onnx.ModelProto) -> dict[str, tuple[Kernel | None, Kernel, NDArray[np.float32]]]:
    """By name the depthwise kernel (``None`` where there is none), the kernel and the shift of each convolution."""
    constants = {each.name: each for each in model.graph.initializer}
    made_by = {node.output[0]: node for node in model.graph.node}

    def constant(node: NodeProto, place: int) -> Any:
        return numpy_helper.to_array(constants[node.input[place]]).astype(np.float32)

    found = {}
    for node in model.graph.node:
        if node.op_type != "Conv" or len(node.input) < 3 or not {*node.input[1:]} <= {*constants}:
            continue
        kernel, shift = constant(node, 1).transpose(_KERAS_KERNEL), constant(node, 2)
        block = _BLOCK.search(node.input[1])
        before = made_by.get(node.input[0])
        depthwise = None
        if block and "sep" in block[1] and before is not None:
            depthwise = constant(before, 1).transpose(2, 3, 0, 1)
        found[block[1] if block else f"beside, {len(shift)} channels"] = (depthwise, kernel, shift)
    return found
