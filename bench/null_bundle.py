"""A bundle around a graph that costs nothing: what is left of a request's time is the service's own.

The graph slices the first bytes of each image for each output and casts them to float. Inputs and outputs are those of
the bundle that it is like, so the service verifies and serves it like any other.
"""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from contract import bundle as bundles
from contract.bundle import Bundle
from contract.classes import CLASS_COUNT
from contract.parts import IMAGE_SIDE, GoldenSample, ModelFile, OutputSpec, Parity

_GOLDEN_IMAGES = 4


def null_graph(outputs: Sequence[OutputSpec]) -> bytes:
    import onnx
    from onnx import TensorProto, helper, numpy_helper

    sizes = {output.name: output.size for output in outputs}
    constants: dict[str, list[int]] = {"axis": [1], "start": [0], "flat": [0, -1]}
    nodes = [helper.make_node("Reshape", ["image", "flat"], ["bytes"])]
    for name, size in sizes.items():
        constants[f"end_{name}"] = [size]
        nodes += [
            helper.make_node("Slice", ["bytes", "start", f"end_{name}", "axis"], [f"part_{name}"]),
            helper.make_node("Cast", [f"part_{name}"], [name], to=TensorProto.FLOAT),
        ]
    graph = helper.make_graph(
        nodes,
        "null",
        [helper.make_tensor_value_info("image", TensorProto.UINT8, ["n", IMAGE_SIDE, IMAGE_SIDE, 3])],
        [helper.make_tensor_value_info(name, TensorProto.FLOAT, ["n", size]) for name, size in sizes.items()],
        [numpy_helper.from_array(np.array(value, np.int64), name) for name, value in constants.items()],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9)
    onnx.checker.check_model(model)
    return bytes(model.SerializeToString())


def write_null_bundle(root: Path, like: Bundle) -> Bundle:
    """Write the bundle into the folder ``root``; apart from its network it is described as ``like`` is."""
    root.mkdir(parents=True, exist_ok=True)
    model, golden = root / "model.onnx", root / "golden.npz"
    model.write_bytes(null_graph(like.description.outputs))
    shape = (_GOLDEN_IMAGES, IMAGE_SIDE, IMAGE_SIDE, 3)
    images: NDArray[np.uint8] = np.random.default_rng(1).integers(0, 256, shape, np.uint8)
    logits = images.reshape(_GOLDEN_IMAGES, -1)[:, :CLASS_COUNT].astype(np.float32)
    np.savez(golden, images=images, logits_float32=logits)
    file = ModelFile(
        path=model.name,
        precision="float32",
        sha256=bundles.sha256_of(model),
        bytes=model.stat().st_size,
        parity=Parity(batch_sizes=(1,), images=1, max_abs_logit_difference=0),
        golden_tolerance=1e-3,
    )
    changes = {
        "name": "null",
        "intended_use": "Measures the service; knows nothing of cells.",
        "files": (file,),
        "golden": GoldenSample(path=golden.name, sha256=bundles.sha256_of(golden), images=_GOLDEN_IMAGES),
        "reference": None,
        "novelty": None,
        "metrics": (),
    }
    return bundles.write(root, like.description.model_copy(update=changes))
