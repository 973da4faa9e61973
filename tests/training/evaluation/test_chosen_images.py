"""Which images are shown to a network, and which are left out and counted."""

from pathlib import Path

import pytest

from tests.training.evaluation.made import HAIRY, MadeNetwork, evidence, image
from training.evaluation.evaluate import choose
from training.evaluation.results import EvaluationError


def test_images_of_unknown_classes_and_of_other_sets_are_left_out_and_counted(tmp_path: Path) -> None:
    network = MadeNetwork(tmp_path / "run", [], lambda row: row.label, classes=evidence("Basophil"))
    rows = [image("Lymphocyte"), image("Basophil"), image("Monocyte", split="val"), image(HAIRY, look_alike="yes")]
    chosen, left_out = choose(rows, "test", [network], ("A", "B", "C"))
    assert chosen == rows[:1]
    assert left_out == {"of a class that was never trained on": 1, "of set D": 1}


def test_nothing_to_evaluate_says_what_there_is(tmp_path: Path) -> None:
    network = MadeNetwork(tmp_path / "run", [], lambda row: row.label)
    with pytest.raises(EvaluationError, match=r"1 of split 'val'.*--split"):
        choose([image("Lymphocyte", split="val")], "test", [network], ("A", "B", "C"))


def test_hairy_slides_are_known_from_the_training_images_too(tmp_path: Path) -> None:
    network = MadeNetwork(tmp_path / "run", [image(HAIRY, "hairy_db", "train")], lambda row: row.label)
    chosen, _ = choose([image("Lymphocyte", "hairy_db"), image("Lymphocyte", "else")], "test", [network], ("C",))
    assert [row.source for row in chosen] == ["hairy_db"]
