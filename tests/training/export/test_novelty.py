from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from contract.bundle import sha256_of
from contract.novelty import NoveltyBasis
from training.data.manifest import LabelledImage
from training.export import novelty
from training.export.novelty import subspace_images, write_novelty

DIMENSION = 16


def embeddings(seed: int, images: int) -> NDArray[np.float32]:
    plane = np.random.default_rng(0).normal(size=(3, DIMENSION))
    generator = np.random.default_rng(seed)
    return (generator.normal(size=(images, 3)) @ plane + generator.normal(0, 0.1, (images, DIMENSION))).astype("f")


def sources(**counts: int) -> NDArray[np.str_]:
    return np.concatenate([[name] * count for name, count in counts.items()])


def test_two_in_a_hundred_validation_images_are_unfamiliar(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(novelty, "COMPONENTS", 3)
    validation = embeddings(2, 500)
    written = write_novelty(
        tmp_path, (embeddings(1, 300), sources(a=300)), (validation, sources(a=500)), precision="int8"
    )
    with np.load(tmp_path / written.path) as arrays:
        basis = NoveltyBasis(arrays["mean"], arrays["components"], written.threshold)
    assert np.mean(basis.scores(validation) > 1) == pytest.approx(written.familiar_rate)
    assert written.sha256 == sha256_of(tmp_path / written.path)
    assert (written.components, written.images, written.validation_images) == (len(basis.components), 300, 500)


@given(st.integers(1, 300), st.integers(1, 300), st.integers(0, 50))
def test_the_threshold_leaves_a_fiftieth_of_the_weight_when_each_source_weighs_the_same(
    few: int, many: int, seed: int
) -> None:
    distances = np.random.default_rng(seed).random(few + many).astype("f")
    weights = novelty._balanced(sources(few=few, many=many))
    threshold = novelty._quantile(distances, weights, 0.98)
    assert weights[distances > threshold].sum() <= 0.02 + 1e-9
    assert weights[distances >= threshold].sum() > 0.02 - 1e-9


def test_each_source_gives_at_most_so_many_training_images() -> None:
    images = [
        LabelledImage(Path(f"{source}-{number}.png"), "Monocyte", "", source, split, {})
        for source, count in (("large", novelty.IMAGES_OF_A_SOURCE + 500), ("small", 20))
        for split in ("train", "val")
        for number in range(count)
    ]
    chosen = subspace_images(images, seed=1)
    assert {image.split for image in chosen} == {"train"}
    assert [sum(image.source == source for image in chosen) for source in ("large", "small")] == [
        novelty.IMAGES_OF_A_SOURCE,
        20,
    ]
    assert chosen == subspace_images(images, seed=1)
