"""The network of a run and that of the shipped bundle, through the door by which every evaluation comes."""

import re
from pathlib import Path

import keras
import numpy as np
import pytest
from PIL import Image
from sklearn.preprocessing import normalize

from contract import bundle
from contract.bundle import sha256_of
from tests.paths import ROOT
from tests.training import small
from training.data import manifest
from training.data.images import UnreadableImageError, read_image
from training.data.manifest import LabelledImage
from training.evaluation.calibration import fit_temperature
from training.evaluation.evaluate import is_run, open_network, predictions_of
from training.evaluation.results import EvaluationError
from training.evaluation.run_network import RunNetwork
from training.fit.run import Progress, Run, RunError
from training.networks import xception as networks

BUNDLE = ROOT / "models" / "hal-c" / "3"
CELLS = ROOT / "service" / "static" / "cells"


@pytest.fixture
def head() -> keras.Model:
    built = networks.build_classifier_head(0.3, 1, normalised=True)
    built.set_weights([10 * weight for weight in built.get_weights()])
    return built


@pytest.fixture
def finished(run: Run, head: keras.Model, monkeypatch: pytest.MonkeyPatch) -> Run:
    """A run at its end, untrained."""
    groups = {"encoder": small.encoder().get_weights(), "classifier_head": head.get_weights()}
    run.save(Progress(len(run.recipe.stages)), groups)
    monkeypatch.setattr(networks, "build_encoder", lambda _: small.encoder())
    return run


def test_a_runs_embeddings_are_normalised_features_and_its_logits_those_of_the_head(
    finished: Run, head: keras.Model
) -> None:
    network = open_network(finished.root)
    paths = [image.path for image in finished.images[:5]]
    found = network.outputs(paths, "made")
    pixels = np.stack([read_image(path) for path in paths]).astype(np.float32)
    features = np.asarray(small.encoder()(pixels, training=False))
    np.testing.assert_allclose(found.embeddings, normalize(features), atol=1e-5)
    np.testing.assert_allclose(found.logits, np.asarray(head(features, training=False)), atol=1e-3)


def test_an_image_that_cannot_be_read_is_named_in_words(finished: Run) -> None:
    broken = finished.images[0].path
    broken.write_bytes(broken.read_bytes()[:200])
    with pytest.raises(UnreadableImageError, match=rf"^{re.escape(str(broken))} cannot be decoded.*hal data check"):
        open_network(finished.root).outputs([broken], "made")


def test_the_temperature_is_that_of_the_validation_images_whatever_split_is_evaluated(
    finished: Run, tmp_path: Path
) -> None:
    network = open_network(finished.root)
    validation = [image for image in finished.images if image.split == "val"]
    on_validation = predictions_of(network, None, "val")
    expected = fit_temperature(on_validation.logits, on_validation.labels, on_validation.suppressed, "val")
    assert [image.path.name for image in on_validation.images] == [image.path.name for image in validation]
    assert on_validation.fitted.temperature == pytest.approx(expected)
    assert f"{len(validation)} validation images" in on_validation.fitted.basis

    others = [LabelledImage(i.path, i.label, "", i.source, "test") for i in finished.images if i.split == "train"]
    manifest.write(tmp_path / "test.csv", others)
    on_test = predictions_of(network, tmp_path / "test.csv", "test")
    assert on_test.fitted == on_validation.fitted
    assert set(on_test.seen_as) == {"train"}
    assert set(on_validation.seen_as) == {"val"}


def test_a_run_trained_on_its_validation_images_has_no_temperature(finished: Run) -> None:
    recipe = finished.recipe.model_copy(update={"train_splits": ("train", "val")})
    network = RunNetwork.of(Run(finished.root, recipe, finished.images))
    fitted = network.fitted()
    assert (fitted.temperature, fitted.hairy_threshold) == (1.0, None)
    assert "trained on its validation images" in fitted.basis
    assert network.seen_as(finished.images[-1], sha256_of(finished.images[-1].path)) == "train"


def test_a_run_knows_its_images_by_content_and_those_of_the_run_that_it_began_with(
    finished: Run, tmp_path: Path
) -> None:
    of_val = next(image for image in finished.images if image.split == "val")
    earlier = tmp_path / "earlier.png"
    Image.new("RGB", (256, 256), "teal").save(earlier)
    (finished.root / "seen_before.txt").write_text(f"{sha256_of(earlier)}\nslide '7' of pbc\n")
    new = tmp_path / "new.png"
    Image.new("RGB", (256, 256), "navy").save(new)
    of_train = next(image for image in finished.images if image.split == "train")
    copies = [tmp_path / "copy-of-train.png", tmp_path / "copy-of-val.png"]
    for copy, image in zip(copies, (of_train, of_val), strict=True):
        copy.write_bytes(image.path.read_bytes())
    rows = [LabelledImage(path, of_train.label, "", "elsewhere", "test") for path in (*copies, earlier, new)]
    manifest.write(tmp_path / "copies.csv", rows)
    found = predictions_of(open_network(finished.root), tmp_path / "copies.csv", "test")
    assert found.seen_as == ("train", "val", "train", "")


def test_an_unfinished_run_is_not_evaluated(run: Run) -> None:
    with pytest.raises(RunError, match="--resume"):
        open_network(run.root)


def test_a_run_has_no_int8_file(finished: Run) -> None:
    assert is_run(finished.root)
    with pytest.raises(RunError, match="float32"):
        open_network(finished.root, "int8")


def test_the_shipped_bundle_answers_with_logits_and_unit_embeddings(tmp_path: Path) -> None:
    rows = [
        LabelledImage(CELLS / "lymphocyte-1.jpg", "Lymphocyte", "", "pbc", "test"),
        LabelledImage(CELLS / "monocyte-1.jpg", "Monocyte", "", "pbc", "test"),
        LabelledImage(CELLS / "monocyte-2.jpg", "Monocyte", "", "pbc", "val"),
    ]
    manifest.write(tmp_path / "cells.csv", rows)
    network = open_network(BUNDLE)
    found = predictions_of(network, tmp_path / "cells.csv", "test")
    assert found.left_out == {}
    assert found.logits.shape == (2, 20)
    np.testing.assert_allclose(np.linalg.norm(found.embeddings, axis=1), 1, atol=1e-3)
    assert found.fitted.temperature == bundle.load(BUNDLE).description.calibration.temperature
    assert found.suppressed.sum() == 0
    assert network.sha256 == sha256_of(BUNDLE / "model.int8.onnx")


def test_a_bundle_knows_its_training_images_by_their_content(tmp_path: Path) -> None:
    network = open_network(BUNDLE)
    digest = next(digest for digest, split in network.known.items() if split == "train")
    renamed = LabelledImage(tmp_path / "renamed.jpg", "Lymphocyte", "", "pbc", "test")
    assert network.seen_as(renamed, digest) == "train"
    assert network.seen_as(renamed, "0" * 64) == ""


def test_a_bundle_needs_a_manifest() -> None:
    with pytest.raises(EvaluationError, match="--data"):
        predictions_of(open_network(BUNDLE), None, "val")
