"""What drift is measured against, for a bundle that was exported without it."""

from pathlib import Path

import numpy as np
import onnxruntime as ort
import pytest

from contract import bundle as bundles
from tests.service.tiny_bundle import TinyNetwork
from tests.training.export.made import SAMPLES, sample_manifest, tiny_bundle
from training.data.images import read_image
from training.data.manifest import ManifestError
from training.export.embedding_reference import add_reference


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tiny_bundle(tmp_path, TinyNetwork())


@pytest.fixture
def data(tmp_path: Path) -> Path:
    return sample_manifest(tmp_path / "cells.csv", "train", "val")


def test_a_bundle_is_given_the_means_of_its_own_embeddings(folder: Path, data: Path) -> None:
    before = bundles.load(folder)
    reference = add_reference(folder, data, "val")
    after = bundles.load(folder)
    assert after.description.reference == reference
    assert after.description.files == before.description.files
    images = np.stack([read_image(path) for path in SAMPLES[1::2]])
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
