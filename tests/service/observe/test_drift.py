"""A change of stain shows in ``/metrics``; another mix of cells shows apart from it."""

from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from contract import bundle as bundles
from contract.bundle import Bundle
from contract.parts import EmbeddingReference
from service.observe.drift import EmbeddingDrift
from tests.conftest import WriteBundle
from tests.service.live_server import LiveServer, serving
from tests.service.observe.test_metrics import post, scraped, value
from tests.service.tiny_bundle import TinyNetwork, encoded

SIZE = 32
NOTHING = np.zeros(20, bool)


class Laboratory:
    """Makes embeddings: a mean for each class, a stain, and noise of length 0.5."""

    def __init__(self) -> None:
        self.random = np.random.default_rng(3)
        self.class_means = self.random.normal(size=(20, SIZE)).astype(np.float32)

    def cells(self, count: int, classes: int, stain: float = 0.0) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        truth = self.random.integers(0, classes, count)
        noise = self.random.normal(size=(count, SIZE)) * 0.5 / np.sqrt(SIZE)
        embeddings = (self.class_means[truth] + noise).astype(np.float32)
        embeddings[:, 0] += stain
        return np.eye(20, dtype=np.float32)[truth] * 9, embeddings

    def drift(self) -> EmbeddingDrift:
        logits, embeddings = self.cells(4000, 20)
        predicted = logits.argmax(axis=1)
        mean = embeddings.mean(axis=0)
        class_means = np.stack([embeddings[predicted == index].mean(axis=0) for index in range(20)])
        reference = EmbeddingReference(
            path="reference.npz",
            sha256="0" * 64,
            precision="float32",
            images=4000,
            data="made",
            spread=float(np.sqrt(((embeddings - mean) ** 2).sum(axis=1).mean())),
            spread_within=float(np.sqrt(((embeddings - class_means[predicted]) ** 2).sum(axis=1).mean())),
        )
        return EmbeddingDrift(reference, {"mean": mean, "class_means": class_means}, NOTHING)


def show(drift: EmbeddingDrift, laboratory: Laboratory, batches: int, classes: int = 20, stain: float = 0.0) -> None:
    for _ in range(batches):
        drift.add(*laboratory.cells(16, classes, stain))


def test_before_the_first_image_nothing_is_known() -> None:
    assert np.isnan(Laboratory().drift().distances()["overall"])


def test_the_same_cells_are_near_zero_and_a_single_batch_is_not_taken_for_more() -> None:
    laboratory = Laboratory()
    drift = laboratory.drift()
    show(drift, laboratory, 200)
    assert drift.images == 3200
    assert drift.distances()["overall"] < 0.1
    assert drift.distances()["within_class"] < 0.1
    first = laboratory.drift()
    logits, embeddings = laboratory.cells(16, 20)
    first.add(logits, embeddings)
    predicted = logits.argmax(axis=1)
    plain = np.linalg.norm((embeddings - first._class_means[predicted]).mean(axis=0)) / 0.5
    assert first.distances()["within_class"] == pytest.approx(plain, rel=0.02), (
        "the zero that the mean began with is taken out"
    )


def test_a_change_of_stain_is_seen_within_the_classes_in_units_of_a_cell_s_spread() -> None:
    laboratory = Laboratory()
    drift = laboratory.drift()
    show(drift, laboratory, 200, stain=1.0)
    assert drift.distances()["within_class"] == pytest.approx(1.0 / 0.5, rel=0.1)


def test_another_mix_of_cells_moves_only_the_overall_distance() -> None:
    laboratory = Laboratory()
    drift = laboratory.drift()
    show(drift, laboratory, 200, classes=2)
    assert drift.distances()["overall"] > 0.5
    assert drift.distances()["within_class"] < 0.1


def test_the_past_is_forgotten() -> None:
    laboratory = Laboratory()
    drift = laboratory.drift()
    show(drift, laboratory, 200, stain=1.0)
    show(drift, laboratory, 200)
    assert drift.distances()["within_class"] < 0.15


def test_what_is_not_finite_is_left_out() -> None:
    laboratory = Laboratory()
    drift = laboratory.drift()
    show(drift, laboratory, 10)
    logits, embeddings = laboratory.cells(16, 20)
    drift.add(logits, embeddings * np.nan)
    assert np.isfinite(drift.distances()["overall"])


@pytest.fixture
def referenced(tmp_path: Path, write_bundle: WriteBundle, network: TinyNetwork) -> Bundle:
    """The tiny bundle, whose embedding is the colour of one pixel, with a reference for eosinophils."""
    bundle = write_bundle(tmp_path / "tiny")
    mean = np.full(2048, network.colours[1].astype(np.float32).sum() / 16 / 2048, np.float32)
    np.savez(bundle.root / "reference.npz", mean=mean, class_means=np.tile(mean, (20, 1)))
    reference = EmbeddingReference(
        path="reference.npz",
        sha256=bundles.sha256_of(bundle.root / "reference.npz"),
        precision="float32",
        images=5,
        data="made",
        spread=0.01,
        spread_within=0.01,
    )
    return bundles.write(bundle.root, bundle.description.model_copy(update={"reference": reference}))


def measured(live: LiveServer) -> float:
    return value(scraped(live), "hal_embedding_drift", scope="within_class")


def test_metrics_show_that_cells_look_different(referenced: Bundle, network: TinyNetwork) -> None:
    with serving(referenced, max_batch=4) as live:
        assert np.isnan(measured(live))
        post(live, *[encoded(network.cell(1))] * 6)
        assert measured(live) == pytest.approx(0, abs=1e-3)
        stained = network.cell(1).copy()
        stained[:] = np.clip(stained.astype(int) + 30, 0, 255)
        post(live, *[encoded(stained)] * 6)
        assert measured(live) > 0.1
        assert value(scraped(live), "hal_embedding_images_total") == 12


def test_without_a_reference_or_when_it_is_not_wanted_nothing_is_compared(
    bundle: Bundle, referenced: Bundle, network: TinyNetwork
) -> None:
    for served, settings in ((bundle, {}), (referenced, {"drift": False})):
        with serving(served, **settings) as live:
            assert post(live, encoded(network.cell(1))) == 200
            assert not any(name.startswith("hal_embedding") for name, _ in scraped(live))
