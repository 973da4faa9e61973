"""The figures that a bundle carries: each with its images, its data, its interval and the command that gives it."""

from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from contract.classes import CELL_CLASSES
from contract.manifest import Metric, Precision
from training.data.manifest import LabelledImage
from training.evaluation.results import Evaluation, Proportion

COMMAND = "hal evaluate {bundle} --data {manifest} --split val"
EXPERT_LABELLED = tuple(cell.name for cell in CELL_CLASSES if cell.index < 9 or cell.slug == "erythroblast")
"""The ten classes with expert labels in the Barcelona images: nine white cells and the erythroblast."""


def bundle_metrics(
    images: Sequence[LabelledImage],
    logits: Mapping[Precision, NDArray[np.float32]],
    temperature: float,
    suppressed: NDArray[np.bool_],
    shipped: Precision,
    command: str,
) -> tuple[Metric, ...]:
    """Accuracy of every precision, the shipped one first; loss, calibration error and recall of the shipped one.

    Args:
        images: the validation images.
        logits: of each precision. Shape: ``(len(images), 20)``.
        temperature: of the calibration.
        suppressed: classes without evidence. Shape: ``(20,)``.
        shipped: the bundle's default precision.
        command: what gives the figures again.
    """
    labels = np.array([image.class_index for image in images], dtype=np.int64)
    data = "+".join(sorted({image.source for image in images}))
    results = {p: Evaluation.at(values, labels, temperature, suppressed) for p, values in logits.items()}

    def metric(
        name: str, value: float, precision: Precision, of: Proportion | None = None, source: str = data
    ) -> Metric:
        return Metric(
            name=name,
            value=value,
            interval95=of.interval95 if of else None,
            images=of.images if of else len(images),
            data=source,
            split="val",
            precision=precision,
            command=command,
        )

    figures = []
    barcelona = np.array([image.source == "pbc" and image.label in EXPERT_LABELLED for image in images])
    for precision, result in sorted(results.items(), key=lambda item: item[0] != shipped):
        figures.append(metric("accuracy", result.accuracy.value, precision, result.accuracy))
        sources = {image.source for image in images}
        for source in sorted(sources) if len(sources) > 1 else ():
            accuracy = result.of_images(np.array([image.source == source for image in images])).accuracy
            figures.append(metric("accuracy", accuracy.value, precision, accuracy, source))
        if barcelona.any():
            accuracy = result.of_images(barcelona).accuracy
            figures.append(metric("accuracy, ten expert-labelled classes", accuracy.value, precision, accuracy, "pbc"))
    reference, result = results["float32"], results[shipped]
    change = result.accuracy.value - reference.accuracy.value
    figures.append(metric(f"accuracy, {shipped} minus float32", change, shipped))
    figures.append(metric("cross-entropy", result.loss, shipped))
    figures.append(metric("expected calibration error", result.calibration_error, shipped))
    figures += [metric(f"recall, {name}", recall.value, shipped, recall) for name, recall in result.recall.items()]
    return tuple(figures)
