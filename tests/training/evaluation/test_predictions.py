"""Keeping predictions, and taking them again only while they are true."""

import csv
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from contract.classes import CLASS_NAMES
from contract.novelty import NoveltyBasis
from tests.training.evaluation.made import HAIRY, MadeNetwork, everyone, image
from training.data.manifest import LabelledImage
from training.evaluation.measures import measure
from training.evaluation.network import Fitted
from training.evaluation.predictions import Predictions, predict


@pytest.fixture
def rows(tmp_path: Path) -> list[LabelledImage]:
    return [image(label, folder=tmp_path) for label in ("Lymphocyte", "Monocyte", HAIRY)]


@pytest.fixture
def network(tmp_path: Path, rows: list[LabelledImage]) -> MadeNetwork:
    return MadeNetwork(tmp_path / "run", [], lambda row: row.label).knows(rows)


def ask(network: MadeNetwork, rows: list[LabelledImage], folder: Path) -> Predictions:
    return predict(network, rows, "test", ["B"] * len(rows), {}, folder)


def test_what_is_said_of_each_image_is_written_as_a_manifest(tmp_path: Path) -> None:
    made = everyone(count=40)
    made.save(tmp_path)
    with (tmp_path / "predictions.csv").open(newline="") as stream:
        rows = list(csv.DictReader(stream))
    assert [row["label"] for row in rows] == [image.label for image in made.images]
    assert [row["predicted"] for row in rows] == [CLASS_NAMES[index] for index in made.evaluation.predicted]
    assert [float(row["probability"]) for row in rows] == pytest.approx(
        made.evaluation.probabilities.max(axis=1), abs=1e-4
    )
    assert [(row["sha256"], row["set"]) for row in rows] == list(zip(made.digests, made.sets, strict=True))


def test_nothing_is_computed_twice(network: MadeNetwork, rows: list[LabelledImage], tmp_path: Path) -> None:
    first = ask(network, rows, tmp_path / "out")
    second = ask(network, rows, tmp_path / "out")
    assert network.asked == 3
    np.testing.assert_array_equal(first.logits, second.logits)
    assert second.images == tuple(rows)


def test_unfamiliar_images_are_as_uncertain_as_they_are_served_and_are_counted_by_source(
    network: MadeNetwork, rows: list[LabelledImage], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(network, "fitted", lambda: Fitted(1.0, None, "made", unfamiliar_temperature=4.0))
    network.familiar = NoveltyBasis(np.zeros(16, "f"), np.ones(16, "f"), np.eye(1, 16, dtype="f"), 1.0)
    scores = ask(network, rows, tmp_path / "out").novelty
    assert scores is not None
    network.familiar = replace(network.familiar, threshold=float(np.median(scores)))
    found = ask(network, rows, tmp_path / "out")
    assert network.asked == 3
    sure = found.evaluation.probabilities.max(axis=1)
    unfamiliar = np.asarray(found.novelty) > 1
    assert unfamiliar.tolist().count(True) == 1
    expected = [np.exp(4 / t) / (np.exp(4 / t) + 19) for t in np.where(unfamiliar, 4.0, 1.0)]
    np.testing.assert_allclose(sure, expected)
    (share,) = measure(found, network.classes).unfamiliar.values()
    assert (share.hits, share.images) == (1, 3)


def test_another_label_is_taken_without_asking_again(
    network: MadeNetwork, rows: list[LabelledImage], tmp_path: Path
) -> None:
    first = ask(network, rows, tmp_path / "out")
    rows[0] = LabelledImage(rows[0].path, "Basophil", "", rows[0].source, "test")
    found = ask(network, rows, tmp_path / "out")
    assert network.asked == 3
    assert [row.label for row in found.images] == ["Basophil", "Monocyte", HAIRY]
    assert found.evaluation.accuracy.hits == first.evaluation.accuracy.hits - 1


@pytest.mark.parametrize("change", ["weights", "pixels", "fewer"])
def test_what_has_changed_is_computed_again(
    network: MadeNetwork, rows: list[LabelledImage], tmp_path: Path, change: str
) -> None:
    ask(network, rows, tmp_path / "out")
    if change == "weights":
        network.sha256 = "1" * 64
    elif change == "pixels":
        rows[0].path.write_text("another image")
    else:
        rows = rows[:2]
    found = ask(network, rows, tmp_path / "out")
    assert network.asked == 3 + len(rows)
    np.testing.assert_array_equal(found.labels, [row.class_index for row in rows])


def test_damaged_predictions_are_computed_again(
    network: MadeNetwork, rows: list[LabelledImage], tmp_path: Path
) -> None:
    ask(network, rows, tmp_path / "out")
    (tmp_path / "out" / "predictions.npz").write_bytes(b"PK\x03\x04 half of a file")
    ask(network, rows, tmp_path / "out")
    assert network.asked == 6
