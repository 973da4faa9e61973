"""Every figure against scikit-learn, and hairy cells against counts made by hand."""

import numpy as np
import pytest
from sklearn.metrics import f1_score, log_loss, precision_score, recall_score

from contract.classes import CLASS_NAMES
from tests.training.evaluation.made import EVERY_CLASS, HAIRY, everyone, image, predictions
from training.evaluation.measures import Measures, measure
from training.evaluation.results import Proportion


def hairy_case(threshold: float | None = None) -> Measures:
    """10 hairy cells, 9 found; 100 other cells elsewhere, none called hairy; 20 on the same slides, 4 called hairy."""
    rows = [image(HAIRY, "hairy_db") for _ in range(10)]
    rows += [image("Lymphocyte", "elsewhere") for _ in range(100)]
    rows += [image("Smudge cell", "hairy_db") for _ in range(20)]
    rows += [image("Abnormal lymphocyte", "elsewhere", look_alike="1") for _ in range(5)]
    said = [HAIRY] * 9 + ["Lymphocyte"] * 101 + [HAIRY] * 4 + ["Smudge cell"] * 16 + [HAIRY] * 5
    return measure(predictions(rows, said, threshold=threshold), EVERY_CLASS)


def test_figures_equal_scikit_learns() -> None:
    made = everyone()
    found = measure(made, EVERY_CLASS)
    predicted, classes = made.evaluation.predicted, list(range(20))
    recalls = recall_score(made.labels, predicted, labels=classes, average=None, zero_division=0)
    precisions = precision_score(made.labels, predicted, labels=classes, average=None, zero_division=0)
    for each, recall, precision in zip(found.classes, recalls, precisions, strict=True):
        assert each.recall is not None
        assert each.recall.value == pytest.approx(recall)
        assert each.precision is None or each.precision.value == pytest.approx(precision)
    assert found.macro_f1 == pytest.approx(f1_score(made.labels, predicted, average="macro", labels=classes))
    assert found.loss == pytest.approx(log_loss(made.labels, made.uncalibrated.probabilities, labels=classes))
    assert [each.name for each in found.classes] == list(CLASS_NAMES)


def test_precision_over_all_negatives_hides_what_the_negatives_of_the_hairy_slides_show() -> None:
    (hairy,) = hairy_case().hairy
    assert hairy.recall == Proportion.of(9, 10, "Clopper-Pearson")
    assert hairy.precision == Proportion.of(9, 13, "Clopper-Pearson")
    assert hairy.false_calls == Proportion.of(4, 120, "Clopper-Pearson")
    assert hairy.precision_on_hairy_slides == Proportion.of(9, 13, "Clopper-Pearson")
    assert hairy.false_calls_on_hairy_slides == Proportion.of(4, 20, "Clopper-Pearson")


def test_the_flag_is_measured_beside_the_largest_probability() -> None:
    largest, flag = hairy_case(threshold=0.9).hairy
    assert largest.recall is not None
    assert flag.recall == Proportion.of(0, 10, "Clopper-Pearson")
    assert "0.9" in flag.rule


def test_without_other_cells_of_the_hairy_slides_nothing_is_claimed_about_them() -> None:
    rows = [image(HAIRY, "hairy_db"), image("Lymphocyte", "elsewhere")]
    (hairy,) = measure(predictions(rows, [HAIRY, "Lymphocyte"]), EVERY_CLASS).hairy
    assert hairy.precision is not None
    assert hairy.precision.value == 1
    assert hairy.precision_on_hairy_slides is None


def test_a_network_that_was_never_trained_on_hairy_cells_has_no_hairy_figures() -> None:
    made = predictions([image("Lymphocyte")], ["Lymphocyte"])
    made.suppressed[CLASS_NAMES.index(HAIRY)] = True
    assert measure(made, EVERY_CLASS).hairy == ()


def test_accuracy_is_told_by_source_and_by_set() -> None:
    found = hairy_case()
    assert found.by_set["A"].hits == 9
    assert (found.by_set["C"].hits, found.by_set["C"].images) == (16, 20)
    assert found.by_source["elsewhere"].images == 105
    assert sum(share.hits for share in found.by_source.values()) == found.accuracy.hits


def test_the_file_can_be_read_back() -> None:
    found = measure(everyone(), EVERY_CLASS)
    assert Measures.model_validate_json(found.model_dump_json()) == found
    assert np.isfinite(found.calibrated_loss)
