"""``hal adapt``: a bundle whose last layer knows a laboratory's confirmed cells."""

import tempfile
from collections.abc import Iterable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from contract import bundle
from contract.bundle import Bundle
from contract.description import BundleDescription, Evidence
from contract.novelty import NoveltyBasis
from training.adapt.comparison import Comparison
from training.adapt.graph import read_layer
from training.adapt.layer import DEFAULT_PENALTY, Cells, Choice, LastLayer, choose_penalty, solver
from training.adapt.rules import refit_calibration, refit_novelty, refit_policy
from training.adapt.written import Site, files, identity, metrics, write
from training.data import image_list, manifest
from training.data.contents import content_hashes
from training.data.overlap import assert_disjoint, groups
from training.errors import TrainingError
from training.evaluation.onnx_inference import onnx_outputs
from training.evaluation.results import Evaluation
from training.export import triton

FORGOTTEN: Final = 0.02
"""Fall of the mean recall on the parent's reference cells from which on a bundle is not better, unless the fall may be
chance: a class with three of them weighs as much as one with forty."""


class AdaptError(TrainingError):
    """The cells cannot adapt the bundle, or the adapted bundle is not better."""


@dataclass(frozen=True, slots=True)
class Adapted:
    description: BundleDescription
    comparisons: tuple[Comparison, ...]
    left_out: int


def adapt(parent: Path, data: Path, out: Path, force: bool = False) -> Adapted:
    """Fit a bundle's last layer again and write another, whole or not at all; ``force``: even if it is not better.

    Raises:
        BundleError: the parent cannot be loaded.
        ManifestError: the manifest cannot be used, or a slide is in the test split and in another.
        ImageError: an image cannot be read.
        AdaptError: there is nothing to learn, the cells had a part in the parent, or the bundle is not better.
        LayerError: the last layer cannot be replaced.
    """
    loaded = bundle.load(parent)
    if (out / bundle.MANIFEST_NAME).exists():
        raise AdaptError(f"{out} holds a bundle already; remove it or choose another folder")
    layer = _shipped_layer(loaded)
    site, left_out = _site(loaded, data)
    anchors, seed = _anchors(loaded), loaded.description.provenance.seed
    suppressed = loaded.description.suppressed
    choice = choose_penalty(layer, site.cells, anchors, suppressed, seed)
    penalty = DEFAULT_PENALTY if choice is None else choice.penalty
    fitted = layer
    if np.isfinite(penalty):
        fitted = layer.moved(solver(layer, site.cells, anchors, suppressed)(penalty))
    out.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=out.parent, prefix=".adapt-") as temporary:
        folder = Path(temporary) / out.name
        folder.mkdir()
        description, basis, scores = _rules(loaded, site, choice, folder)
        comparisons = _compare(loaded, (layer, fitted), site, choice, description, basis, scores)
        if (problems := list(_problems(choice, comparisons))) and not force:
            told = [line for comparison in comparisons for line in comparison.lines()]
            raise AdaptError(
                "\n".join([*told, f"no bundle was written: {'; '.join(problems)} (--force writes it all the same)"])
            )
        command = f"hal adapt {_shown(parent)} --data {_shown(data)} --out {_shown(out)}"
        description = description.model_copy(
            update={
                **identity(loaded, site, penalty, out),
                **files(loaded, fitted, folder),
                "metrics": metrics(loaded, site, comparisons, command),
            }
        )
        write(loaded, description, site, folder)
        folder.rename(out)
    triton.write(out, description)
    return Adapted(bundle.load(out).description, comparisons, left_out)


def _shown(path: Path) -> str:
    """A path for a command that others will run: without the folders of this machine."""
    return "/".join(path.parts[-3:]) if path.is_absolute() or ".." in path.parts else path.as_posix()


def _shipped_layer(loaded: Bundle) -> LastLayer:
    """The last layer, the same in every precision."""
    layer = read_layer(loaded.path(loaded.file()))
    for file in loaded.description.files[1:]:
        other = read_layer(loaded.path(file))
        if not np.array_equal(other.weights, layer.weights) or not np.array_equal(other.bias, layer.bias):
            raise AdaptError(f"{file.path} has another last layer than {loaded.file().path}; export the bundle again")
    return layer


def _site(loaded: Bundle, data: Path) -> tuple[Site, int]:
    """The cells of the manifest as the encoder sees them, and how many are of classes that the bundle never answers."""
    listed = manifest.read(data)
    known = {entry.name for entry in loaded.description.classes if entry.evidence is not Evidence.NONE}
    images = [image for image in listed if image.label in known]
    if not any(image.split != "test" for image in images):
        raise AdaptError(f"{data} has no cell to learn from: none of a class that the bundle knows outside of 'test'")
    content_hash = content_hashes(image.path for image in images)
    made_of = image_list.splits(loaded.root / image_list.FILE_NAME)
    if seen := sum(bool(image_list.seen_as(image, content_hash(image.path), made_of)) for image in images):
        raise AdaptError(
            f"{seen} of {len(images)} cells of {data} had a part in making {loaded.root}, which would flatter it: "
            "adapt its parent with all cells together, or leave them out (hal data split --exclude)"
        )
    as_test = [replace(image, split="test" if image.split == "test" else "train") for image in images]
    assert_disjoint(as_test, content_hash)
    file = loaded.file()
    outputs = onnx_outputs(loaded.path(file), [image.path for image in images], f"cells, {file.precision}")
    labels = np.array([image.class_index for image in images], dtype=np.int64)
    cells = Cells(outputs.features, labels, groups(images, content_hash))
    test = np.array([image.split == "test" for image in images])
    return Site(images, cells.of(~test), cells.of(test), content_hash), len(listed) - len(images)


def _anchors(loaded: Bundle) -> Cells:
    """The mean embedding of each class that the parent predicted on its reference images."""
    arrays, size = loaded.reference(), loaded.description.outputs[1].size
    if arrays is None:
        return Cells(np.empty((0, size), np.float32), np.empty(0, np.int64), np.empty(0, np.int64))
    means = arrays["class_means"]
    own = ~loaded.description.suppressed & (means != arrays["mean"]).any(axis=1)
    labels = np.flatnonzero(own).astype(np.int64)
    return Cells(means[own], labels, labels)


def _reference(loaded: Bundle) -> Cells | None:
    """The labelled cells that the parent brings; ``None`` where it brings none."""
    if (found := loaded.reference_cells()) is None:
        return None
    embeddings, labels = found
    kept = ~loaded.description.suppressed[labels]
    return Cells(embeddings[kept], labels[kept], np.flatnonzero(kept))


def _rules(
    loaded: Bundle, site: Site, choice: Choice | None, folder: Path
) -> tuple[BundleDescription, NoveltyBasis | None, NDArray[np.float32] | None]:
    """The parent's description with new calibration, policy and novelty, the basis, and the novelty of each cell."""
    before, basis, scores = loaded.description, loaded.novelty(), None
    changes: dict[str, Any] = {}
    if basis is not None and before.novelty is not None:
        changes["novelty"], basis, scores = refit_novelty(basis, before.novelty, site.cells, choice, folder)
    if choice is not None:
        changes["calibration"] = refit_calibration(before, choice.held_out, site.cells.labels)
        calibrated = before.model_copy(update=changes)
        held_out = Evaluation.of(choice.held_out, site.cells.labels, calibrated, scores)
        changes["policy"] = refit_policy(before, held_out)
    return before.model_copy(update=changes), basis, scores


def _compare(
    loaded: Bundle,
    layers: tuple[LastLayer, LastLayer],
    site: Site,
    choice: Choice | None,
    after: BundleDescription,
    basis: NoveltyBasis | None,
    scores: NDArray[np.float32] | None,
) -> tuple[Comparison, ...]:
    """The parent and the adapted bundle on all cells that the layer was not fitted on."""
    shipped, fitted = layers

    def compare(name: str, cells: Cells, now: Evaluation) -> Comparison:
        was = _evaluation(loaded.description, shipped, loaded.novelty(), cells)
        return Comparison.of(name, name.endswith("of the site"), was, now, cells.slides, after.provenance.seed)

    found = []
    if choice is not None:
        held_out = Evaluation.of(choice.held_out, site.cells.labels, after, scores)
        found.append(compare("held-out cells of the site", site.cells, held_out))
    for name, cells in (("test cells of the site", site.test), ("reference cells of the parent", _reference(loaded))):
        if cells:
            found.append(compare(name, cells, _evaluation(after, fitted, basis, cells)))
    return tuple(found)


def _evaluation(
    description: BundleDescription, layer: LastLayer, basis: NoveltyBasis | None, cells: Cells
) -> Evaluation:
    # Of reference cells there is the embedding only: they are taken for familiar.
    if basis is not None and cells.features.shape[1] != len(basis.mean):
        basis = None
    novelty = None if basis is None else basis.scores(cells.features)
    return Evaluation.of(layer.logits(cells.embeddings).astype(np.float32), cells.labels, description, novelty)


def _problems(choice: Choice | None, comparisons: Iterable[Comparison]) -> Iterable[str]:
    if choice is None:
        yield "all cells are of one slide, so nothing tells what the layer does on another: confirm a second slide"
    elif not np.isfinite(choice.penalty):
        yield "every change of the last layer names cells of held-out slides worse: confirm more slides"
    for comparison in comparisons:
        if comparison.of_site and comparison.gain <= 0:
            yield f"mean recall does not rise on {comparison.cells} ({comparison.gain:+.3f})"
        if not comparison.of_site and comparison.gain < -FORGOTTEN and comparison.intervals[-1][1] < 0:
            yield f"mean recall falls by more than {FORGOTTEN} on {comparison.cells} ({comparison.gain:+.3f})"
