"""A complete tiny bundle around a real ONNX graph that looks at one pixel, so that tests take milliseconds."""

import hashlib
import io
from collections.abc import Iterable
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime as ort
from numpy.typing import ArrayLike, NDArray
from onnx import TensorProto, helper, numpy_helper
from PIL import Image

from contract import bundle as bundles
from contract.bundle import Bundle
from contract.classes import CLASS_NAMES, HAIRY_CELL
from contract.description import BundleDescription, Evidence
from contract.parts import Novelty

CENTRE = 128
POISON = (255, 0, 255)
"""The colour at which the tiny graph makes ONNX Runtime raise."""
HANG = (254, 0, 254)
"""The colour at which a tiny graph that was made to hang never comes back."""
_FOR_EVER = 2**62
_ANY_MEMORY = 2**46


@dataclass(frozen=True)
class TinyNetwork:
    """Class ``c`` is the colour ``colours[c]`` of the centre pixel: logits are minus the squared distances."""

    colours: NDArray[np.uint8] = field(
        default_factory=lambda: np.random.default_rng(7).integers(0, 250, (20, 3)).astype(np.uint8)
    )

    def graph(
        self,
        *,
        input_name: str = "image",
        input_type: int = TensorProto.UINT8,
        side: int = 256,
        outputs: Iterable[str] = ("logits", "embedding"),
        batch: str | int = "n",
        bias: float = 0.0,
        rounds: int = 0,
        hangs: bool = False,
        memory_for: int | None = None,
    ) -> bytes:
        """The graph, or one that breaks the contract in a chosen way, or is slow, or fails.

        Args:
            input_name, input_type, side, outputs, batch: the signature.
            bias: added to the first logit.
            rounds: turns of a loop that only takes time, for each image.
            hangs: whether a batch with an image of the colour HANG loops for ever.
            memory_for: a larger batch than this, unless all of it is black as in the warm-up, asks for more memory than
                there is.
        """
        colours = self.colours.astype(np.float32) / 16
        bias_row = np.zeros(20, np.float32)
        bias_row[0] = bias
        constants = {
            "starts": np.array([CENTRE, CENTRE], np.int64),
            "ends": np.array([CENTRE + 1, CENTRE + 1], np.int64),
            "axes": np.array([1, 2], np.int64),
            "flat": np.array([-1, 3], np.int64),
            "sixteenth": np.float32(1 / 16),
            "weights": (2 * colours.T).astype(np.float32),
            "norms": (-(colours**2).sum(axis=1) + bias_row).astype(np.float32),
            "expansion": np.full((3, 2048), 1 / 2048, np.float32),
            "poison": np.array(POISON, np.float32),
            "only": np.array([1.0], np.float32),
        }
        nodes = [
            helper.make_node("Slice", [input_name, "starts", "ends", "axes"], ["patch"]),
            helper.make_node("Cast", ["patch"], ["floats"], to=TensorProto.FLOAT),
            helper.make_node("Reshape", ["floats", "flat"], ["raw"]),
            # Poisoned images index an axis of length 1 at 1, which ONNX Runtime refuses for the whole batch.
            helper.make_node("Equal", ["raw", "poison"], ["equal"]),
            helper.make_node("Cast", ["equal"], ["equal_float"], to=TensorProto.FLOAT),
            helper.make_node("ReduceMin", ["equal_float"], ["poisoned"], axes=[1], keepdims=1),
            helper.make_node("Cast", ["poisoned"], ["place"], to=TensorProto.INT64),
            helper.make_node("Gather", ["only", "place"], ["one"]),
            helper.make_node("Mul", ["raw", "one"], ["checked"]),
            helper.make_node("Mul", ["checked", "sixteenth"], ["scaled"]),
            helper.make_node("MatMul", ["scaled", "weights"], ["products"]),
            helper.make_node("MatMul", ["scaled", "expansion"], ["embedding"]),
            *_trouble(constants, input_name, rounds, hangs, memory_for),
            helper.make_node("Add", ["norms", "spent"], ["offsets"]),
            helper.make_node("Add", ["products", "offsets"], ["logits"]),
        ]
        sizes = {"logits": 20, "embedding": 2048}
        graph = helper.make_graph(
            nodes,
            "tiny",
            [helper.make_tensor_value_info(input_name, input_type, [batch, side, side, 3])],
            [helper.make_tensor_value_info(name, TensorProto.FLOAT, [batch, sizes[name]]) for name in outputs],
            [numpy_helper.from_array(np.asarray(value), name) for name, value in constants.items()],
        )
        model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9)
        onnx.checker.check_model(model)
        return model.SerializeToString()

    def logits(self, images: NDArray[np.uint8]) -> NDArray[np.float32]:
        """An independent account of what the graph does."""
        session = ort.InferenceSession(self.graph(), providers=["CPUExecutionProvider"])
        (logits,) = session.run(["logits"], {"image": images})
        return np.asarray(logits)

    def cell(self, index: int) -> NDArray[np.uint8]:
        """An image of class ``index``."""
        return coloured(self.colours[index])


def coloured(colour: ArrayLike, height: int = 256, width: int = 256) -> NDArray[np.uint8]:
    """An image that the tiny graph sees in this colour: a square of it in a field of another green."""
    inner = np.asarray(colour, np.uint8)
    pixels = np.empty((height, width, 3), np.uint8)
    pixels[:] = (inner[0], inner[1] ^ 0x80, inner[2])
    pixels[height // 4 : -height // 4, width // 4 : -width // 4] = inner
    return pixels


def _trouble(
    constants: dict[str, Any], input_name: str, rounds: int, hangs: bool, memory_for: int | None
) -> list[onnx.NodeProto]:
    """Nodes that give the number 0 by the name of ``spent``, after some time or with more memory than there is."""
    if not rounds and not hangs and memory_for is None:
        constants["spent"] = np.float32(0)
        return []
    constants |= {
        "rounds": np.int64(rounds),
        "hang": np.array(HANG, np.float32),
        "for_ever": np.int64(_FOR_EVER if hangs else 0),
        "enough": np.int64(_ANY_MEMORY if memory_for is None else memory_for),
        "any_memory": np.array([_ANY_MEMORY], np.int64),
        "one_number": np.array([1], np.int64),
        "go_on": np.array(True),
    }
    body = helper.make_graph(
        [helper.make_node("Identity", ["go"], ["go_out"]), helper.make_node("Sin", ["sum"], ["sum_out"])],
        "round",
        [
            helper.make_tensor_value_info("round", TensorProto.INT64, []),
            helper.make_tensor_value_info("go", TensorProto.BOOL, []),
            helper.make_tensor_value_info("sum", TensorProto.FLOAT, []),
        ],
        [
            helper.make_tensor_value_info("go_out", TensorProto.BOOL, []),
            helper.make_tensor_value_info("sum_out", TensorProto.FLOAT, []),
        ],
    )
    return [
        helper.make_node("Shape", [input_name], ["images"], start=0, end=1),
        helper.make_node("Greater", ["images", "enough"], ["many"]),
        helper.make_node("ReduceMax", ["raw"], ["brightest"], keepdims=0),
        helper.make_node("Cast", ["brightest"], ["any_cell"], to=TensorProto.BOOL),
        helper.make_node("And", ["many", "any_cell"], ["too_many"]),
        helper.make_node("Where", ["too_many", "any_memory", "one_number"], ["block_size"]),
        helper.make_node("ConstantOfShape", ["block_size"], ["block"]),
        helper.make_node("ReduceMax", ["block"], ["nothing"], keepdims=0),
        helper.make_node("Equal", ["raw", "hang"], ["hanging"]),
        helper.make_node("Cast", ["hanging"], ["hanging_float"], to=TensorProto.FLOAT),
        helper.make_node("ReduceMin", ["hanging_float"], ["hanging_images"], axes=[1], keepdims=0),
        helper.make_node("ReduceMax", ["hanging_images"], ["any_hanging"], keepdims=0),
        helper.make_node("Cast", ["any_hanging"], ["hang_turns"], to=TensorProto.INT64),
        helper.make_node("Mul", ["hang_turns", "for_ever"], ["endless"]),
        helper.make_node("Squeeze", ["images"], ["image_count"]),
        helper.make_node("Mul", ["image_count", "rounds"], ["slow"]),
        helper.make_node("Add", ["slow", "endless"], ["turns"]),
        helper.make_node("Loop", ["turns", "go_on", "nothing"], ["spent"], body=body),
    ]


def encoded(pixels: NDArray[np.uint8], kind: str = "PNG", **options: Any) -> bytes:
    """The pixels as a file."""
    stream = io.BytesIO()
    Image.fromarray(pixels).save(stream, kind, **options)
    return stream.getvalue()


def write_tiny(
    root: Path,
    *,
    graph: bytes | None = None,
    hairy_known: bool = True,
    version: str = "1.2.3",
    network: TinyNetwork | None = None,
) -> Bundle:
    """A bundle in ``root`` around a network's graph, or another one."""
    network = network or TinyNetwork()
    root.mkdir(parents=True, exist_ok=True)
    (root / "model.onnx").write_bytes(graph or network.graph())
    images = np.stack([network.cell(index) for index in (0, 7, HAIRY_CELL.index)])
    np.savez(root / "golden.npz", images=images, logits_float32=network.logits(images))
    return bundles.write(root, description_for(root, hairy_known=hairy_known, version=version))


def with_novelty(bundle: Bundle, brightest: float) -> Bundle:
    """The bundle, telling images as unfamiliar whose colour's three numbers have a larger sum than ``brightest``.

    The embedding is that sum, 2048 times; the score of novelty becomes the sum in units of ``brightest``.
    """
    components = np.eye(1, 2048, dtype=np.float32)
    np.savez(bundle.root / "novelty.npz", mean=np.zeros(2048, np.float32), components=components)
    novelty = Novelty(
        path="novelty.npz",
        sha256=bundles.sha256_of(bundle.root / "novelty.npz"),
        precision="float32",
        components=1,
        images=20,
        threshold=brightest / 16 / 2048 * 2047**0.5,
        familiar_rate=0.02,
        validation_images=20,
    )
    calibration = bundle.description.calibration.model_copy(update={"unfamiliar_temperature": 30.0})
    changes = {"novelty": novelty, "calibration": calibration}
    return bundles.write(bundle.root, bundle.description.model_copy(update=changes))


def description_for(
    root: Path, *, hairy_known: bool = True, tolerance: float = 1e-3, version: str = "1.2.3"
) -> BundleDescription:
    """A description of ``model.onnx`` and ``golden.npz`` as they are in ``root``."""
    model, golden = root / "model.onnx", root / "golden.npz"
    without = set() if hairy_known else {HAIRY_CELL.name}
    return BundleDescription.model_validate(
        {
            "name": "tiny",
            "version": version,
            "intended_use": "For tests.",
            "limits": ["sees one pixel"],
            "classes": [
                {
                    "name": name,
                    "evidence": Evidence.NONE if name in without else Evidence.REAL,
                    "training_images": 0 if name in without else 10,
                    "validation_images": 0 if name in without else 5,
                }
                for name in CLASS_NAMES
            ],
            "files": [
                {
                    "path": model.name,
                    "precision": "float32",
                    "sha256": bundles.sha256_of(model),
                    "bytes": model.stat().st_size,
                    "parity": {"batch_sizes": [1], "images": 1, "max_abs_logit_difference": 0},
                    "golden_tolerance": tolerance,
                }
            ],
            "golden": {"path": golden.name, "sha256": bundles.sha256_of(golden), "images": 3},
            "calibration": {
                "id": "t-1",
                "temperature": 1.5,
                "fitted_on": "tests",
                "images": 5,
                "ece_before": 0.1,
                "ece_after": 0.05,
            },
            "policy": {
                "version": "p-1",
                "hairy_threshold": 0.4 if hairy_known else None,
                "hairy_threshold_basis": "tests",
                "hairy_advice": "Confirm by flow cytometry.",
                "review_below_probability": 0.5,
                "review_below_margin": 0.1,
            },
            "metrics": [],
            "provenance": {
                "run": "r",
                "recipe": {},
                "manifest_sha256": hashlib.sha256(b"").hexdigest(),
                "initial_weights_sha256": None,
                "seed": 0,
                "libraries": {},
                "source_revision": "0",
                "created": datetime(2026, 1, 1, tzinfo=UTC),
            },
            "attributions": [],
        }
    )
