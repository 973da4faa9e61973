"""The figures that a bundle carries: each with its images, its data, its interval and the command that gives it.

Real cells, composites and edited controls (column ``kind`` of the manifest, see :mod:`training.composites`) are never
mixed in a figure: how well a network knows what was drawn for it says little about cells.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from contract.classes import CELL_CLASSES, HAIRY_CELL
from contract.description import AS_PHOTOGRAPHED, Metric
from contract.parts import Precision
from training.data.manifest import LabelledImage
from training.evaluation.calibration import calibration_error_by_chance
from training.evaluation.results import Evaluation, Proportion

COMMAND: Final = "hal evaluate {bundle} --data {manifest} --split val"
EXPERT_LABELLED: Final = frozenset(cell.name for cell in CELL_CLASSES if cell.index < 9 or cell.id == "erythroblast")
"""The ten classes with expert labels in the Barcelona images: nine white cells and the erythroblast."""
KINDS: Final = {"real": "real images", "composite": "composites", "sham": "edited controls"}


@dataclass(frozen=True, slots=True)
class About:
    """What figures of one evaluation have in common; see :class:`contract.description.Metric`."""

    split: str
    precision: Precision
    command: str
    condition: str = AS_PHOTOGRAPHED

    def metric(self, name: str, value: float, images: int, data: str, **more: Any) -> Metric:
        """A figure; ``more`` are further fields, such as its interval."""
        common = {"split": self.split, "precision": self.precision, "command": self.command}
        return Metric(name=name, value=value, images=images, data=data, condition=self.condition, **common, **more)

    def share(self, name: str, hits: NDArray[np.bool_], data: str, *, exact: bool = False) -> Metric:
        """A share of images with Wilson's interval, or with the exact one, for rare events."""
        found = Proportion.of(int(hits.sum()), len(hits), "Clopper-Pearson" if exact else "Wilson")
        return self.metric(name, found.value, found.images, data, interval95=found.interval95, method=found.method)


def bundle_metrics(
    images: Sequence[LabelledImage],
    logits: Mapping[Precision, NDArray[np.float32]],
    temperature: float | NDArray[np.float64],
    suppressed: NDArray[np.bool_],
    shipped: Precision,
    threshold: float | None,
    command: str,
) -> tuple[Metric, ...]:
    """Accuracy of every precision, the shipped one first; all other figures of the shipped one.

    Args:
        logits: of each precision. Shape: ``(len(images), 20)``.
        temperature: of the calibration, or one for each image. Shape: ``(len(images), 1)``.
        suppressed: classes without evidence. Shape: ``(20,)``.
        threshold: of the hairy flag; ``None`` where there is none.
    """
    labels = np.array([image.class_index for image in images], dtype=np.int64)
    results = {p: Evaluation.at(values, labels, temperature, suppressed) for p, values in logits.items()}
    about, result = About("val", shipped, command), results[shipped]
    real = of_kind(images) == "real"
    change = result.of_images(real).accuracy.value - results["float32"].of_images(real).accuracy.value
    name = f"accuracy, {shipped} minus float32"
    return (
        *accuracies(images, result, about),
        *(m for p in results if p != shipped for m in accuracies(images, results[p], replace(about, precision=p))),
        about.metric(name, change, int(real.sum()), _sources(images, real)),
        *errors(images, result, about),
        *flags(images, result, threshold, about),
        *recalls(images, result, about),
    )


def of_kind(images: Sequence[LabelledImage]) -> NDArray[np.str_]:
    """``real``, ``composite`` or ``sham``; images of other manifests than those of composites are real."""
    return np.array([image.extra.get("kind") or "real" for image in images])


def expert_labelled(images: Sequence[LabelledImage]) -> NDArray[np.bool_]:
    """Which images are of Barcelona (source ``pbc``) and of the classes that experts labelled there."""
    return np.array([image.source == "pbc" and image.label in EXPERT_LABELLED for image in images])


def accuracies(images: Sequence[LabelledImage], result: Evaluation, about: About) -> Iterable[Metric]:
    """Accuracy by kind; of the real images also by source, and of the classes that experts labelled."""
    kinds, hits = of_kind(images), result.predicted == result.labels
    several = len(set(kinds)) > 1
    for kind, words in KINDS.items():
        if (chosen := kinds == kind).any():
            name = f"accuracy, {words}" if several else "accuracy"
            yield about.share(name, hits[chosen], _sources(images, chosen))
    sources = np.array([image.source for image in images])
    for source in sorted(set(sources[kinds == "real"])) if len(set(sources)) > 1 else ():
        name = "accuracy, real images" if several else "accuracy"
        yield about.share(name, hits[(sources == source) & (kinds == "real")], source)
    if (expert := expert_labelled(images) & (kinds == "real")).any():
        yield about.share("accuracy, ten expert-labelled classes", hits[expert], "pbc")


def errors(images: Sequence[LabelledImage], result: Evaluation, about: About) -> Iterable[Metric]:
    """Cross-entropy in nats, expected calibration error and how much of it chance would make, of the real images."""
    real = of_kind(images) == "real"
    of_real, data, count = result.of_images(real), _sources(images, real), int(real.sum())
    yield about.metric("cross-entropy", of_real.loss, count, data)
    yield about.metric("expected calibration error", of_real.calibration_error, count, data)
    mean, low, high = calibration_error_by_chance(of_real.probabilities.max(axis=1))
    name = "expected calibration error under perfect calibration"
    yield about.metric(name, mean, count, data, interval95=(low, high), method="simulation")


def flags(
    images: Sequence[LabelledImage], result: Evaluation, threshold: float | None, about: About
) -> Iterable[Metric]:
    """How many hairy cells the flag finds, and how many others it is raised on, by kind; intervals are exact.

    Nothing where there is no flag (``threshold`` is ``None``).
    """
    if threshold is None:
        return
    kinds = of_kind(images)
    raised = result.probabilities[:, HAIRY_CELL.index] >= threshold
    hairy = result.labels == HAIRY_CELL.index
    for kind, words in KINDS.items():
        if (found := hairy & (kinds == kind)).any():
            yield about.share(f"hairy cells flagged, {words}", raised[found], _sources(images, found), exact=True)
        if (others := ~hairy & (kinds == kind)).any():
            yield about.share(f"false hairy flags, {words}", raised[others], _sources(images, others), exact=True)


def unfamiliar(images: Sequence[LabelledImage], novelty: NDArray[np.float32], about: About) -> Iterable[Metric]:
    """How many of the real images of each source a bundle calls unfamiliar, by their scores. Shape: ``(n,)``."""
    sources, real = np.array([image.source for image in images]), of_kind(images) == "real"
    for source in np.unique(sources[real]).tolist():
        yield about.share("unfamiliar images", novelty[real & (sources == source)] > 1, source)


def recalls(images: Sequence[LabelledImage], result: Evaluation, about: About) -> Iterable[Metric]:
    """Recall by class: of its real images, or of its composites where there is no real one."""
    kinds = of_kind(images)
    for cell in CELL_CLASSES:
        of_class = result.labels == cell.index
        kind = "real" if (of_class & (kinds == "real")).any() else "composite"
        if (chosen := of_class & (kinds == kind)).any():
            data = _sources(images, chosen) + (", composites" if kind == "composite" else "")
            yield about.share(f"recall, {cell.name}", (result.predicted == cell.index)[chosen], data)


def _sources(images: Sequence[LabelledImage], chosen: NDArray[np.bool_]) -> str:
    return "+".join(sorted({image.source for image, c in zip(images, chosen, strict=True) if c}))
