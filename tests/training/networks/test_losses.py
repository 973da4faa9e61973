"""The loss against a double loop written from the paper, and against the mistakes that others made."""

import math

import numpy as np
import pytest
import tensorflow as tf
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from training.networks.losses import supervised_contrastive_loss


def oracle(projections: NDArray[np.float64], labels: NDArray[np.int64], temperature: float) -> float:
    """Thesis Eq. 13 (Khosla et al. 2020, Eq. 2), term by term, with the mean over the anchors that have positives."""
    batch, views, _ = projections.shape
    z = [projections[image, view] for image in range(batch) for view in range(views)]
    y = [labels[image] for image in range(batch) for _ in range(views)]
    terms = []
    for i in range(len(z)):
        others = [a for a in range(len(z)) if a != i]
        positives = [p for p in others if y[p] == y[i]]
        if not positives:
            continue
        denominator = sum(math.exp(z[i] @ z[a] / temperature) for a in others)
        logs = [math.log(math.exp(z[i] @ z[p] / temperature) / denominator) for p in positives]
        terms.append(-sum(logs) / len(positives))
    return sum(terms) / len(terms) if terms else 0.0


def unit_vectors(seed: int, batch: int, views: int = 2, dimension: int = 5) -> NDArray[np.float64]:
    z = np.random.default_rng(seed).normal(size=(batch, views, dimension))
    return z / np.linalg.norm(z, axis=-1, keepdims=True)


@settings(max_examples=60, deadline=None)
@given(
    seed=st.integers(0, 10_000),
    batch=st.integers(1, 9),
    views=st.integers(1, 3),
    classes=st.integers(1, 5),
    temperature=st.sampled_from([0.07, 0.1, 0.5, 1.0]),
)
def test_equals_the_double_loop(seed: int, batch: int, views: int, classes: int, temperature: float) -> None:
    z = unit_vectors(seed, batch, views)
    labels = np.random.default_rng(seed).integers(0, classes, batch)
    loss = float(supervised_contrastive_loss(z, labels, temperature))
    assert loss == pytest.approx(oracle(z, labels, temperature), rel=1e-4, abs=1e-5)


@pytest.mark.parametrize("labels", [[0, 0, 1, 2], [0, 1, 2, 3], [1, 1, 1, 1]])
def test_gradients_equal_finite_differences_of_the_double_loop(labels: list[int]) -> None:
    z = unit_vectors(1, 4)
    y = np.array(labels)
    variable = tf.Variable(z, dtype=tf.float32)
    with tf.GradientTape() as tape:
        loss = supervised_contrastive_loss(variable, y, 0.5)
    found = tape.gradient(loss, variable).numpy()
    expected = np.empty_like(z)
    step = 1e-5
    for index in np.ndindex(z.shape):
        above, below = z.copy(), z.copy()
        above[index] += step
        below[index] -= step
        expected[index] = (oracle(above, y, 0.5) - oracle(below, y, 0.5)) / (2 * step)
    np.testing.assert_allclose(found, expected, rtol=1e-3, atol=1e-5)


def test_a_collapsed_batch_of_16_images_costs_ln_31() -> None:
    collapsed = np.ones((16, 2, 8)) / math.sqrt(8)
    assert float(supervised_contrastive_loss(collapsed, np.arange(16) % 4)) == pytest.approx(math.log(31), abs=1e-4)
    assert math.log(31) == pytest.approx(3.434, abs=1e-3)


def test_the_anchor_is_neither_positive_nor_in_the_denominator() -> None:
    """With one image and two orthogonal views, the only other view is the positive: the ratio is 1, the loss 0."""
    assert float(supervised_contrastive_loss([[[1.0, 0.0], [0.0, 1.0]]], [3])) == pytest.approx(0.0, abs=1e-6)


def test_anchors_without_positives_leave_the_mean_and_give_no_nan() -> None:
    z = unit_vectors(2, 5, views=1)
    labels = np.array([0, 0, 1, 2, 3])
    assert float(supervised_contrastive_loss(z, labels)) == pytest.approx(oracle(z, labels, 0.1), rel=1e-4)
    variable = tf.Variable(z, dtype=tf.float32)
    with tf.GradientTape() as tape:
        loss = supervised_contrastive_loss(variable, np.arange(5))
    assert float(loss) == 0.0
    assert np.isfinite(tape.gradient(loss, variable).numpy()).all()


def test_a_low_temperature_does_not_underflow_behind_the_anchors_own_similarity() -> None:
    """At tau 0.005 the anchor's similarity of 200 with itself would push every other term to 0 and the log to -inf."""
    z = unit_vectors(3, 6)
    labels = np.array([0, 0, 1, 1, 2, 2])
    loss = float(supervised_contrastive_loss(z, labels, 0.005))
    assert loss == pytest.approx(oracle(z, labels, 0.005), rel=1e-3)


def test_half_precision_projections_are_computed_in_float32() -> None:
    z = tf.cast(unit_vectors(4, 8), tf.float16)
    loss = supervised_contrastive_loss(z, np.arange(8) % 2, 0.01)
    assert loss.dtype == tf.float32
    assert np.isfinite(float(loss))


@given(seed=st.integers(0, 1000))
@settings(max_examples=20, deadline=None)
def test_images_and_labels_permuted_together_give_the_same_loss(seed: int) -> None:
    generator = np.random.default_rng(seed)
    z, labels = unit_vectors(seed, 8), generator.integers(0, 3, 8)
    order = generator.permutation(8)
    before = float(supervised_contrastive_loss(z, labels))
    assert float(supervised_contrastive_loss(z[order], labels[order])) == pytest.approx(before, rel=1e-5)
    assert float(supervised_contrastive_loss(z[:, ::-1], labels)) == pytest.approx(before, rel=1e-5)


def test_it_is_neither_scaled_by_the_temperature_nor_by_the_batch() -> None:
    z, labels = unit_vectors(7, 4), np.array([0, 0, 1, 1])
    twice = np.concatenate([z, z])
    assert float(supervised_contrastive_loss(z, labels, 1.0)) == pytest.approx(oracle(z, labels, 1.0), rel=1e-5)
    both = np.concatenate([labels, labels])
    assert float(supervised_contrastive_loss(twice, both, 1.0)) == pytest.approx(oracle(twice, both, 1.0), rel=1e-5)


@pytest.mark.parametrize(
    ("projections", "labels", "temperature", "what"),
    [
        (np.ones((4, 3)), [0] * 4, 0.1, r"expected \(batch, views, dimension\)"),
        (np.ones((4, 2, 3)), np.zeros((4, 1), int), 0.1, r"labels have shape .*expected \(batch,\)"),
        (np.ones((4, 2, 3)), [0] * 4, 0.0, "above 0"),
    ],
)
def test_wrong_shapes_and_temperatures_are_refused(
    projections: NDArray[np.float64], labels: object, temperature: float, what: str
) -> None:
    with pytest.raises(ValueError, match=what):
        supervised_contrastive_loss(projections, labels, temperature)
