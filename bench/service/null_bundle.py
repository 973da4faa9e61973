"""A bundle around a graph that costs nothing: what is left of a request's time is the service's own.

The graph slices 20 bytes of each image for the logits and 2048 for the embedding and casts them to float; it reads no
other pixel. Inputs and outputs are those of every bundle, so the service verifies and serves it like any other.
"""

from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from contract import bundle as bundles
from contract.bundle import Bundle
from contract.classes import CLASS_COUNT, CLASS_NAMES
from contract.description import EMBEDDING_SIZE, IMAGE_SIDE, BundleDescription, Evidence

_GOLDEN_IMAGES = 4


def null_graph() -> bytes:
    """The ONNX file."""
    import onnx
    from onnx import TensorProto, helper, numpy_helper

    sizes = {"logits": CLASS_COUNT, "embedding": EMBEDDING_SIZE}
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


def write_null_bundle(root: Path) -> Bundle:
    """Write the bundle into the folder ``root``."""
    root.mkdir(parents=True, exist_ok=True)
    (root / "model.onnx").write_bytes(null_graph())
    shape = (_GOLDEN_IMAGES, IMAGE_SIDE, IMAGE_SIDE, 3)
    images: NDArray[np.uint8] = np.random.default_rng(1).integers(0, 256, shape, np.uint8)
    logits = images.reshape(_GOLDEN_IMAGES, -1)[:, :CLASS_COUNT].astype(np.float32)
    np.savez(root / "golden.npz", images=images, logits_float32=logits)
    return bundles.write(root, _manifest(root))


def _manifest(root: Path) -> BundleDescription:
    model, golden = root / "model.onnx", root / "golden.npz"
    classes = [
        {"name": name, "evidence": Evidence.REAL, "training_images": 1, "validation_images": 1} for name in CLASS_NAMES
    ]
    file: dict[str, Any] = {
        "path": model.name,
        "precision": "float32",
        "sha256": bundles.sha256_of(model),
        "bytes": model.stat().st_size,
        "parity": {"batch_sizes": [1], "images": 1, "max_abs_logit_difference": 0},
        "golden_tolerance": 1e-3,
    }
    return BundleDescription.model_validate(
        {
            "name": "null",
            "version": "1.0.0",
            "intended_use": "Measures the service; knows nothing of cells.",
            "limits": ["answers nonsense"],
            "classes": classes,
            "files": [file],
            "golden": {"path": golden.name, "sha256": bundles.sha256_of(golden), "images": _GOLDEN_IMAGES},
            "calibration": {
                "id": "none",
                "temperature": 40,
                "fitted_on": "nothing",
                "images": 1,
                "ece_before": 0,
                "ece_after": 0,
            },
            "policy": {
                "version": "1",
                "hairy_threshold": 0.5,
                "hairy_threshold_basis": "none",
                "hairy_advice": "Nonsense.",
                "review_below_probability": 0.5,
                "review_below_margin": 0.1,
            },
            "metrics": [],
            "provenance": {
                "run": "none",
                "recipe": {},
                "manifest_sha256": "0" * 64,
                "initial_weights_sha256": None,
                "seed": 0,
                "libraries": {},
                "source_revision": "none",
                "created": datetime(2026, 1, 1, tzinfo=UTC),
            },
            "attributions": [],
        }
    )
