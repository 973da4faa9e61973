"""Spread, alignment, uniformity and class means against their definitions; a collapse is told from a hard start."""

import itertools
import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from sklearn.neighbors import NearestCentroid

from training.fit.embedding_health import (
    CollapseError,
    class_mean_accuracy,
    embedding_health,
    refuse_collapse,
    spread,
)


def unit_vectors(count: int, dimension: int, seed: int) -> NDArray[np.float32]:
    vectors = np.random.default_rng(seed).normal(size=(count, dimension))
    return (vectors / np.linalg.norm(vectors, axis=1, keepdims=True)).astype(np.float32)


def test_spread_is_1_for_vectors_all_over_the_sphere_and_0_for_one_point() -> None:
    assert spread(unit_vectors(5000, 128, 0)) == pytest.approx(1.0, abs=0.02)
    assert spread(np.tile(unit_vectors(1, 128, 0), (50, 1))) == pytest.approx(0.0, abs=1e-6)


@settings(max_examples=30, deadline=None)
@given(st.integers(2, 12), st.integers(2, 6), st.integers(0, 10_000))
def test_alignment_and_uniformity_are_those_of_a_double_loop(count: int, dimension: int, seed: int) -> None:
    vectors = unit_vectors(count, dimension, seed)
    labels = np.random.default_rng(seed).integers(0, 3, count)
    distances = {(i, j): math.dist(vectors[i], vectors[j]) for i, j in itertools.combinations(range(count), 2)}
    of_a_class = [distance**2 for (i, j), distance in distances.items() if labels[i] == labels[j]]
    health = embedding_health(vectors, labels)
    assert health.alignment == pytest.approx(np.mean(of_a_class) if of_a_class else math.nan, abs=1e-5, nan_ok=True)
    expected = math.log(np.mean([math.exp(-2 * distance**2) for distance in distances.values()]))
    assert health.uniformity == pytest.approx(expected, abs=1e-5)


@pytest.mark.filterwarnings("ignore:invalid value encountered in divide")  # its spread within classes of one
@settings(max_examples=30, deadline=None)
@given(st.integers(4, 20), st.integers(0, 10_000))
def test_class_mean_accuracy_is_leave_one_out_nearest_centroid(count: int, seed: int) -> None:
    vectors = unit_vectors(count, 5, seed)
    labels = np.arange(count) % 2
    hits = []
    for left_out in range(count):
        rest = np.arange(count) != left_out
        means = np.stack([vectors[rest & (labels == c)].mean(axis=0) for c in (0, 1)])
        means /= np.linalg.norm(means, axis=1, keepdims=True)
        found = NearestCentroid().fit(means, [0, 1]).predict(vectors[left_out : left_out + 1])
        hits.append(bool(found[0] == labels[left_out]))
    accuracy, recall = class_mean_accuracy(vectors, labels)
    assert accuracy == pytest.approx(np.mean(hits))
    assert recall == {c: (sum(np.array(hits)[labels == c]), int((labels == c).sum())) for c in (0, 1)}


def test_a_class_of_one_image_cannot_be_found_and_harms_nothing() -> None:
    vectors = unit_vectors(3, 4, 1)
    vectors[1] = vectors[0]
    accuracy, recall = class_mean_accuracy(vectors, np.array([0, 0, 7]))
    assert recall == {0: (2, 2), 7: (0, 1)}
    assert accuracy == pytest.approx(2 / 3)


def test_one_point_is_refused_with_its_figures_and_advice() -> None:
    with pytest.raises(CollapseError, match=r"stage encoder .*ln\(32 - 1\) = 3\.4340.*step 1 of HAL-C"):
        refuse_collapse(3.43, 0.001, 32, "encoder")


@pytest.mark.parametrize(
    ("loss", "spread_of_projections"),
    [
        (3.43, 0.4),  # a new head: the loss of a point, but the projections differ
        (2.0, 0.01),  # close together, yet the classes are told apart
        (5.0, 0.01),
    ],
)
def test_what_still_learns_is_not_called_collapsed(loss: float, spread_of_projections: float) -> None:
    refuse_collapse(loss, spread_of_projections, 32, "encoder")
