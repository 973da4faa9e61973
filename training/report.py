"""``hal evaluate``: a bundle's figures on labelled images, as a table."""

from pathlib import Path

import numpy as np
from rich.console import Console
from rich.table import Table

from contract import bundle
from contract.classes import CLASS_NAMES
from contract.manifest import Evidence, Precision
from training.data import manifest
from training.evaluate import Evaluation, EvaluationError, onnx_logits
from training.metrics import EXPERT_LABELLED


def print_evaluation(root: Path, data: Path, split: str, precision: Precision | None) -> None:
    """Evaluate a bundle on the images of a split and print what was found.

    Images of classes that the bundle never saw are counted and left out: it cannot name them.

    Raises:
        BundleError, ManifestError, EvaluationError: each says what was wrong and what to do.
    """
    loaded = bundle.load(root)
    file = loaded.file(precision)
    known = {entry.name for entry in loaded.manifest.classes if entry.evidence is not Evidence.NONE}
    chosen = [image for image in manifest.read(data) if image.split == split]
    images = [image for image in chosen if image.label in known]
    if not images:
        raise EvaluationError(f"{data} has no image of split {split!r} in a class that the bundle knows")
    labels = np.array([image.class_index for image in images], dtype=np.int64)
    logits = onnx_logits(loaded.path(file), [image.path for image in images], f"{split} images, {file.precision}")
    result = Evaluation.of(logits, labels, loaded.manifest)

    console = Console()
    console.print(_table(result, f"{loaded.manifest.name} {loaded.manifest.version} ({file.precision}) on {split}"))
    if left_out := len(chosen) - len(images):
        console.print(f"left out {left_out} images of classes that the bundle was never trained on", highlight=False)
    console.print(f"accuracy {result.accuracy}", highlight=False)
    barcelona = np.array([image.source == "pbc" and image.label in EXPERT_LABELLED for image in images])
    if barcelona.any():
        accuracy = result.of_images(barcelona).accuracy
        console.print(f"accuracy, ten expert-labelled classes of pbc {accuracy}", highlight=False)
    console.print(f"cross-entropy {result.loss:.4f}", highlight=False)
    console.print(f"expected calibration error {result.calibration_error:.4f}", highlight=False)
    console.print("commonest confusions (true -> predicted):")
    for true, predicted, count in result.commonest_confusions():
        console.print(f"  {true} -> {predicted}: {count}", highlight=False)


def _table(result: Evaluation, title: str) -> Table:
    table = Table("Class", "Recall, 95 % interval (Wilson)", "Precision, 95 % interval (Wilson)", title=title)
    recall, precision = result.recall, result.precision
    for name in CLASS_NAMES:
        if name in recall or name in precision:
            table.add_row(name, str(recall.get(name, "")), str(precision.get(name, "")))
    return table
