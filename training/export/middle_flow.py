"""The third output of an exported graph: the end of Xception's middle flow.

The last layers of a network forget how an image was stained and photographed; the mean of each feature map before them
still tells (Huang and Belongie 2017, "Arbitrary Style Transfer in Real-Time with Adaptive Instance Normalization",
compare two styles by such means). Novelty stands on both.
"""

from pathlib import Path
from typing import Final

import numpy as np
import onnx
from onnx import ModelProto, TensorProto, helper, numpy_helper

from contract.bundle import sha256_of
from contract.description import BundleDescription
from contract.parts import OUTPUT_SIZES, OutputSpec, in_order
from training.errors import TrainingError

NAME: Final = "middle_flow"
RESIDUAL_SUMS: Final = 12
"""Of Xception (Chollet 2017, figure 5): three of the entry flow, eight of the middle flow, one of the exit flow."""


class MiddleFlowError(TrainingError):
    """The files of a bundle cannot all be given the output."""


def add_middle_flow(model: ModelProto) -> bool:
    """Give a graph the output ``middle_flow``, float32 ``(n, 728)``, l2-normalised, in any precision.

    Returns:
        Whether it did; a graph that has the output, or not Xception's residual sums, stays as it is.
    """
    graph = model.graph
    constants = {tensor.name for tensor in graph.initializer}
    sums = [node.output[0] for node in graph.node if node.op_type == "Add" and constants.isdisjoint(node.input)]
    if len(sums) != RESIDUAL_SUMS or any(output.name == NAME for output in graph.output):
        return False
    end = sums[-2]
    known = onnx.shape_inference.infer_shapes(model).graph.value_info
    if any(value.name == end and value.type.tensor_type.elem_type == TensorProto.FLOAT16 for value in known):
        graph.node.append(helper.make_node("Cast", [end], [f"{NAME}/float"], to=TensorProto.FLOAT))
        end = f"{NAME}/float"
    # Not by LpNormalization, which ONNX Runtime has for processors only.
    graph.initializer.append(numpy_helper.from_array(np.array([1e-12], np.float32), f"{NAME}/least"))
    graph.node.extend(
        [
            helper.make_node("GlobalAveragePool", [end], [f"{NAME}/maps"]),
            helper.make_node("Flatten", [f"{NAME}/maps"], [f"{NAME}/means"]),
            helper.make_node("ReduceL2", [f"{NAME}/means"], [f"{NAME}/length"], axes=[1]),
            helper.make_node("Max", [f"{NAME}/length", f"{NAME}/least"], [f"{NAME}/divisor"]),
            helper.make_node("Div", [f"{NAME}/means", f"{NAME}/divisor"], [NAME]),
        ]
    )
    graph.output.append(helper.make_tensor_value_info(NAME, TensorProto.FLOAT, ["n", OUTPUT_SIZES[NAME]]))
    onnx.checker.check_model(model)
    return True


def with_middle_flow(folder: Path, description: BundleDescription, scratch: Path) -> BundleDescription:
    """Describe a bundle all of whose files have the output; those that lacked it are written to ``scratch``.

    Raises:
        MiddleFlowError: some of its files can be given the output and others cannot.
    """
    files, outputs = [], set()
    for file in description.files:
        model = onnx.load(folder / file.path)
        if add_middle_flow(model):
            path = scratch / file.path
            onnx.save(model, path)
            file = file.model_copy(update={"sha256": sha256_of(path), "bytes": path.stat().st_size})
        files.append(file)
        outputs.add(outputs_of(model))
    if len(outputs) > 1:
        raise MiddleFlowError(f"the files of {folder} differ in their outputs: export the bundle again")
    return description.model_copy(update={"files": tuple(files), "outputs": outputs.pop()})


def outputs_of(model: ModelProto) -> tuple[OutputSpec, ...]:
    """The outputs of an exported graph, for ``bundle.json``."""
    names = in_order(output.name for output in model.graph.output)
    return tuple(OutputSpec.model_validate({"name": name, "size": OUTPUT_SIZES[name]}) for name in names)
