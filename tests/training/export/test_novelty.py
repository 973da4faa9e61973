"""What unfamiliar images are told by: subspace, threshold and second temperature."""

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from contract import bundle as bundles
from contract.bundle import sha256_of
from contract.decision import calibrated_probabilities, temperatures
from contract.description import Calibration
from tests.paths import CELLS
from tests.service.tiny_bundle import TinyNetwork
from tests.training.export.made import SAMPLES, sample_manifest, tiny_bundle
from training.data.images import read_image
from training.data.manifest import LabelledImage, ManifestError
from training.evaluation.calibration import expected_calibration_error
from training.export import novelty
from training.export.novelty import add_novelty, shift, subspace_images, with_second_temperature, write_novelty

DIMENSION = 16
ONE = Calibration(id="t", temperature=1.5, fitted_on="made", images=5, ece_before=0.1, ece_after=0.05)


def embeddings(seed: int, images: int) -> NDArray[np.float32]:
    plane = np.random.default_rng(0).normal(size=(3, DIMENSION))
    generator = np.random.default_rng(seed)
    return (generator.normal(size=(images, 3)) @ plane + generator.normal(0, 0.1, (images, DIMENSION))).astype("f")


def sources(**counts: int) -> NDArray[np.str_]:
    return np.concatenate([[name] * count for name, count in counts.items()])


def test_two_in_a_hundred_validation_images_are_unfamiliar(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(novelty, "COMPONENTS", 3)
    validation = embeddings(2, 500)
    written = write_novelty(
        tmp_path, (embeddings(1, 300), sources(a=300)), (validation, sources(a=500)), precision="int8"
    )
    basis = novelty.basis_of(tmp_path, written)
    assert np.mean(basis.scores(validation) > 1) == pytest.approx(written.familiar_rate)
    assert written.sha256 == sha256_of(tmp_path / written.path)
    assert (written.components, written.images, written.validation_images) == (len(basis.components), 300, 500)


@given(st.integers(1, 300), st.integers(1, 300), st.integers(0, 50))
def test_the_threshold_leaves_a_fiftieth_of_the_weight_when_each_source_weighs_the_same(
    few: int, many: int, seed: int
) -> None:
    distances = np.random.default_rng(seed).random(few + many).astype("f")
    weights = novelty.balanced(sources(few=few, many=many))
    threshold = novelty.quantile(distances, weights, 0.98)
    assert weights[distances > threshold].sum() <= 0.02 + 1e-9
    assert weights[distances >= threshold].sum() > 0.02 - 1e-9


def test_each_source_gives_at_most_so_many_training_images() -> None:
    images = [
        LabelledImage(Path(f"{source}-{number}.png"), "Monocyte", "", source, split, {})
        for source, count in (("large", novelty.IMAGES_OF_A_SOURCE + 500), ("small", 20))
        for split in ("train", "val")
        for number in range(count)
    ]
    chosen = subspace_images(images, seed=1)
    assert {image.split for image in chosen} == {"train"}
    assert [sum(image.source == source for image in chosen) for source in ("large", "small")] == [
        novelty.IMAGES_OF_A_SOURCE,
        20,
    ]
    assert chosen == subspace_images(images, seed=1)


def overconfident(images: int, seed: int, *, of_chance: float) -> tuple[NDArray[np.float32], NDArray[np.int64]]:
    """Logits that are nearly sure of a class, which is the true one with the probability ``of_chance``."""
    generator = np.random.default_rng(seed)
    labels = generator.integers(0, 20, images)
    named = np.where(generator.random(images) < of_chance, labels, (labels + 1) % 20)
    return (8 * np.eye(20)[named] + generator.normal(0, 0.5, (images, 20))).astype("f"), labels


def test_unfamiliar_images_get_a_temperature_that_takes_their_overconfidence_away() -> None:
    logits, labels = overconfident(2000, 3, of_chance=0.5)
    scores = np.repeat([0.5, 2.0], 1000).astype("f")
    nothing = np.zeros(20, np.bool_)
    fitted = with_second_temperature(ONE, logits, scores, labels, nothing)
    assert fitted.unfamiliar_temperature is not None
    assert fitted.temperature == ONE.temperature
    assert fitted.unfamiliar_temperature > 1.5 * fitted.temperature
    both = temperatures(scores, fitted.temperature, fitted.unfamiliar_temperature)
    for stated, temperature in ((fitted.shifted_ece_before, ONE.temperature), (fitted.shifted_ece_after, both)):
        found = expected_calibration_error(calibrated_probabilities(logits, temperature, nothing), labels)
        assert stated == pytest.approx(found)
    for other in (1.5, 2.0, 3.0, 4.5, 7.0, 12.0):
        worse = calibrated_probabilities(logits, temperatures(scores, fitted.temperature, other), nothing)
        assert fitted.shifted_ece_after is not None
        assert fitted.shifted_ece_after < expected_calibration_error(worse, labels) + 0.01
    assert fitted.id != ONE.id


def test_an_unfamiliar_image_is_never_believed_more_than_a_familiar_one() -> None:
    logits, labels = overconfident(300, 4, of_chance=1.0)
    fitted = with_second_temperature(ONE, logits, np.full(300, 2, "f"), labels, np.zeros(20, np.bool_))
    assert fitted.unfamiliar_temperature == ONE.temperature


def test_shifts_change_images_and_are_the_same_again() -> None:
    pixels = read_image(CELLS / "lymphocyte-1.jpg")
    first, again = shift(7), shift(7)
    shifted = [first(pixels) for _ in range(12)]
    assert all(each.dtype == np.uint8 and each.shape == pixels.shape for each in shifted)
    assert all((each != pixels).any() for each in shifted)
    np.testing.assert_array_equal(shifted, [again(pixels) for _ in range(12)])


def made(tmp_path: Path, *splits: str) -> tuple[Path, Path]:
    """A bundle without novelty, and a manifest of the sample cells in these splits in turn."""
    return tiny_bundle(tmp_path, TinyNetwork()), sample_manifest(tmp_path / "cells.csv", *splits)


def test_a_bundle_without_it_is_given_it_and_keeps_its_weights(tmp_path: Path) -> None:
    folder, data = made(tmp_path, "train", "val")
    before = bundles.load(folder)
    written = add_novelty(folder, data, version="1.0.1")
    after = bundles.load(folder)
    assert after.description == written
    assert written.version == "1.0.1"
    assert (after.description.files, after.description.policy) == (before.description.files, before.description.policy)
    assert written.novelty is not None
    assert after.novelty() is not None
    assert written.novelty.images + written.novelty.validation_images == len(SAMPLES)
    assert written.calibration.shifted_images == written.novelty.validation_images
    assert "An image is unfamiliar" in (folder / "MODEL_CARD.md").read_text()


def test_without_validation_images_nothing_is_changed(tmp_path: Path) -> None:
    folder, data = made(tmp_path, "train", "test")
    before = sorted(path.name for path in folder.iterdir()), (folder / "bundle.json").read_bytes()
    with pytest.raises(ManifestError, match="0 real validation images"):
        add_novelty(folder, data)
    assert (sorted(path.name for path in folder.iterdir()), (folder / "bundle.json").read_bytes()) == before
