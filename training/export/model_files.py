"""The ONNX files of a bundle: written in each precision, and compared with Keras."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import keras
import numpy as np
import onnx
import onnxruntime

from contract import bundle
from contract.classes import CLASS_NAMES
from contract.parts import ModelFile, Parity, Precision
from training.data.images import read_image
from training.data.manifest import LabelledImage
from training.errors import TrainingError
from training.export import onnx_graph
from training.export.float16 import as_on_a_gpu, to_float16
from training.export.quantize import quantize
from training.fit.run import Run

PARITY_BATCHES: Final = (1, 7, 32)
LARGEST_DIFFERENCE: Final[dict[Precision, float]] = {"float32": 1e-3, "float16": 0.05}
"""Of a logit to Keras' float32, beyond which a file is refused; int8 is judged by its accuracy."""
GOLDEN_TOLERANCE: Final[dict[Precision, float]] = {"float32": 1e-3, "float16": 0.01, "int8": 0.02}
CALIBRATION_IMAGES_PER_CLASS: Final = 16
_PARITY_IMAGES: Final = sum(PARITY_BATCHES)


class ExportError(TrainingError):
    """An exported file does not give what the network gives."""


@dataclass(frozen=True, slots=True)
class WrittenFile:
    """An exported file, and the graph that gives on this machine what the file gives where it will run."""

    path: Path
    runnable: Path


def write_files(
    run: Run, encoder: keras.Model, head: keras.Model, folder: Path, wanted: Sequence[Precision], scratch: Path
) -> dict[Precision, WrittenFile]:
    """Write float32 and int8, which are always compared, and float16 if it is wanted, into ``folder``.

    ``scratch`` is for what only this machine needs. The run's training images set the ranges of int8.
    """
    run.say("export: converting to ONNX")
    float32, float16, int8 = (folder / f"model.{precision}.onnx" for precision in ("float32", "float16", "int8"))
    onnx.save(onnx_graph.to_onnx(encoder, head), float32)
    trained_on = [image for image in run.images if image.split == "train"]
    of_class = ([image for image in trained_on if image.label == name] for name in CLASS_NAMES)
    chosen = [image for images in of_class for image in images[:CALIBRATION_IMAGES_PER_CLASS]]
    run.say(f"export: quantising to int8, ranges from {len(chosen)} training images")
    quantize(float32, int8, [read_image(image.path) for image in chosen])
    written: dict[Precision, WrittenFile] = {
        "float32": WrittenFile(float32, float32),
        "int8": WrittenFile(int8, int8),
    }
    if "float16" in wanted:
        to_float16(float32, float16)
        written["float16"] = WrittenFile(float16, scratch / "float16-as-on-a-gpu.onnx")
        as_on_a_gpu(float16, written["float16"].runnable)
    return written


def describe_file(
    written: WrittenFile,
    precision: Precision,
    encoder: keras.Model,
    head: keras.Model,
    images: Sequence[LabelledImage],
) -> ModelFile:
    """A file for ``bundle.json``, compared with Keras on some of ``images``.

    Raises:
        ExportError: its logits are too far from Keras', or no numbers.
    """
    step = max(len(images) // _PARITY_IMAGES, 1)
    pixels = np.stack([read_image(image.path) for image in images[::step][:_PARITY_IMAGES]])
    session = onnxruntime.InferenceSession(written.runnable, providers=["CPUExecutionProvider"])
    differences, start = [], 0
    for batch in (min(size, len(pixels)) for size in PARITY_BATCHES):
        chosen = np.take(pixels, range(start, start + batch), axis=0, mode="wrap")
        start += batch
        found = session.run(["logits"], {"image": chosen})[0]
        differences.append(float(np.abs(found - onnx_graph.keras_logits(encoder, head, chosen)).max()))
    largest = float(np.max(differences))
    # Not with >, which lets what is no number pass.
    if not largest <= (allowed := LARGEST_DIFFERENCE.get(precision, math.inf)):
        raise ExportError(
            f"{precision} logits differ from Keras by {largest:.2g}, allowed is {allowed}; ship another precision"
        )
    return ModelFile(
        path=written.path.name,
        precision=precision,
        sha256=bundle.sha256_of(written.path),
        bytes=written.path.stat().st_size,
        parity=Parity(batch_sizes=PARITY_BATCHES, images=start, max_abs_logit_difference=largest),
        golden_tolerance=GOLDEN_TOLERANCE[precision],
    )
