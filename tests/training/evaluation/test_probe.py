"""The shortcut probe on made embeddings: a planted difference of sources is found, and none where there is none."""

from pathlib import Path

import numpy as np

from training.data.manifest import LabelledImage
from training.evaluation.probe import ClassProbe, probe

DIMENSIONS = 128


def made(seed: int, shift: float, per_source: int = 40, slides: int = 0, slide_effect: float = 0.0) -> ClassProbe:
    """Cells of one class from two sources that differ by ``shift``, each on so many slides of their own look."""
    generator = np.random.default_rng(seed)
    count = 2 * per_source
    of_source = np.arange(count) // per_source
    vectors = generator.normal(size=(count, DIMENSIONS)) + 3 * generator.normal(size=DIMENSIONS)
    vectors += np.outer(of_source, shift * generator.normal(size=DIMENSIONS))
    names = [""] * count
    if slides:
        on = of_source * slides + np.arange(count) % slides
        vectors += slide_effect * generator.normal(size=(2 * slides, DIMENSIONS))[on]
        names = [str(number) for number in on]
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    images = [
        LabelledImage(Path(f"{i}.png"), "Lymphocyte", names[i], ("here", "there")[of_source[i]], "test")
        for i in range(count)
    ]
    (found,) = probe(vectors.astype(np.float32), images, seed).classes
    return found


def test_a_planted_source_is_found() -> None:
    found = made(1, shift=1.0)
    assert found.outcome == "told apart well"
    assert found.balanced_accuracy is not None
    assert found.balanced_accuracy > 0.9
    assert found.area_under_curve is not None
    assert found.area_under_curve > 0.95
    assert "here and there are told apart well" in found.verdict


def test_a_faint_source_is_told_apart_in_part() -> None:
    found = made(1, shift=0.15, per_source=120)
    assert found.outcome == "told apart in part"
    assert found.interval95 is not None
    assert 0.5 < found.interval95[0] < 0.75


def test_without_a_difference_between_sources_none_is_found() -> None:
    outcomes = [made(seed, shift=0.0, per_source=30).outcome for seed in range(5)]
    assert outcomes.count("not told apart") >= 4


def test_slides_are_kept_together_so_that_the_look_of_a_slide_is_not_taken_for_that_of_its_source() -> None:
    by_slide = [made(seed, 0.0, slides=8, slide_effect=1.0) for seed in range(2)]
    assert all(each.grouped_by_slide for each in by_slide)
    assert [each.outcome for each in by_slide].count("not told apart") == 2
    assert made(1, 1.0, slides=8).outcome == "told apart well"


def rows(*entries: tuple[str, str, int]) -> tuple[np.ndarray, list[LabelledImage]]:
    images = [
        LabelledImage(Path(f"{label}-{source}-{i}"), label, "", source, "test")
        for label, source, count in entries
        for i in range(count)
    ]
    embeddings = np.random.default_rng(0).normal(size=(len(images), 16)).astype(np.float32)
    return embeddings / np.linalg.norm(embeddings, axis=1, keepdims=True), images


def test_a_class_of_one_source_cannot_be_told_and_that_is_the_warning() -> None:
    report = probe(*rows(("Hairy cell", "hairy_db", 30), ("Lymphocyte", "a", 20), ("Lymphocyte", "b", 20)))
    lymphocyte, hairy = report.classes
    assert lymphocyte.chance == 0.5
    assert hairy.outcome == "one source only"
    assert "class Hairy cell comes from one source only (hairy_db); other classes have other sources" in hairy.verdict
    assert "Hairy cell" in report.verdict


def test_few_images_are_not_probed() -> None:
    report = probe(*rows(("Lymphocyte", "a", 40), ("Lymphocyte", "b", 9)))
    assert report.classes[0].outcome == "too few images"
    assert report.classes[0].balanced_accuracy is None


def test_one_source_for_everything_says_that_nothing_is_known_of_others() -> None:
    report = probe(*rows(("Lymphocyte", "a", 20), ("Monocyte", "a", 20)))
    assert "another laboratory" in report.verdict
    assert "other classes have other sources" not in report.classes[0].verdict


def test_three_sources_are_told_from_each_other_with_a_chance_of_one_third() -> None:
    embeddings, images = rows(("Monocyte", "a", 30), ("Monocyte", "b", 30), ("Monocyte", "c", 30))
    embeddings[:30, 0] += 3
    embeddings[30:60, 1] += 3
    (found,) = probe(embeddings, images).classes
    assert found.chance == 1 / 3
    assert found.outcome == "told apart well"
    assert "a, b and c" in found.verdict


def test_embeddings_that_are_all_equal_tell_nothing() -> None:
    embeddings, images = rows(("Monocyte", "a", 20), ("Monocyte", "b", 20))
    (found,) = probe(np.ones_like(embeddings), images).classes
    assert found.outcome == "not told apart"
