"""A float16 version of the exported graph, for GPUs: half the memory, and the convolutions on tensor cores.

Everything from the first convolution to the last one is in float16. The rescaling of the pixels before, and the
pooling, the classifier and the l2 norm after them cost nothing and stay in float32, as inputs and outputs do.

ONNX Runtime has no float16 convolutions for x86 processors: there it computes such a file in float32 and only the
weights are rounded. What a GPU gives, which stores every value in float16 and adds up in float32, is computed by
:func:`as_on_a_gpu`.
"""

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Final

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import NodeProto, TensorProto, helper, numpy_helper

LARGEST: Final = float(np.finfo(np.float16).max)
_ROUND_NOTHING: Final = frozenset({"Identity", "MaxPool", "Relu", "Reshape", "Squeeze", "Transpose", "Unsqueeze"})
"""Operators whose outputs are among their inputs, or 0."""


def to_float16(float32: Path, float16: Path) -> None:
    """Write a float16 version of the exported graph ``float32``.

    Not by onnxruntime.transformers.float16, which puts a float16 value between any two operators that are to stay in
    float32: the sum of squares of the l2 norm would be one.
    """
    model = onnx.shape_inference.infer_shapes(onnx.load(float32))
    graph = model.graph
    is_float = _values_of(graph, TensorProto.FLOAT)
    inside = _between_convolutions(graph.node)
    produced = {name for position in inside for name in graph.node[position].output} & is_float
    weights = {i.name: numpy_helper.to_array(i) for i in graph.initializer if i.data_type == TensorProto.FLOAT}
    halved: dict[str, NDArray[np.float16]] = {}
    nodes: list[NodeProto] = []
    cast: set[str] = set()

    def casted(name: str, suffix: str, to: int) -> str:
        if name + suffix not in cast:
            cast.add(name + suffix)
            nodes.append(helper.make_node("Cast", [name], [name + suffix], name=f"{name}{suffix}/cast", to=to))
        return name + suffix

    for position, node in enumerate(graph.node):
        for place, name in enumerate(node.input):
            if position not in inside and name in produced:
                node.input[place] = casted(name, "/float", TensorProto.FLOAT)
            elif position in inside and name in weights:
                halved[f"{name}/half"] = np.clip(weights[name], -LARGEST, LARGEST).astype(np.float16)
                node.input[place] = f"{name}/half"
            elif position in inside and name in is_float - produced:
                node.input[place] = casted(name, "/half", TensorProto.FLOAT16)
        nodes.append(node)
    kept = [i for i in graph.initializer if any(i.name in node.input for node in nodes)]
    _replace(graph, nodes, [*kept, *(numpy_helper.from_array(values, name) for name, values in halved.items())])
    onnx.checker.check_model(model, full_check=True)
    onnx.save(model, float16)


def as_on_a_gpu(float16: Path, rounded: Path) -> None:
    """Write a graph that gives on any device what ``float16``, written by :func:`to_float16`, gives on a GPU.

    It computes in float32 and rounds what ``float16`` stores in float16 after each operator. What is beyond 65504
    becomes infinite there, and the logits with it.
    """
    model = onnx.shape_inference.infer_shapes(onnx.load(float16))
    graph = model.graph
    is_half = _values_of(graph, TensorProto.FLOAT16)
    nodes: list[NodeProto] = []
    for node in graph.node:
        nodes.append(node)
        for place, name in enumerate(node.output):
            if name in is_half and node.op_type not in _ROUND_NOTHING:
                exact = f"{name}/exact"
                node.output[place] = exact
                if node.op_type == "Cast":
                    node.attribute[0].i = TensorProto.FLOAT
                nodes.append(helper.make_node("Cast", [exact], [f"{name}/rounded"], to=TensorProto.FLOAT16))
                nodes.append(helper.make_node("Cast", [f"{name}/rounded"], [name], to=TensorProto.FLOAT))
    weights = [
        numpy_helper.from_array(numpy_helper.to_array(i).astype(np.float32), i.name)
        if i.data_type == TensorProto.FLOAT16
        else i
        for i in graph.initializer
    ]
    _replace(graph, nodes, weights)
    onnx.checker.check_model(model, full_check=True)
    onnx.save(model, rounded)


def _values_of(graph: onnx.GraphProto, kind: int) -> set[str]:
    """Names of the values of one type that the graph is given or computes."""
    entries = (*graph.value_info, *graph.input, *graph.output)
    return {entry.name for entry in entries if entry.type.tensor_type.elem_type == kind}


def _replace(graph: onnx.GraphProto, nodes: list[NodeProto], weights: list[TensorProto]) -> None:
    fresh = onnx.GraphProto(node=nodes, initializer=weights)  # copies them: what is cleared is gone
    for field in ("node", "initializer", "value_info"):
        graph.ClearField(field)
    graph.MergeFrom(fresh)


def _between_convolutions(nodes: Sequence[NodeProto]) -> set[int]:
    """Positions of the nodes with a convolution at or before them and one at or after them; ``nodes`` in order."""
    last = len(nodes) - 1
    after = _reached((node.op_type, node.input, node.output) for node in nodes)
    before = _reached((node.op_type, node.output, node.input) for node in reversed(nodes))
    return after & {last - position for position in before}


def _reached(nodes: Iterable[tuple[str, Iterable[str], Iterable[str]]]) -> set[int]:
    """Positions of the convolutions, and of the nodes that have among their sources what such a node leads to."""
    values: set[str] = set()
    positions = set()
    for position, (kind, sources, leads_to) in enumerate(nodes):
        if kind == "Conv" or not values.isdisjoint(sources):
            values.update(leads_to)
            positions.add(position)
    return positions
