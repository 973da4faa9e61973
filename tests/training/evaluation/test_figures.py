"""Figures: their data by other means, their size for print, their order of classes."""

import csv
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from sklearn.calibration import calibration_curve

from contract.classes import CLASS_NAMES
from tests.training.evaluation.made import HAIRY, everyone, image, predictions
from training.evaluation.figures.confusion import draw_confusion, draw_lymphocytes, lymphocyte_matrix
from training.evaluation.figures.embedding_map import draw_embedding_map, t_sne
from training.evaluation.figures.gallery import draw_gallery, galleries
from training.evaluation.figures.reliability import draw_reliability, reliability
from training.evaluation.figures.training_curves import draw_training_curves


def table(path: Path) -> list[list[str]]:
    with path.open(newline="") as stream:
        return list(csv.reader(stream))


def test_the_confusion_matrix_is_written_in_the_order_of_the_contract_at_300_dpi(tmp_path: Path) -> None:
    matrix = everyone().evaluation.confusion
    path = draw_confusion(matrix, tmp_path, "confusion", "made")
    header, *rows = table(tmp_path / "confusion.csv")
    assert tuple(header[1:]) == CLASS_NAMES
    assert tuple(row[0] for row in rows) == CLASS_NAMES
    np.testing.assert_array_equal([[int(cell) for cell in row[1:]] for row in rows], matrix)
    with Image.open(path) as picture:
        assert picture.width == 7 * 300
        assert round(picture.info["dpi"][0]) == 300


def test_rows_of_classes_without_images_are_grey_and_others_are_not(tmp_path: Path) -> None:
    made = everyone()
    present, absent = made.evaluation.confusion, made.evaluation.confusion
    absent[0] = 0
    pictures = []
    for name, matrix in (("present", present), ("absent", absent)):
        with Image.open(draw_confusion(matrix, tmp_path, name, name)) as picture:
            pixels = np.asarray(picture.convert("RGB"))
        pictures.append((pixels == 0xEC).all(axis=2).mean())
    assert pictures[1] > pictures[0] + 0.005


def test_the_lymphocyte_matrix_gathers_all_other_classes() -> None:
    """By taking each image in turn."""
    made = everyone()
    names = ["Lymphocyte", "Hairy cell", "Reactive lymphocyte", "Abnormal lymphocyte", "Other"]
    expected = np.zeros((5, 5), int)
    for true, predicted in zip(made.labels, made.evaluation.predicted, strict=True):
        row, column = (
            names.index(CLASS_NAMES[each]) if CLASS_NAMES[each] in names else 4 for each in (true, predicted)
        )
        expected[row, column] += 1
    found, found_names = lymphocyte_matrix(made.evaluation.confusion)
    assert list(found_names) == names
    np.testing.assert_array_equal(found, expected)


def test_the_lymphocyte_figure_is_drawn_without_any_lymphocyte(tmp_path: Path) -> None:
    matrix = np.zeros((20, 20), np.int64)
    matrix[0, 0] = 5
    assert draw_lymphocytes(matrix, tmp_path, "lymphocytes", "made").is_file()


def test_the_reliability_bins_are_scikit_learns() -> None:
    evaluation = everyone().evaluation
    right = (evaluation.predicted == evaluation.labels).astype(int)
    shares, confidences = calibration_curve(right, evaluation.probabilities.max(axis=1), n_bins=15)
    found = reliability(evaluation)
    np.testing.assert_allclose([each.right.value for each in found], shares)
    np.testing.assert_allclose([each.confidence for each in found], confidences)
    error = sum(each.right.images * abs(each.right.value - each.confidence) for each in found) / len(right)
    assert error == pytest.approx(evaluation.calibration_error)


def test_the_reliability_diagram_is_drawn(tmp_path: Path) -> None:
    made = everyone()
    assert draw_reliability(made.evaluation, made.uncalibrated, tmp_path, "reliability", "made").is_file()
    images = [int(row[5]) for row in table(tmp_path / "reliability.csv")[1:] if row[0] == "after"]
    assert sum(images) == len(made.images)


def test_the_map_keeps_clusters_together_and_is_the_same_for_the_same_seed(tmp_path: Path) -> None:
    generator = np.random.default_rng(0)
    labels = ["Lymphocyte"] * 15 + ["Monocyte"] * 15
    embeddings = generator.normal(size=(30, 32)).astype(np.float32)
    embeddings[15:, 0] += 12
    rows = [image(label) for label in labels]
    draw_embedding_map(embeddings, rows, tmp_path, "map", "made", seed=3)
    first = table(tmp_path / "map.csv")
    draw_embedding_map(embeddings, rows, tmp_path, "map", "made", seed=3)
    assert table(tmp_path / "map.csv") == first
    points = np.array([row[3:] for row in first[1:]], float)
    gap = np.linalg.norm(points[:15].mean(axis=0) - points[15:].mean(axis=0))
    assert gap > 2 * max(points[:15].std(), points[15:].std()) / np.sqrt(2)


@pytest.mark.parametrize("count", [5, 6, 12])
def test_few_images_have_a_map_of_a_perplexity_that_fits(count: int) -> None:
    embeddings = np.random.default_rng(0).normal(size=(count, 8)).astype(np.float32)
    points = t_sne(embeddings, 1)
    assert points is not None
    assert points.shape == (count, 2)


def test_a_collapsed_encoder_has_no_map() -> None:
    assert t_sne(np.full((50, 8), 0.5, np.float32), 1) is None


STAGES = """stage,epoch,loss,accuracy,val_loss,val_accuracy,spread,seconds
encoder,1,3.5,,3.4,0.7,0.5,9
encoder,2,3.1,,3.2,0.8,0.5,9
classifier,1,0.5,0.9,0.6,0.8,,1
"""
NOTHING_MEASURED = "stage,epoch,loss,extra\na,1,nan,x\n"


@pytest.mark.parametrize("history", [STAGES, NOTHING_MEASURED])
def test_training_curves_are_drawn(history: str, tmp_path: Path) -> None:
    (tmp_path / "history.csv").write_text(history)
    assert draw_training_curves(tmp_path / "history.csv", tmp_path, "curves", "made") is not None
    drawn = table(tmp_path / "curves.csv")
    assert len(drawn) == len(history.splitlines())
    assert drawn[1][1] == "1"


def test_without_a_history_there_are_no_curves(tmp_path: Path) -> None:
    assert draw_training_curves(tmp_path / "history.csv", tmp_path, "curves", "made") is None


def test_galleries_show_the_missed_and_the_falsely_called_hairy_cells_the_most_confident_first(tmp_path: Path) -> None:
    rows = [image(label) for label in (HAIRY, HAIRY, HAIRY, "Lymphocyte", "Monocyte", "Monocyte")]
    made = predictions(rows, [HAIRY, "Lymphocyte", "Monocyte", HAIRY, "Monocyte", "Basophil"])
    logits = made.logits.copy()
    logits[2] *= 2
    made = replace(made, logits=logits)
    missed, called = galleries(made)
    assert missed.chosen.tolist() == [2, 1]
    assert called.chosen.tolist() == [3]
    assert draw_gallery(missed, made, tmp_path) is not None
    _, first, second = table(tmp_path / "hairy-false-negatives.csv")
    assert first[2:4] == [HAIRY, "Monocyte"]
    assert float(first[4]) > float(second[4])


def test_without_hairy_cells_the_most_confident_errors_are_shown() -> None:
    made = predictions([image("Lymphocyte"), image("Monocyte")], ["Lymphocyte", "Basophil"])
    (errors,) = galleries(made)
    assert errors.chosen.tolist() == [1]


def test_an_empty_gallery_has_data_and_no_picture(tmp_path: Path) -> None:
    made = predictions([image(HAIRY)], [HAIRY])
    missed, _ = galleries(made)
    assert draw_gallery(missed, made, tmp_path) is None
    assert len(table(tmp_path / "hairy-false-negatives.csv")) == 1
