"""What drift is measured against, for a bundle that was exported without it."""

import csv
from pathlib import Path

import numpy as np
import onnxruntime as ort
import pytest

from contract import bundle as bundles
from contract.classes import HAIRY_CELL
from tests.paths import CELLS
from tests.service.tiny_bundle import TinyNetwork, description_for
from training.data.images import read_image
from training.data.manifest import ManifestError
from training.export.embedding_reference import add_reference


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    network, root = TinyNetwork(), tmp_path / "tiny" / "1"
    root.mkdir(parents=True)
    (root / "model.onnx").write_bytes(network.graph())
    images = np.stack([network.cell(index) for index in (0, 7, HAIRY_CELL.index)])
    np.savez(root / "golden.npz", images=images, logits_float32=network.logits(images))
    bundles.write(root, description_for(root))
    return root


@pytest.fixture
def data(tmp_path: Path) -> Path:
    path = tmp_path / "cells.csv"
    with path.open("w", newline="") as stream:
        writer = csv.writer(stream)
        writer.writerow(("path", "label", "slide_id", "source", "split"))
        for place, cell in enumerate(sorted(CELLS.glob("*.jpg"))):
            writer.writerow((cell, "Basophil", "", "pbc", "val" if place % 2 else "train"))
    return path


def test_a_bundle_is_given_the_means_of_its_own_embeddings(folder: Path, data: Path) -> None:
    before = bundles.load(folder)
    reference = add_reference(folder, data, "val")
    after = bundles.load(folder)
    assert after.description.reference == reference
    assert after.description.files == before.description.files
    images = np.stack([read_image(path) for path in sorted(CELLS.glob("*.jpg"))[1::2]])
    assert reference.images == len(images)
    session = ort.InferenceSession(folder / "model.onnx", providers=["CPUExecutionProvider"])
    logits, embeddings = session.run(["logits", "embedding"], {"image": images})
    arrays = after.reference()
    assert arrays is not None
    np.testing.assert_allclose(arrays["mean"], embeddings.mean(axis=0), rtol=1e-4)
    predicted = logits.argmax(axis=1)
    for index in range(20):
        expected = embeddings[predicted == index] if (predicted == index).any() else embeddings
        np.testing.assert_allclose(arrays["class_means"][index], expected.mean(axis=0), rtol=1e-4)
    assert 0 < reference.spread_within <= reference.spread
    brought = bundles.load(folder).reference_cells()
    assert brought is not None
    assert len(brought[0]) == len(embeddings), "no class has more than the most that is kept"
    assert (folder.parent / "config.pbtxt").is_file()


def test_without_images_of_the_split_nothing_is_changed(folder: Path, data: Path) -> None:
    before = (folder / "bundle.json").read_bytes()
    with pytest.raises(ManifestError, match="no image of the split 'test'"):
        add_reference(folder, data, "test")
    assert (folder / "bundle.json").read_bytes() == before
