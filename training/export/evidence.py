"""``hal evidence``: what a finished bundle does on images that had no part in making it, written into the bundle.

``hal export`` measures on the validation images, which chose the temperature and the threshold. This adds the figures
of the test split: real cells, composites and edited controls apart, under the conditions of another laboratory,
whether an edit leaves a trace, and cells of data sets that were never trained on.
"""

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Final

import numpy as np
from numpy.typing import NDArray

from contract import bundle
from contract.bundle import Bundle
from contract.classes import HAIRY_CELL
from contract.description import BundleDescription, Metric
from contract.files import IMAGE_SUFFIXES
from contract.pixels import fit
from training.data import image_list, manifest
from training.data.contents import with_pixels
from training.data.images import ANALYSER_SCALE, read_pixels, scaled
from training.data.manifest import LabelledImage
from training.errors import TrainingError
from training.evaluation import metrics
from training.evaluation.conditions import CONDITIONS, Change
from training.evaluation.edit_probe import edit_probe
from training.evaluation.metrics import About, of_kind
from training.evaluation.onnx_inference import Outputs, onnx_outputs, onnx_pixels
from training.evaluation.policy import false_flags
from training.evaluation.results import Evaluation
from training.export import model_card

COMMAND: Final = "hal evidence"
SPLIT: Final = "test"


class EvidenceError(TrainingError):
    """The images cannot tell what was asked."""


def add_evidence(
    folder: Path,
    data: Path,
    elsewhere: Sequence[Path] = (),
    hairy: Path | None = None,
    hairy_scale: float = ANALYSER_SCALE,
) -> BundleDescription:
    """Measure a bundle on held-out images and write the figures into ``bundle.json`` and the model card.

    They take the place of all that the same command gave before; figures of other commands stay, but for those that are
    measured again. The false flags that the advice on slides is tested
    against are from now on those of the real test images.

    Args:
        data: manifest of the images that the bundle was made of, composites and edited controls told by its
            column ``kind``.
        elsewhere: manifests of data sets that the bundle was not trained on; all their images are shown.
        hairy: folder of photographs of real hairy cells.
        hairy_scale: their pixels a micrometre; they are shown as they are and at the analyser's scale.

    Raises:
        BundleError: the bundle cannot be loaded.
        ManifestError: a manifest cannot be used.
        EvidenceError: there is nothing to measure, or the images had a part in making the bundle.
        ImageError: an image cannot be read.
    """
    loaded = bundle.load(folder)
    images, before = _held_out(loaded, data), loaded.description
    threshold = before.policy.hairy_threshold
    folder_name = f"models/{before.name}/{before.version.partition('.')[0]}"
    about = About(SPLIT, loaded.file().precision, f"{COMMAND} {folder_name} --data {_shown(data)}")
    figures: list[Metric] = []
    policy = before.policy
    for condition, change in CONDITIONS.items():
        outputs, result, novelty = _ask(loaded, images, f"{SPLIT} images, {condition}", change)
        changed = replace(about, condition=condition)
        figures += metrics.accuracies(images, result, changed)
        figures += metrics.flags(images, result, threshold, changed)
        if novelty is not None:
            figures += metrics.unfamiliar(images, novelty, changed)
        if change is None:
            figures += metrics.errors(images, result, about)
            figures += metrics.recalls(images, result, about)
            figures += edit_probe(outputs.embeddings, images, about)
            if threshold is not None:
                real = result.of_images(of_kind(images) == "real")
                flagged = false_flags(real, threshold, f"real images of split {SPLIT}") or policy.false_flags
                policy = policy.model_copy(update={"false_flags": flagged})
    about = replace(about, split=model_card.ELSEWHERE)
    for path in elsewhere:
        there = replace(about, command=f"{about.command} --elsewhere {_shown(path)}")
        figures += _elsewhere(loaded, manifest.read(path), there)
    if hairy is not None:
        command = f"{about.command} --hairy {_shown(hairy)} --hairy-scale {hairy_scale:g}"
        figures += _real_hairy(loaded, hairy, hairy_scale, replace(about, command=command))
    # What the same command gave before is gone even where it gives it no more, as the accuracy of no familiar image.
    commands, again = {metric.command for metric in figures}, {_question(metric) for metric in figures}
    kept = (m for m in before.metrics if m.command not in commands and _question(m) not in again)
    description = before.model_copy(update={"metrics": (*kept, *figures), "policy": policy})
    model_card.rewrite(folder, description)
    return description


def _shown(path: Path) -> str:
    """A path for a command that others will run: without the folders of this machine."""
    return path.name if path.is_absolute() or ".." in path.parts else path.as_posix()


def _held_out(loaded: Bundle, data: Path) -> list[LabelledImage]:
    images = [image for image in _known(loaded, manifest.read(data)) if image.split == SPLIT]
    if not (of_kind(images) == "real").any():
        raise EvidenceError(
            f"{data} has no real image of split {SPLIT!r} in a class of the bundle; hold some out by "
            "'hal data prepare --test-share 0.15' before training"
        )
    listed = image_list.splits(loaded.root / image_list.FILE_NAME)
    known = [image_list.seen_as(image, bundle.sha256_of(image.path), listed) for image in with_pixels(images)]
    if used := Counter(split for split in known if split not in ("", SPLIT)):
        found = ", ".join(f"{count} of its split {split!r}" for split, count in sorted(used.items()))
        raise EvidenceError(
            f"test images of {data} had a part in making the bundle: {found}; give the manifest that it was made of"
        )
    return images


def _known(loaded: Bundle, images: Sequence[LabelledImage]) -> list[LabelledImage]:
    """Those of classes that the bundle was trained on."""
    known = {entry.name for entry in loaded.description.classes if entry.training_images}
    return [image for image in images if image.label in known]


def _ask(
    loaded: Bundle, images: Sequence[LabelledImage], what: str, change: Change | None = None
) -> tuple[Outputs, Evaluation, NDArray[np.float32] | None]:
    """What the bundle says about images, and the novelty score of each; ``None`` where the bundle gives none."""
    outputs = onnx_outputs(loaded.path(loaded.file()), [image.path for image in images], what, change)
    labels = np.array([image.class_index for image in images], dtype=np.int64)
    return outputs, *_judged(loaded, outputs, labels)


def _judged(
    loaded: Bundle, outputs: Outputs, labels: NDArray[np.int64]
) -> tuple[Evaluation, NDArray[np.float32] | None]:
    basis = loaded.novelty()
    novelty = None if basis is None else basis.scores(outputs.features)
    return Evaluation.of(outputs.logits, labels, loaded.description, novelty), novelty


def _elsewhere(loaded: Bundle, images: Sequence[LabelledImage], about: About) -> Iterable[Metric]:
    """Accuracy, recall by class and false flags on data sets that the bundle was not trained on."""
    images = _known(loaded, images)
    sources = {image.source for image in images}
    names = "+".join(sorted(sources))
    if not images:
        raise EvidenceError("a manifest of --elsewhere has no image of a class that the bundle knows")
    if shared := sources & {entry.source for entry in loaded.description.attributions}:
        raise EvidenceError(f"the bundle was trained on {', '.join(sorted(shared))}, which is not elsewhere")
    outputs, result, novelty = _ask(loaded, images, f"images of {names}")
    hits = result.predicted == result.labels
    yield about.share("accuracy, real images", hits, names)
    yield from metrics.errors(images, result, about)
    if novelty is not None:
        one = Evaluation.of(outputs.logits, result.labels, loaded.description)
        name = "expected calibration error, one temperature"
        yield about.metric(name, one.calibration_error, len(images), names)
        yield from metrics.unfamiliar(images, novelty, about)
        if (familiar := novelty <= 1).any():
            yield about.share("accuracy, familiar images", hits[familiar], names)
    yield from metrics.flags(images, result, loaded.description.policy.hairy_threshold, about)
    yield from metrics.recalls(images, result, about)


def _real_hairy(loaded: Bundle, folder: Path, scale: float, about: About) -> Iterable[Metric]:
    """How many photographs of real hairy cells raise the flag, at their own scale and at the analyser's."""
    threshold = loaded.description.policy.hairy_threshold
    paths = sorted(path for path in folder.iterdir() if path.suffix.lower() in IMAGE_SUFFIXES)
    if not paths or threshold is None:
        raise EvidenceError(
            f"{folder} has no image in it" if not paths else "the bundle has no hairy flag that could be raised"
        )
    pixels = [read_pixels(path) for path in paths]
    at_scale = [scaled(each, ANALYSER_SCALE / scale) for each in pixels]
    labels = np.full(len(paths), HAIRY_CELL.index, np.int64)
    data = "/".join(folder.resolve().parts[-2:])
    for name, shown in (("as they are", pixels), (f"scaled to {ANALYSER_SCALE:g} pixels a micrometre", at_scale)):
        outputs = onnx_pixels(loaded.path(loaded.file()), np.stack([fit(each) for each in shown]))
        result, _ = _judged(loaded, outputs, labels)
        raised = result.probabilities[:, HAIRY_CELL.index] >= threshold
        yield about.share(f"real hairy cells flagged, {name}", raised, data, exact=True)


def _question(metric: Metric) -> tuple[str, ...]:
    """What a figure answers: two figures of one question are not both to be believed."""
    return metric.name, metric.split, metric.data, metric.precision, metric.condition
