from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from numpy.typing import NDArray

from contract.novelty import NoveltyBasis, fit_subspace
from contract.parts import EMBEDDING_SIZE

DIMENSION, RANK = 24, 4


def near_a_subspace(seed: int, images: int, noise: float = 0.01) -> NDArray[np.float32]:
    generator = np.random.default_rng(seed)
    plane = np.random.default_rng(0).normal(size=(RANK, DIMENSION))
    return (generator.normal(size=(images, RANK)) @ plane + generator.normal(0, noise, (images, DIMENSION))).astype("f")


def basis(embeddings: NDArray[np.float32], sources: NDArray[np.str_] | None = None) -> NoveltyBasis:
    sources = np.full(len(embeddings), "one") if sources is None else sources
    return replace(fit_subspace(embeddings, sources, RANK), threshold=0.5)


def test_a_score_is_the_length_of_the_residual_in_units_of_the_threshold() -> None:
    found = basis(near_a_subspace(1, 200))
    other = np.random.default_rng(2).normal(size=(7, DIMENSION)).astype("f")
    for embedding, score in zip(other, found.scores(other), strict=True):
        away = embedding - found.mean
        nearest = sum((component @ away) * component for component in found.components)
        assert score == pytest.approx(np.linalg.norm(away - nearest) / found.threshold, rel=1e-4)


def test_images_like_those_that_were_learned_from_are_familiar_and_others_are_not() -> None:
    found = basis(near_a_subspace(1, 200))
    assert found.scores(near_a_subspace(3, 100)).max() < 1
    assert found.scores(np.random.default_rng(4).normal(size=(100, DIMENSION)).astype("f")).min() > 1


def test_components_are_orthonormal_and_those_of_a_singular_value_decomposition() -> None:
    embeddings = near_a_subspace(1, 200)
    found = basis(embeddings)
    components = found.components
    np.testing.assert_allclose(components @ components.T, np.eye(RANK), atol=1e-5)
    np.testing.assert_allclose(found.mean, embeddings.mean(axis=0), atol=1e-5)
    *_, expected = np.linalg.svd(embeddings - embeddings.mean(axis=0), full_matrices=False)
    np.testing.assert_allclose(np.abs(components @ expected[:RANK].T), np.eye(RANK), atol=1e-3)


def test_a_source_with_few_images_counts_as_much_as_one_with_many() -> None:
    many, few = near_a_subspace(1, 500), near_a_subspace(2, 20) + 3
    both = basis(np.concatenate([many, few]), np.array(["many"] * 500 + ["few"] * 20))
    np.testing.assert_allclose(both.mean, (many.mean(axis=0) + few.mean(axis=0)) / 2, atol=1e-4)


def test_an_image_strange_in_the_embedding_or_in_the_middle_flow_alone_is_unfamiliar() -> None:
    """However small the numbers of the one are beside those of the other."""

    def features(seed: int, images: int) -> NDArray[np.float32]:
        first, second = near_a_subspace(seed, images), near_a_subspace(seed, images) / 1000
        return np.concatenate([np.pad(first, ((0, 0), (0, EMBEDDING_SIZE - DIMENSION))), second], axis=1)

    found = basis(features(1, 200))
    known = found.scores(features(3, 100)).max()
    for part, size in ((slice(DIMENSION), 1.0), (slice(EMBEDDING_SIZE, None), 0.001)):
        strange = features(3, 100)
        strange[:, part] = np.random.default_rng(4).normal(0, size, strange[:, part].shape)
        assert found.scores(strange).min() > 2 * known


@given(arrays(np.float32, (3, DIMENSION), elements=st.floats(-10, 10, width=32)))
def test_every_embedding_has_a_score_and_batch_mates_never_change_it(embeddings: NDArray[np.float32]) -> None:
    found = basis(near_a_subspace(1, 200))
    scores = found.scores(embeddings)
    assert np.isfinite(scores).all()
    assert (scores >= 0).all()
    alone = np.concatenate([found.scores(each[None]) for each in embeddings])
    np.testing.assert_allclose(scores, alone, rtol=1e-3, atol=1e-2)


def test_more_components_than_images_are_refused() -> None:
    with pytest.raises(ValueError, match="4 images for 4 components, expected more images"):
        fit_subspace(near_a_subspace(1, 4), np.full(4, "one"), RANK)
