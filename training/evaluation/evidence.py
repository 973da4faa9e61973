"""What a bundle declares about its training images: evidence by class, limits, attribution."""

from collections import Counter
from collections.abc import Sequence
from typing import Final

import numpy as np
from numpy.typing import NDArray

from contract.classes import CLASS_NAMES
from contract.description import Attribution, ClassEvidence, Evidence
from training.data.manifest import LabelledImage, counts
from training.data.overlap import has_slide
from training.data.presets import PRESETS

ONE_SOURCE: Final = 0.95


def class_evidence(images: Sequence[LabelledImage]) -> tuple[ClassEvidence, ...]:
    """What each of the 20 classes was learned from, in their order; a class counts as good as its weakest images."""
    by_split = counts(images)
    entries = []
    for name in CLASS_NAMES:
        kinds = {image.extra.get("evidence") or "real" for image in images if image.label == name}
        sources = {image.source for image in images if image.label == name}
        training = by_split[name, "train"]
        weakest = next((e for e in (Evidence.COMPOSITE, Evidence.SIZE_DERIVED, Evidence.REAL) if e in kinds), None)
        entries.append(
            ClassEvidence(
                name=name,
                evidence=weakest if training and weakest else Evidence.NONE,
                training_images=training,
                validation_images=by_split[name, "val"],
                sources=tuple(sorted(sources)),
            )
        )
    return tuple(entries)


def suppressed(classes: Sequence[ClassEvidence]) -> NDArray[np.bool_]:
    """Classes that a network was never trained on. Shape: ``(20,)``."""
    return np.array([entry.evidence is Evidence.NONE for entry in classes])


def limits(classes: Sequence[ClassEvidence], images: Sequence[LabelledImage]) -> tuple[str, ...]:
    """What a user must know before believing the figures."""
    missing = [entry.name for entry in classes if entry.evidence is Evidence.NONE]
    few = [f"{e.name} ({e.training_images})" for e in classes if 0 < e.training_images < 50]
    known = [
        "Figures on another hospital's images will be lower.",
        "Validation images were also used to fit the temperature and the review limits: only figures of the split "
        "'test' are those of a test set.",
    ]
    if made := [entry.name for entry in classes if entry.evidence is Evidence.COMPOSITE]:
        known.append(
            f"Learned from composites (edited photographs of other cells), wholly or mostly: {', '.join(made)}"
            ". Recall on real cells is unknown: train on your own confirmed cells first."
        )
    if unknown := sum(not has_slide(image) for image in images):
        known.append(
            f"No slide or patient is known for {unknown} of {len(images)} images: training and validation images may "
            "come from one patient, which flatters the figures."
        )
    if missing:
        known.append(f"Never trained on, suppressed in every answer: {', '.join(missing)}.")
    if few:
        known.append(f"Fewer than 50 training images: {', '.join(few)}.")
    if single := _of_one_source(images):
        known.append(
            "Learned (almost) from one data set only, so its stain and camera style may name them: "
            f"{', '.join(single)}."
        )
    return tuple(known)


def _of_one_source(images: Sequence[LabelledImage]) -> list[str]:
    """Classes with their source, where other classes have other sources: a shortcut that thesis section 4.4 found."""
    if len({image.source for image in images}) == 1:
        return []
    found = []
    for name in CLASS_NAMES:
        sources = Counter(image.source for image in images if image.label == name)
        if sources and sources.most_common(1)[0][1] >= ONE_SOURCE * sources.total():
            found.append(f"{name} ({sources.most_common(1)[0][0]})")
    return found


def attributions(images: Sequence[LabelledImage]) -> tuple[Attribution, ...]:
    """The sources of the images that must be named wherever the bundle goes."""
    entries = []
    for source, count in sorted(Counter(image.source for image in images).items()):
        if (preset := PRESETS.get(source)) is None:
            text = "not one of the known public data sets; add its attribution before sharing this bundle"
            entries.append(Attribution(source=source, title=source, licence="unknown", citation=text, changes=""))
            continue
        changes = f"{count} images, centre-cropped or padded by reflection to 256x256; classes mapped to the 20"
        entries.append(
            Attribution(
                source=source, title=preset.title, licence=preset.licence, citation=preset.citation, changes=changes
            )
        )
    return tuple(entries)
