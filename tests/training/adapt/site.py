"""A laboratory and a bundle: a small graph of the shape that is exported, and cells whose colour is the class."""

import csv
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper
from PIL import Image

from contract import bundle
from contract.bundle import Bundle
from contract.classes import BY_ID, CELL_CLASSES, CLASS_COUNT
from contract.description import Evidence
from contract.parts import EMBEDDING_SIZE, EmbeddingReference
from tests.service.tiny_bundle import description_for
from training.adapt.layer import Cells, LastLayer, solver
from training.evaluation.onnx_inference import Outputs, onnx_pixels
from training.export.embedding_reference import write_reference
from training.export.float16 import as_on_a_gpu, to_float16

IDS = ("lymphocyte", "monocyte", "band-neutrophil", "hairy-cell")
CLASSES = tuple(BY_ID[class_id].index for class_id in IDS)
NO_CELLS = Cells(np.empty((0, EMBEDDING_SIZE), np.float32), np.empty(0, np.int64), np.empty(0, np.int64))
SUPPRESSED = ~np.isin(np.arange(CLASS_COUNT), CLASSES)


def graph(layer: LastLayer, *, normalised: bool = True) -> onnx.ModelProto:
    """Two convolutions, pooling, l2 norm and a last layer."""
    generator = np.random.default_rng(5)
    constants = {
        "starts": np.array([100, 100], np.int64),
        "ends": np.array([108, 108], np.int64),
        "axes": np.array([1, 2], np.int64),
        "scale": np.float32(1 / 127.5),
        "offset": np.float32(-1),
        "first": generator.normal(size=(16, 3, 1, 1)).astype(np.float32),
        "second": generator.normal(size=(EMBEDDING_SIZE, 16, 1, 1)).astype(np.float32),
        "weights": layer.weights.astype(np.float32),
        "bias": layer.bias.astype(np.float32),
    }
    stands_on = "embedding" if normalised else "pooled"
    nodes = [
        helper.make_node("Slice", ["image", "starts", "ends", "axes"], ["patch"]),
        helper.make_node("Cast", ["patch"], ["floats"], to=TensorProto.FLOAT),
        helper.make_node("Mul", ["floats", "scale"], ["scaled"]),
        helper.make_node("Add", ["scaled", "offset"], ["centred"]),
        helper.make_node("Transpose", ["centred"], ["channels"], perm=[0, 3, 1, 2]),
        helper.make_node("Conv", ["channels", "first"], ["edges"]),
        helper.make_node("Relu", ["edges"], ["kept"]),
        helper.make_node("Conv", ["kept", "second"], ["shapes"]),
        helper.make_node("Relu", ["shapes"], ["seen"]),
        helper.make_node("GlobalAveragePool", ["seen"], ["means"]),
        helper.make_node("Flatten", ["means"], ["pooled"]),
        helper.make_node("LpNormalization", ["pooled"], ["embedding"], axis=1, p=2),
        helper.make_node("Gemm", [stands_on, "weights", "bias"], ["logits"]),
    ]
    model = helper.make_model(
        helper.make_graph(
            nodes,
            "small",
            [helper.make_tensor_value_info("image", TensorProto.UINT8, ["n", 256, 256, 3])],
            [
                helper.make_tensor_value_info("logits", TensorProto.FLOAT, ["n", CLASS_COUNT]),
                helper.make_tensor_value_info("embedding", TensorProto.FLOAT, ["n", EMBEDDING_SIZE]),
            ],
            [numpy_helper.from_array(np.asarray(value), name) for name, value in constants.items()],
        ),
        opset_imports=[helper.make_opsetid("", 17)],
        ir_version=9,
    )
    onnx.checker.check_model(model)
    return model


def coloured(index: int, generator: np.random.Generator, cast: NDArray[np.float64] | None = None) -> NDArray[np.uint8]:
    """A cell of a class; a cast is another laboratory's light."""
    colour = np.random.default_rng(index).uniform(30, 220, 3) + generator.normal(0, 4, 3)
    colour = colour if cast is None else cast @ colour
    return np.broadcast_to(np.clip(colour, 0, 255).astype(np.uint8), (256, 256, 3))


CAST = np.array([[0.2, 0.8, 0.0], [0.0, 0.3, 0.7], [0.8, 0.0, 0.2]])


@dataclass
class Site:
    """Where a bundle and a laboratory's cells lie."""

    root: Path
    cast: NDArray[np.float64] | None = field(default_factory=lambda: CAST)

    def parent(self, *, normalised: bool = True) -> Bundle:
        """``models/parent/1``: float32 and float16 files of a network that knows the classes in its own light."""
        folder = self.root / "models" / "parent" / "1"
        folder.mkdir(parents=True)
        nothing = LastLayer(np.zeros((EMBEDDING_SIZE, CLASS_COUNT)), np.zeros(CLASS_COUNT))
        path = folder / "model.onnx"
        onnx.save(graph(nothing), path)
        generator = np.random.default_rng(1)
        labels = np.repeat(CLASSES, 20).astype(np.int64)
        images = np.stack([coloured(label, generator) for label in labels])
        cells = Cells(onnx_pixels(path, images).embeddings, labels, np.arange(len(labels)))
        layer = nothing.moved(solver(nothing, cells, NO_CELLS, SUPPRESSED)(1e-4))
        onnx.save(graph(layer, normalised=normalised), path)
        to_float16(path, folder / "model.float16.onnx")
        as_on_a_gpu(folder / "model.float16.onnx", folder / "gpu.onnx")
        golden = images[::20]
        np.savez(
            folder / "golden.npz",
            images=golden,
            logits_float32=onnx_pixels(path, golden).logits,
            logits_float16=onnx_pixels(folder / "gpu.onnx", golden).logits,
        )
        (folder / "gpu.onnx").unlink()
        described = description_for(folder)
        (file,) = described.files
        half = folder / "model.float16.onnx"
        files = (
            file,
            file.model_copy(
                update={
                    "path": half.name,
                    "precision": "float16",
                    "sha256": bundle.sha256_of(half),
                    "bytes": half.stat().st_size,
                    "golden_tolerance": 0.01,
                }
            ),
        )
        classes = tuple(
            entry if cell.id in IDS else entry.model_copy(update={"evidence": Evidence.NONE, "training_images": 0})
            for cell, entry in zip(CELL_CLASSES, described.classes, strict=True)
        )
        changes = {
            "files": files,
            "classes": classes,
            "golden": described.golden.model_copy(update={"images": len(golden)}),
            "provenance": described.provenance.model_copy(update={"recipe": {"name": "small"}}),
            "reference": self.reference(folder, cells, layer),
        }
        return bundle.write(folder, described.model_copy(update=changes))

    @staticmethod
    def reference(folder: Path, cells: Cells, layer: LastLayer) -> EmbeddingReference:
        """The parent's own cells."""
        outputs = Outputs(layer.logits(cells.embeddings).astype(np.float32), cells.embeddings)
        return write_reference(folder, outputs, cells.labels, SUPPRESSED, "float32", "its own cells")

    def cells(self, slides: int = 4, of_class: int = 2, name: str = "site.csv", test: int = 0, **labels: str) -> Path:
        """A manifest: on each slide some cells of three classes; ``labels`` renames classes by their id."""
        generator, rows = np.random.default_rng(list(name.encode())), []
        for slide in range(slides):
            for class_id in IDS[:3]:
                for number in range(of_class):
                    path = self.root / f"{name}-{slide}-{class_id}-{number}.png"
                    Image.fromarray(coloured(BY_ID[class_id].index, generator, self.cast)).save(path)
                    label = BY_ID[labels.get(class_id.replace("-", "_"), class_id)].name
                    rows.append((path, label, f"s{slide}", "ours", "test" if slide < test else "train", "A. Han"))
        with (self.root / name).open("w", newline="") as stream:
            csv.writer(stream).writerows([("path", "label", "slide_id", "source", "split", "reviewer"), *rows])
        return self.root / name
