"""The sanity test with networks whose answers are given: one that names the database, one that names the cell."""

import json
from pathlib import Path

import pytest

from contract.classes import CLASS_NAMES
from tests.training.evaluation.made import HAIRY, MadeNetwork, image
from training.data import manifest
from training.data.manifest import LabelledImage
from training.evaluation import sanity as module
from training.evaluation.figures.confusion import draw_confusion
from training.evaluation.results import EvaluationError
from training.evaluation.sanity import Sanity, sanity

A = (HAIRY, "hairy_db", "train")
B = ("Lymphocyte", "WBCTrain", "train")
C = ("Smudge cell", "hairy_db", "train")
THESIS = {"sanity_c": [0.2974, 0.9212], "sanity_d": [0.03704, 0.1852]}


class Case:
    """Two runs and a manifest; ``sets`` are the rows that each run was trained on."""

    def __init__(self, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        self.tested = [image("Smudge cell", "hairy_db", folder=folder) for _ in range(12)]
        self.tested += [image("Lymphocyte", "hairy_db", folder=folder) for _ in range(8)]
        self.look_alikes = [image("Abnormal lymphocyte", "WBCTest", folder=folder, look_alike="yes") for _ in range(10)]
        self.rows = [*self.tested, *self.look_alikes, image(HAIRY, "hairy_db", folder=folder)]
        self.data, self.out = folder / "data.csv", folder / "out"
        self.networks = [
            MadeNetwork(folder / "ab", [image(*A), image(*B)], by_database, name="ab").knows(self.rows),
            MadeNetwork(folder / "abc", [image(*A), image(*B), image(*C)], by_cell, name="abc").knows(self.rows),
        ]
        for network in self.networks:
            network.recipe |= {"name": "hal-t3003", "thesis": THESIS, "sets": network.name.upper().split()}
        by_root = {network.root: network for network in self.networks}
        monkeypatch.setattr(module, "open_network", lambda root: by_root[root])
        self.drawn: list[str] = []
        monkeypatch.setattr(module, "draw_confusion", lambda *arguments: self.drawn.append(arguments[2]))

    def run(self, rows: list[LabelledImage] | None = None) -> Sanity:
        manifest.write(self.data, rows or self.rows)
        first, second = self.networks
        return sanity(first.root, second.root, self.data, "test", self.out)


def by_database(row: LabelledImage) -> str:
    return HAIRY if row.source == "hairy_db" else "Lymphocyte"


def by_cell(row: LabelledImage) -> str:
    return "Reactive lymphocyte" if row.extra.get("look_alike") else row.label


@pytest.fixture
def case(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Case:
    return Case(tmp_path, monkeypatch)


def test_a_network_that_names_the_database_is_found_out(case: Case, capsys: pytest.CaptureFixture[str]) -> None:
    result = case.run()
    on_c, on_d = result.parts
    assert [share.hits for share in on_c.accuracy] == [0, 20]
    assert [share.hits for share in on_c.called_hairy] == [20, 0]
    assert "had learned to tell databases apart" in on_c.verdict
    assert on_c.thesis == (0.2974, 0.9212)
    assert [share.hits for share in on_d.accuracy] == [0, 0]
    assert "does not rise" in on_d.verdict
    assert on_d.thesis == (0.03704, 0.1852)
    assert result.trained_on == ({"A": 1, "B": 1}, {"A": 1, "B": 1, "C": 1})
    assert "hal-t3003 in the thesis" in capsys.readouterr().out


def test_tables_and_four_confusion_matrices_are_written(case: Case, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "draw_confusion", draw_confusion)
    case.run(case.tested)
    assert {"trained-ab-tested-c.png", "trained-abc-tested-c.png", "sanity.md"} <= {p.name for p in case.out.iterdir()}
    row = (case.out / "trained-ab-tested-c.csv").read_text().splitlines()[1 + CLASS_NAMES.index("Smudge cell")]
    assert row.split(",")[1 + CLASS_NAMES.index(HAIRY)] == "12"
    assert "0.2974" in (case.out / "sanity.md").read_text()


def test_both_parts_have_a_matrix_of_each_run(case: Case) -> None:
    case.run()
    assert case.drawn == [f"trained-{runs}-tested-{of_set}" for of_set in "cd" for runs in ("ab", "abc")]
    stored = json.loads((case.out / "sanity.json").read_text())
    assert [part["tested_on"] for part in stored["parts"]] == ["C", "D"]


def test_a_first_network_as_good_as_the_second_is_not_accused(case: Case) -> None:
    case.networks[0].answer = by_cell
    assert "no sign" in case.run().parts[0].verdict


def test_runs_trained_on_the_wrong_sets_are_refused_with_everything_that_is_wrong(case: Case) -> None:
    case.networks[0].images = [image(*A), image(*B), image(*C)]
    case.networks[1].images = [image(*A), image(*B), image(HAIRY, "WBCTrain", "train", look_alike="1")]
    with pytest.raises(EvaluationError) as caught:
        case.run()
    message = str(caught.value)
    assert "ab was trained on 1 images of set C" in message
    assert "abc was trained on no image of set C" in message
    assert "abc was trained on 1 images of set D" in message


def test_validation_images_of_set_c_do_not_count_as_trained_on(case: Case) -> None:
    case.networks[0].images = [image(*A), image(*B), image("Smudge cell", "hairy_db", "val")]
    assert len(case.run().parts) == 2


def test_images_that_were_trained_on_are_refused(case: Case) -> None:
    trained_on = case.tested[0]
    case.networks[1].images = [
        *case.networks[1].images,
        LabelledImage(case.data.parent / trained_on.path.name, trained_on.label, "", trained_on.source, "train"),
    ]
    with pytest.raises(EvaluationError, match="abc was trained on 1 of the 20 test images of set C"):
        case.run()


def test_a_part_without_images_is_left_out_and_that_is_said(case: Case) -> None:
    result = case.run(case.tested)
    assert [part.tested_on for part in result.parts] == ["C"]
    assert any("Part 2 is left out" in remark for remark in result.remarks)


def test_neither_c_nor_d_is_an_error_that_says_what_they_are(case: Case) -> None:
    with pytest.raises(EvaluationError, match="look_alike"):
        case.run(case.rows[-1:])


def test_recipes_that_differ_in_more_than_their_sets_are_remarked_on(case: Case) -> None:
    case.networks[1].recipe["seed"] = 2
    assert any("seed" in remark for remark in case.run().remarks)


def test_bundles_cannot_do_the_test(case: Case) -> None:
    (case.networks[0].root / "recipe.json").unlink()
    with pytest.raises(EvaluationError, match="not runs"):
        case.run()
