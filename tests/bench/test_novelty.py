"""Ways of telling unfamiliar images, on made embeddings and on a small bundle."""

from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from typer.testing import CliRunner

from bench.cli import app
from bench.novelty import DETECTORS, told
from tests.training.adapt.site import Site
from training.evaluation.onnx_inference import Outputs

CLASSES = 4


def images(seed: int, count: int, unlike: float = 0.0) -> tuple[Outputs, NDArray[np.int64]]:
    """Embeddings near the mean of one of four classes; those ``unlike`` it lie off its plane, with hesitant logits."""
    generator = np.random.default_rng(seed)
    labels = generator.integers(0, CLASSES, count)
    embeddings = np.eye(128)[labels] + generator.normal(0, 0.02, (count, 128))
    embeddings[:, 64:] += unlike
    logits = (10 if not unlike else 2) * np.eye(20)[labels] + generator.normal(0, 0.1, (count, 20))
    return Outputs(logits.astype("f"), embeddings.astype("f")), labels


@pytest.mark.parametrize("name", DETECTORS)
def test_each_detector_scores_images_higher_that_are_unlike_those_learned_from(name: str) -> None:
    learned, labels = images(1, 200)
    score = DETECTORS[name](learned, labels, np.array(["pbc", "matek"] * 100))
    familiar, unfamiliar = score(images(2, 100)[0]), score(images(3, 50, unlike=0.5)[0])
    assert told(familiar, unfamiliar, float(familiar.max())) == "100.0 %, 1.000"
    assert told(familiar, familiar, float(familiar.max())) == "0.0 %"


def test_the_command_prints_a_row_for_each_detector(tmp_path: Path) -> None:
    site = Site(tmp_path)
    folder = site.parent().root
    own, elsewhere = site.cells(4, 4, "own.csv"), site.cells(2, 2, "other.csv")
    lines = own.read_text().splitlines()
    splits = ("train", "val", "test")
    own.write_text("\n".join([lines[0], *(line.replace("train", splits[at % 3]) for at, line in enumerate(lines[1:]))]))
    done = CliRunner().invoke(
        app,
        ["bench", "novelty", str(folder), "--data", str(own), "--elsewhere", str(elsewhere)],
        env={"COLUMNS": "200"},
    )
    assert done.exit_code == 0, done.output
    assert all(f" {name} " in done.output for name in DETECTORS)
    assert "test 16 images, other 12 images" in done.output


def test_a_manifest_without_test_images_is_refused(tmp_path: Path) -> None:
    site = Site(tmp_path)
    folder, data = site.parent().root, site.cells(2, 2)
    done = CliRunner().invoke(app, ["bench", "novelty", str(folder), "--data", str(data), "--elsewhere", str(data)])
    assert done.exit_code == 1
    assert "12 training, 0 real validation and 0 real test images" in " ".join(done.output.split())


def test_a_manifest_that_is_not_there_is_named(tmp_path: Path) -> None:
    nowhere = str(tmp_path / "nowhere.csv")
    done = CliRunner().invoke(app, ["bench", "novelty", str(tmp_path), "--data", nowhere, "--elsewhere", nowhere])
    assert done.exit_code == 1
    assert "no bundle.json" in done.output
