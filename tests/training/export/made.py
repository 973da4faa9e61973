"""A bundle around the tiny network, and manifests for it."""

import csv
from collections.abc import Iterable, Sequence
from pathlib import Path

import numpy as np

from contract import bundle as bundles
from contract.classes import HAIRY_CELL
from tests.paths import CELLS
from tests.service.tiny_bundle import TinyNetwork, description_for

SAMPLES = sorted(CELLS.glob("*.jpg"))


def tiny_bundle(root: Path, network: TinyNetwork) -> Path:
    """``root/tiny/1``: a bundle without reference and novelty, of a recipe that has a name."""
    folder = root / "tiny" / "1"
    folder.mkdir(parents=True)
    (folder / "model.onnx").write_bytes(network.graph())
    images = np.stack([network.cell(index) for index in (0, 7, HAIRY_CELL.index)])
    np.savez(folder / "golden.npz", images=images, logits_float32=network.logits(images))
    described = description_for(folder)
    provenance = described.provenance.model_copy(update={"recipe": {"name": "tiny"}})
    bundles.write(folder, described.model_copy(update={"provenance": provenance}))
    return folder


def write_manifest(path: Path, rows: Iterable[Sequence[object]], *more: str) -> Path:
    """Rows of path, label, slide, source and split, and ``more`` columns."""
    with path.open("w", newline="") as stream:
        csv.writer(stream).writerows([("path", "label", "slide_id", "source", "split", *more), *rows])
    return path


def sample_manifest(path: Path, *splits: str) -> Path:
    """The sample cells as basophils, in these splits in turn."""
    rows = [(cell, "Basophil", "", "pbc", splits[place % len(splits)]) for place, cell in enumerate(SAMPLES)]
    return write_manifest(path, rows)
