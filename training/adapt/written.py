"""What an adapted bundle consists of, beside its rules: files, golden sample, figures, chain, card."""

import datetime as dt
import re
import shutil
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Final

import numpy as np

from contract import bundle
from contract.bundle import Bundle
from contract.classes import CELL_CLASSES
from contract.description import NAME_PATTERN, Adaptation, BundleDescription, Metric
from contract.files import write_text
from contract.parts import Parity
from training.adapt.comparison import Comparison
from training.adapt.graph import parity, write_layer
from training.adapt.layer import Cells, LastLayer
from training.data import image_list, manifest
from training.data.manifest import LabelledImage
from training.evaluation.evidence import attributions
from training.export import model_card

GOLDEN: Final = "golden.npz"
SAMPLES: Final = "cells"
"""Folder of a bundle with cells that the review page shows as examples."""
NOT_NAMED: Final = "not named"
LIMIT: Final = "Its last layer was fitted to"


@dataclass(frozen=True, slots=True)
class Site:
    """A laboratory's cells: those that may be learned from, and those of split ``test``, which are only measured."""

    images: Sequence[LabelledImage]
    cells: Cells
    test: Cells
    content_hash: Callable[[Path], str]


def files(loaded: Bundle, layer: LastLayer, folder: Path) -> dict[str, Any]:
    """Write every precision with the new last layer and what each gives for the golden images.

    Returns ``files`` and ``golden`` of ``bundle.json``.

    Raises:
        LayerError: a written file does not give the layer's logits.
    """
    images = loaded.golden()["images"]
    logits: dict[str, Any] = {}
    described = []
    for file in loaded.description.files:
        path = folder / file.path
        write_layer(loaded.path(file), path, layer)
        outputs, difference = parity(path, file.precision, layer, images)
        logits[f"logits_{file.precision}"] = outputs.logits
        changes = {
            "sha256": bundle.sha256_of(path),
            "bytes": path.stat().st_size,
            "parity": Parity(batch_sizes=(len(images),), images=len(images), max_abs_logit_difference=difference),
        }
        described.append(file.model_copy(update=changes))
    np.savez_compressed(folder / GOLDEN, images=images, **logits)
    golden = loaded.description.golden.model_copy(update={"path": GOLDEN, "sha256": bundle.sha256_of(folder / GOLDEN)})
    return {"files": tuple(described), "golden": golden}


def identity(loaded: Bundle, site: Site, penalty: float, out: Path) -> dict[str, Any]:
    """Name and version by the folder ``.../NAME/MAJOR``, limits, attributions and the chain of ``bundle.json``."""
    before = loaded.description
    numbered = out.name.isdigit() and re.fullmatch(NAME_PATTERN, out.parent.name)
    learned = [image for image in site.images if image.split != "test"]
    counts = Counter(image.label for image in learned)
    slides = len(np.unique(site.cells.slides))
    step = Adaptation(
        parent=f"{before.name} {before.version}",
        parent_sha256=loaded.file().sha256,
        cells={cell.id: counts[cell.name] for cell in CELL_CLASSES if counts[cell.name]},
        slides=slides,
        labelled_by=tuple(sorted({image.extra.get("reviewer") or NOT_NAMED for image in learned})),
        data_sha256=manifest.fingerprint(site.images, site.content_hash),
        penalty=penalty if np.isfinite(penalty) else None,
        created=dt.datetime.now(dt.UTC).replace(microsecond=0),
    )
    limit = (
        f"{LIMIT} {len(learned)} cells of {slides} slides of one laboratory: its figures are those "
        "of that laboratory's cells, and elsewhere the bundle that it was made from may be better."
    )
    known = {entry.source for entry in before.attributions}
    return {
        "name": out.parent.name if numbered else f"{before.name}-site",
        "version": f"{out.name}.0.0" if numbered else "1.0.0",
        "limits": (*(each for each in before.limits if not each.startswith(LIMIT)), limit),
        "adaptations": (*before.adaptations, step),
        "attributions": (*before.attributions, *(a for a in attributions(learned) if a.source not in known)),
    }


def metrics(loaded: Bundle, site: Site, comparisons: Sequence[Comparison], command: str) -> tuple[Metric, ...]:
    """The figures of the adapted bundle; those of its parent are the parent's."""
    precision, sources = loaded.file().precision, "+".join(sorted({image.source for image in site.images}))
    found: list[Metric] = []
    for comparison in comparisons:
        split = "test" if comparison.cells.startswith("test") else "val"
        data = f"{comparison.cells} ({sources})" if comparison.of_site else comparison.cells
        figures = comparison.metrics(data, split, precision, command)
        found += [metric for metric in figures if comparison.of_site or metric.name.startswith("mean recall")]
    return tuple(found)


def write(loaded: Bundle, description: BundleDescription, site: Site, folder: Path) -> None:
    """Write the rest: the parent's reference and sample cells, the list of images, ``bundle.json`` and the card.

    The list names the site's cells by content only: slides and files have names that are the laboratory's own.
    """
    before = loaded.description
    if before.reference is not None:
        shutil.copyfile(loaded.root / before.reference.path, folder / before.reference.path)
    if (loaded.root / SAMPLES).is_dir():
        shutil.copytree(loaded.root / SAMPLES, folder / SAMPLES)
    bundle.write(folder, description)
    listed = loaded.root / image_list.FILE_NAME
    cells = [replace(image, slide_id="", split="test" if image.split == "test" else "train") for image in site.images]
    image_list.extend(folder / image_list.FILE_NAME, listed, cells, site.content_hash)
    write_text(folder / model_card.FILE_NAME, model_card.render(description))
