"""Logistic regression towards a shipped layer, and the penalty that cross-validation over slides chooses."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from sklearn.linear_model import LogisticRegression

from contract.classes import CLASS_COUNT
from training.adapt.layer import DEFAULT_PENALTY, Cells, LastLayer, choose_penalty, solver
from training.export.novelty import balanced

SIZE = 12
NONE = Cells(np.empty((0, SIZE), np.float32), np.empty(0, np.int64), np.empty(0, np.int64))
ALL = np.zeros(CLASS_COUNT, bool)


def cells(labels: NDArray[np.int64], slides: NDArray[np.int64] | None = None, seed: int = 0) -> Cells:
    """Unit vectors around a direction for each class."""
    directions = np.random.default_rng(99).normal(size=(CLASS_COUNT, SIZE))
    found = directions[labels] + np.random.default_rng(seed).normal(0, 1.0, (len(labels), SIZE))
    found /= np.linalg.norm(found, axis=1, keepdims=True)
    return Cells(found.astype(np.float32), labels, np.arange(len(labels)) if slides is None else slides)


def layer(seed: int = 3) -> LastLayer:
    generator = np.random.default_rng(seed)
    return LastLayer(generator.normal(size=(SIZE, CLASS_COUNT)), generator.normal(size=CLASS_COUNT))


LABELS = np.repeat([0, 4, 7], 20)


def test_a_penalty_without_bounds_gives_the_shipped_layer() -> None:
    solve = solver(layer(), cells(LABELS), cells(np.arange(CLASS_COUNT), seed=1), ALL)
    assert np.abs(solve(1e9)).max() < 1e-8
    sizes = [float(np.linalg.norm(solve(penalty))) for penalty in (1.0, 0.1, 0.01, 0.001)]
    assert sizes == sorted(sizes)
    assert sizes[0] > 1e-3


@pytest.mark.parametrize("count", [20, 400])
def test_from_nothing_it_is_scikit_learn_s_penalised_logistic_regression(count: int) -> None:
    labels, penalty = np.repeat([0, 4, 7], count), 0.003
    nothing = LastLayer(np.zeros((SIZE, CLASS_COUNT)), np.zeros(CLASS_COUNT))
    shown = cells(labels)
    change = solver(nothing, shown, NONE, ~np.isin(np.arange(CLASS_COUNT), labels))(penalty)
    features = np.column_stack([shown.embeddings, np.ones(len(labels))])
    oracle = LogisticRegression(C=1 / (penalty * len(labels)), fit_intercept=False, tol=1e-8, max_iter=2000)
    oracle.fit(features, labels)
    np.testing.assert_allclose(change[:, [0, 4, 7]], oracle.coef_.T, atol=2e-2)
    assert not change[:, 5].any(), "a suppressed class is not moved"


def test_classes_without_cells_are_held_by_the_anchors() -> None:
    everything = cells(np.repeat(np.arange(CLASS_COUNT), 30), seed=5)
    nothing = LastLayer(np.zeros((SIZE, CLASS_COUNT)), np.zeros(CLASS_COUNT))
    shipped = nothing.moved(solver(nothing, everything, NONE, ALL)(1e-3))
    means = np.stack([everything.embeddings[everything.labels == c].mean(axis=0) for c in range(CLASS_COUNT)])
    anchors = Cells(means, np.arange(CLASS_COUNT), np.arange(CLASS_COUNT))
    moved = cells(LABELS, seed=6)
    moved = Cells(np.roll(moved.embeddings, 1, axis=1), moved.labels, moved.slides)
    others = everything.of(~np.isin(everything.labels, LABELS))

    def right(with_anchors: Cells) -> float:
        after = shipped.moved(solver(shipped, moved, with_anchors, ALL)(1e-3))
        return float((after.logits(others.embeddings).argmax(axis=1) == others.labels).mean())

    assert right(NONE) + 0.1 < right(anchors)


@settings(max_examples=15)
@given(slides=st.lists(st.integers(0, 6), min_size=12, max_size=12))
def test_a_slide_is_never_on_both_sides(slides: list[int]) -> None:
    shown = cells(np.repeat([0, 4, 7], 4), np.array(slides))
    choice = choose_penalty(layer(), shown, NONE, ALL, 0)
    if len(set(slides)) == 1:
        assert choice is None
        return
    assert choice is not None
    assert len(set(zip(slides, choice.folds.tolist(), strict=True))) == len(set(slides))
    assert len(set(choice.folds.tolist())) > 1


def test_what_is_said_of_a_held_out_slide_does_not_depend_on_its_labels() -> None:
    slides = np.tile(np.arange(5), 12)
    shown = cells(LABELS, slides)
    choice = choose_penalty(layer(), shown, NONE, ALL, 0)
    assert choice is not None
    for fold in range(5):
        there = choice.folds == fold
        fitted = layer().moved(solver(layer(), shown.of(~there), NONE, ALL)(choice.penalty))
        np.testing.assert_allclose(choice.held_out[there], fitted.logits(shown.embeddings[there]), atol=0.05)


def test_what_slides_do_not_agree_on_is_not_learned() -> None:
    """Each of six slides gives three kinds of cells other names than the others do."""
    names, slides = np.array([0, 4, 7, 9, 11, 13]), np.repeat(np.arange(6), 24)
    kinds = np.tile(np.repeat(names, 4), 6)
    labels = names[(np.searchsorted(names, kinds) + slides) % 6]
    shown = cells(kinds, slides)
    choice = choose_penalty(layer(), Cells(shown.embeddings, labels, slides), NONE, ~np.isin(np.arange(20), names), 0)
    assert choice is not None
    assert choice.penalty >= 0.1


def test_the_default_penalty_counts_where_the_best_may_be_so_by_chance() -> None:
    choice = choose_penalty(layer(), cells(np.repeat([0, 4, 7], 2), np.array([0, 1] * 3)), NONE, ALL, 0)
    assert choice is not None
    assert choice.penalty == DEFAULT_PENALTY


def test_every_class_has_the_same_weight() -> None:
    weights = balanced(np.array([3, 3, 3, 9]))
    np.testing.assert_allclose(weights, [1 / 6, 1 / 6, 1 / 6, 1 / 2])
    assert balanced(np.empty(0, np.int64)).sum() == 0
