"""``hal compare`` with networks whose answers are given."""

import csv
import json
from pathlib import Path

import pytest
from PIL import Image

from tests.training.evaluation.made import MadeNetwork, evidence, image
from training.data import manifest
from training.data.manifest import LabelledImage
from training.evaluation import comparison
from training.evaluation.comparison import compare
from training.evaluation.results import EvaluationError

THESIS = {"validation_accuracy": 0.9184, "validation_loss": 0.2551, "test_accuracy": 0.9024, "test_loss": 0.3462}


@pytest.fixture
def rows(tmp_path: Path) -> list[LabelledImage]:
    labels = ["Lymphocyte"] * 6 + ["Monocyte"] * 4
    return [image(label, split=split, folder=tmp_path) for split in ("val", "test") for label in labels]


@pytest.fixture
def networks(tmp_path: Path, rows: list[LabelledImage], monkeypatch: pytest.MonkeyPatch) -> dict[Path, MadeNetwork]:
    always = MadeNetwork(tmp_path / "always", rows, lambda _: "Lymphocyte", name="hal-r").knows(rows)
    right = MadeNetwork(tmp_path / "right", rows, lambda row: row.label, name="hal-c3003").knows(rows)
    right.recipe |= {"name": "hal-c3003", "thesis": THESIS, "projection_head": {"units": 128}}
    always.recipe |= {"initial_weights": "random"}
    (always.root / "history.csv").write_text("stage,epoch,loss,accuracy\ntraining,1,3.0,0.1\ntraining,2,2.837,0.0878\n")
    found = {always.root: always, right.root: right}
    monkeypatch.setattr(comparison, "open_network", lambda folder: found[folder])
    return found


def test_tables_json_and_figure_hold_our_figures_and_the_thesiss(
    networks: dict[Path, MadeNetwork], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    result = compare(list(networks), None, tmp_path / "out")
    always, right = result.rows
    assert always.validation_accuracy is not None
    assert (always.validation_accuracy.hits, always.validation_accuracy.images) == (6, 10)
    assert (always.training_accuracy, always.training_loss) == (0.0878, 2.837)
    assert right.thesis == THESIS
    assert (always.thesis_table[:3], right.thesis_table[:3]) == ("5.2", "5.3")
    assert {test.split for test in result.tests} == {"val", "test"}
    assert all((test.only_first_right, test.only_second_right) == (0, 4) for test in result.tests)

    assert json.loads((tmp_path / "out" / "comparison.json").read_text())["rows"][1]["thesis"] == THESIS
    markdown = (tmp_path / "out" / "comparison.md").read_text()
    assert "| hal-c3003 in the thesis" in " ".join(markdown.split())
    assert "0.9184" in markdown
    assert "McNemar" in capsys.readouterr().out
    with (tmp_path / "out" / "accuracy.csv").open() as stream:
        bars = list(csv.DictReader(stream))
    assert [(bar["network"], bar["images of"], bar["right"]) for bar in bars] == [
        ("hal-r", "validation", "6"),
        ("hal-r", "test", "6"),
        ("hal-c3003", "validation", "10"),
        ("hal-c3003", "test", "10"),
    ]
    assert Image.open(tmp_path / "out" / "accuracy.png").width == 2100


def test_a_run_trained_on_its_validation_images_is_compared_on_test_images_only(
    networks: dict[Path, MadeNetwork],
) -> None:
    first = next(iter(networks.values()))
    first.recipe["train_splits"] = ["train", "val"]
    result = compare(list(networks), None, None)
    assert result.rows[0].validation_accuracy is None
    assert result.rows[0].test_accuracy is not None
    assert [test.split for test in result.tests] == ["test"]


def test_predictions_are_kept_with_the_runs(networks: dict[Path, MadeNetwork]) -> None:
    compare(list(networks), None, None)
    compare(list(networks), None, None)
    assert [network.asked for network in networks.values()] == [20, 20]


def test_networks_are_compared_on_the_classes_that_all_know_and_what_is_left_out_is_told(
    networks: dict[Path, MadeNetwork], tmp_path: Path
) -> None:
    list(networks.values())[1].classes = evidence("Monocyte")
    result = compare(list(networks), None, tmp_path / "out")
    assert [row.test_accuracy.images for row in result.rows if row.test_accuracy] == [6, 6]
    assert [(test.split, test.images) for test in result.tests] == [("val", 6), ("test", 6)]
    told = "left out 4 test images of a class that one of the networks was never trained on"
    assert told in (tmp_path / "out" / "comparison.md").read_text()
    assert list(json.loads((tmp_path / "out" / "comparison.json").read_text())["left_out"]["val"].values()) == [4]
    kept = [len(manifest.read(folder / "evaluation" / "test" / "predictions.csv")) for folder in networks]
    assert kept == [10, 6], "each run keeps all that it knows"


def test_a_run_without_images_of_a_class_that_it_does_not_know_is_compared_too(
    networks: dict[Path, MadeNetwork], rows: list[LabelledImage]
) -> None:
    first = next(iter(networks.values()))
    first.classes, first.images = evidence("Monocyte"), [row for row in rows if row.label != "Monocyte"]
    result = compare(list(networks), None, None)
    assert [list(reasons.values()) for reasons in result.left_out.values()] == [[4], [4]]


def test_networks_without_a_class_in_common_are_refused(networks: dict[Path, MadeNetwork]) -> None:
    first, second = networks.values()
    first.classes, second.classes = evidence("Lymphocyte"), evidence("Monocyte")
    with pytest.raises(EvaluationError, match="left out 10 of a class that one of the networks was never trained on"):
        compare(list(networks), None, None)


def test_networks_of_different_manifests_are_refused(
    networks: dict[Path, MadeNetwork], rows: list[LabelledImage]
) -> None:
    list(networks.values())[1].images = rows[2:]
    with pytest.raises(EvaluationError, match=r"hal-c3003 lacks 2 images of hal-r's.*\n.*--data"):
        compare(list(networks), None, None)


def test_a_description_for_all_is_taken_instead_of_their_own(
    networks: dict[Path, MadeNetwork], rows: list[LabelledImage], tmp_path: Path
) -> None:
    manifest.write(tmp_path / "some.csv", rows[:7])
    result = compare(list(networks), tmp_path / "some.csv", None)
    assert [row.validation_accuracy.images for row in result.rows if row.validation_accuracy] == [7, 7]
    assert all(row.test_accuracy is None for row in result.rows)


def test_one_network_is_not_a_comparison(networks: dict[Path, MadeNetwork]) -> None:
    with pytest.raises(EvaluationError, match="at least two"):
        compare(list(networks)[:1], None, None)


def test_two_runs_of_one_name_are_told_apart_by_their_folders(networks: dict[Path, MadeNetwork]) -> None:
    for network in networks.values():
        network.name = "hal-c"
    result = compare(list(networks), None, None)
    assert len({row.network for row in result.rows}) == 2
    assert len({test.first for test in result.tests} | {test.second for test in result.tests}) == 2
