"""Figures against scikit-learn and published intervals."""

import numpy as np
import pytest
from scipy.stats import beta
from sklearn.metrics import accuracy_score, confusion_matrix, f1_score, log_loss

from contract.classes import CLASS_NAMES
from training.evaluation.results import Evaluation, EvaluationError, Proportion


@pytest.fixture
def evaluation() -> Evaluation:
    generator = np.random.default_rng(5)
    labels = generator.integers(0, 12, 500)
    logits = generator.normal(0, 1, (500, 20))
    logits[np.arange(500), labels] += 2
    return Evaluation.at(logits.astype(np.float32), labels, 1.0, np.zeros(20, bool))


def test_figures_equal_scikit_learns(evaluation: Evaluation) -> None:
    labels, predicted, classes = evaluation.labels, evaluation.predicted, list(range(20))
    assert evaluation.accuracy.value == accuracy_score(labels, predicted)
    np.testing.assert_array_equal(evaluation.confusion, confusion_matrix(labels, predicted, labels=classes))
    assert evaluation.loss == pytest.approx(log_loss(labels, evaluation.probabilities, labels=classes))


def test_the_interval_is_wilsons_as_published_for_the_thesis() -> None:
    """90.24 % of 15,374 images: 89.8 to 90.7 %."""
    low, high = Proportion.of(13_874, 15_374).interval95
    assert (round(100 * low, 1), round(100 * high, 1)) == (89.8, 90.7)


def test_confusions_are_listed_by_their_number() -> None:
    labels = np.array([0, 0, 0, 1, 1, 2])
    logits = np.zeros((6, 20), np.float32)
    for row, predicted in enumerate([1, 1, 0, 1, 0, 2]):
        logits[row, predicted] = 5
    found = Evaluation.at(logits, labels, 1.0, np.zeros(20, bool)).commonest_confusions()
    assert found == [(CLASS_NAMES[0], CLASS_NAMES[1], 2), (CLASS_NAMES[1], CLASS_NAMES[0], 1)]


def test_nothing_to_evaluate_is_an_error() -> None:
    with pytest.raises(EvaluationError, match="split column"):
        Evaluation.at(np.zeros((0, 20), np.float32), np.zeros(0, np.int64), 1.0, np.zeros(20, bool))


def test_macro_f1_is_scikit_learns_over_the_classes_that_occur(evaluation: Evaluation) -> None:
    present = sorted(set(evaluation.labels.tolist()))
    expected = f1_score(evaluation.labels, evaluation.predicted, labels=present, average="macro", zero_division=0)
    assert evaluation.macro_f1 == pytest.approx(expected)


@pytest.mark.parametrize(("hits", "images"), [(0, 20), (7, 20), (20, 20), (1437, 1453)])
def test_the_exact_interval_is_that_of_the_beta_distribution(hits: int, images: int) -> None:
    """Clopper and Pearson's bounds are quantiles of beta distributions."""
    low = beta.ppf(0.025, hits, images - hits + 1) if hits else 0.0
    high = beta.ppf(0.975, hits + 1, images - hits) if hits < images else 1.0
    assert Proportion.of(hits, images, "Clopper-Pearson").interval95 == pytest.approx((low, high), abs=1e-9)
