"""Splits: what belongs together stays together, and the result depends on contents and seed alone."""

from collections import Counter, defaultdict
from pathlib import Path
from random import Random

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from contract.classes import CLASS_NAMES
from training.data.manifest import LabelledImage
from training.data.overlap import SplitError, assert_disjoint, crossings, groups
from training.data.splits import By, by_image, by_slide, recommended, release_validation, split


def content(path: Path) -> str:
    """The part of the name before the dot is the content; what follows tells copies apart."""
    return path.name.split(".")[0]


def image(
    name: str, label: str = "Lymphocyte", slide: str = "", source: str = "s", split: str = "", patient: str = ""
) -> LabelledImage:
    return LabelledImage(Path(name), label, slide, source, split, {"patient_id": patient} if patient else {})


def as_it_was_before(images: list[LabelledImage], share: float, seed: int) -> dict[str, str]:
    """An independent statement of the image split on which the image lists of shipped bundles depend."""
    done = {}
    for position, key in enumerate(sorted({(i.label, i.source) for i in images})):
        names = sorted(content(i.path) for i in images if (i.label, i.source) == key)
        order = np.random.default_rng([seed, position]).permutation(len(names))
        for rank, index in enumerate(order):
            done[names[index]] = "val" if rank < round(len(names) * share) else "train"
    return done


DISTINCT = st.lists(
    st.tuples(st.integers(0, 10**6), st.sampled_from(CLASS_NAMES[:3]), st.sampled_from("ab")),
    max_size=40,
    unique_by=lambda row: row[0],
).map(lambda rows: [image(f"{number}", label, source=source) for number, label, source in rows])

TANGLED = st.lists(
    st.tuples(
        st.integers(0, 12),
        st.sampled_from(CLASS_NAMES[:3]),
        st.sampled_from(["", "1", "2", "3", "4", "5", "6"]),
        st.sampled_from("ab"),
        st.sampled_from(["", "", "", "", "p", "q"]),
    ),
    min_size=2,
    max_size=40,
).map(
    lambda rows: [
        image(f"{number}.{index}", label, slide, source, "", patient)
        for index, (number, label, slide, source, patient) in enumerate(rows)
    ]
)


@settings(deadline=None)
@given(DISTINCT, st.integers(0, 5), st.sampled_from([0.1, 0.2, 0.5]))
def test_the_image_split_is_the_one_that_shipped_bundles_were_trained_on(
    images: list[LabelledImage], seed: int, share: float
) -> None:
    found = {content(i.path): i.split for i in by_image(images, share, seed, content)}
    assert found == as_it_was_before(images, share, seed)


@settings(deadline=None)
@given(DISTINCT, st.integers(0, 5))
def test_a_test_share_takes_from_training_and_not_from_validation(images: list[LabelledImage], seed: int) -> None:
    plain = {i.path for i in by_image(images, 0.2, seed, content) if i.split == "val"}
    done = by_image(images, 0.2, seed, content, test_share=0.3)
    assert {i.path for i in done if i.split == "val"} == plain
    strata = Counter((i.label, i.source) for i in images)
    tested = Counter((i.label, i.source) for i in done if i.split == "test")
    assert all(tested[key] == round(0.3 * size) for key, size in strata.items())


@settings(deadline=None)
@given(TANGLED, st.sampled_from(list(By)), st.integers(0, 3), st.sampled_from([0.0, 0.2]))
def test_no_slide_patient_or_content_crosses(images: list[LabelledImage], by: By, seed: int, test_share: float) -> None:
    try:
        done = split(images, by, 0.2, seed, content, test_share)
    except SplitError as error:
        assert by is By.SLIDE
        assert "all tied together" in str(error)
        return
    assert Counter(i.path for i in done) == Counter(i.path for i in images)
    sides: dict[tuple[str, ...], set[str]] = defaultdict(set)
    for one in done:
        sides["content", content(one.path)].add(one.split)
        if by is By.SLIDE:
            if one.slide_id:
                sides["slide", one.source, one.slide_id].add(one.split)
            if one.extra:
                sides["patient", one.source, one.extra["patient_id"]].add(one.split)
    assert {len(splits) for splits in sides.values()} == {1}
    assert {i.split for i in done} <= {"train", "val", *(["test"] if test_share else [])}


@settings(deadline=None, max_examples=50)
@given(TANGLED, st.sampled_from(list(By)), st.randoms())
def test_a_split_does_not_depend_on_the_order(images: list[LabelledImage], by: By, random: Random) -> None:
    shuffled = list(images)
    random.shuffle(shuffled)
    try:
        first = split(images, by, 0.2, 1, content)
    except SplitError:
        with pytest.raises(SplitError):
            split(shuffled, by, 0.2, 1, content)
    else:
        assert {content(i.path): i.split for i in first} == {
            content(i.path): i.split for i in split(shuffled, by, 0.2, 1, content)
        }


@settings(deadline=None)
@given(TANGLED)
def test_groups_are_those_of_a_search_from_image_to_image(images: list[LabelledImage]) -> None:
    def tied(a: LabelledImage, b: LabelledImage) -> bool:
        same_source = a.source == b.source
        return (
            content(a.path) == content(b.path)
            or (same_source and bool(a.slide_id) and a.slide_id == b.slide_id)
            or (same_source and bool(a.extra) and a.extra == b.extra)
        )

    unseen, components = set(range(len(images))), []
    while unseen:
        reached = [unseen.pop()]
        for at in reached:
            step = {other for other in unseen if tied(images[at], images[other])}
            unseen -= step
            reached += step
        components.append(set(reached))
    found = groups(images, content)
    assert sorted(map(sorted, components)) == sorted(np.flatnonzero(found == key).tolist() for key in np.unique(found))


@pytest.mark.parametrize("seed", range(5))
def test_a_split_by_slide_holds_out_about_the_share_of_every_class(seed: int) -> None:
    generator = np.random.default_rng(seed)
    images = [
        image(f"{i}", CLASS_NAMES[int(generator.integers(4))], f"{generator.integers(60)}", "ab"[i % 2])
        for i in range(3000)
    ]
    done = by_slide(images, 0.2, seed, content, test_share=0.2)
    for label in CLASS_NAMES[:4]:
        shares = Counter(i.split for i in done if i.label == label)
        assert shares["test"] / shares.total() == pytest.approx(0.2, abs=0.05)
        assert shares["val"] / shares.total() == pytest.approx(0.2, abs=0.05)
    assert [i.path for i in done] == [i.path for i in images]
    other = by_slide(images, 0.2, seed + 1, content, test_share=0.2)
    assert [i.split for i in other] != [i.split for i in done]


@pytest.mark.parametrize("seed", range(8))
def test_of_unequal_slides_one_is_held_out_that_comes_closest_to_the_share(seed: int) -> None:
    sizes = (60, 60, 60, 60, 10)
    images = [image(f"{slide}-{n}", slide=f"{slide}") for slide, size in enumerate(sizes) for n in range(size)]
    assert Counter(i.split for i in by_slide(images, 0.2, seed, content)) == {"train": 190, "val": 60}


@pytest.mark.parametrize("seed", range(8))
def test_a_class_of_one_slide_is_left_to_training(seed: int) -> None:
    images = [image(f"{n}", "Lymphocyte", f"{n // 10}") for n in range(100)]
    images += [image(f"hairy{n}", "Hairy cell", "h") for n in range(50)]
    assert {i.split for i in by_slide(images, 0.2, seed, content) if i.label == "Hairy cell"} == {"train"}


@pytest.mark.parametrize("by", list(By))
def test_rows_that_have_a_split_keep_it_and_draw_what_belongs_to_them(by: By) -> None:
    fixed = [image("0", slide="1", split="test"), image("1", slide="2", split="train")]
    tied = [image("0.copy", slide="3"), image("2", slide="3")]
    free = [image(f"{n}", slide=f"{n}") for n in range(10, 30)]
    done = {i.path.name: i.split for i in split([*fixed, *tied, *free], by, 0.2, 1, content)}
    assert (done["0"], done["1"], done["0.copy"]) == ("test", "train", "test")
    if by is By.SLIDE:
        assert done["2"] == "test"


def test_fixed_splits_that_tear_a_slide_are_all_named() -> None:
    images = [
        image("0", slide="1", split="train"),
        image("1", slide="1", split="val"),
        image("2", split="train"),
        image("2.copy", split="test"),
        *(image(f"{n}", slide=f"{n}") for n in range(10, 20)),
    ]
    with pytest.raises(SplitError) as caught:
        split(images, By.SLIDE, 0.2, 1, content)
    assert len(caught.value.problems) == 2
    assert "slide '1' of s is in train (1 images) and val (1 images)" in str(caught.value)
    assert "the same image is in several splits: 2 (train), 2.copy (test)" in str(caught.value)


def test_images_without_a_split_cross_nothing() -> None:
    images = [image("0", slide="1", split="train"), image("0.copy", slide="1"), image("1", slide="1", split="train")]
    assert crossings(images, content) == []
    assert_disjoint(images, content)


def test_the_same_number_in_another_source_is_another_slide() -> None:
    assert crossings([image("0", slide="1", split="train"), image("1", "x", "1", "t", "val")], content) == []


def test_the_contents_are_read_where_no_hashes_are_given(tmp_path: Path) -> None:
    for name in "ab":
        (tmp_path / name).write_text("the same")
    with pytest.raises(SplitError, match="the same image"):
        assert_disjoint([image(str(tmp_path / "a"), split="train"), image(str(tmp_path / "b"), split="val")])


@pytest.mark.parametrize(("validation", "test"), [(0.0, 0.0), (1.0, 0.0), (0.2, -0.1), (0.6, 0.4), (0.2, 1.5)])
@pytest.mark.parametrize("by", list(By))
def test_impossible_shares_are_refused(by: By, validation: float, test: float) -> None:
    with pytest.raises(SplitError, match="between 0 and 1"):
        split([], by, validation, 1, content, test)


def test_more_than_half_cannot_be_held_out_by_slide() -> None:
    with pytest.raises(SplitError, match="at most one half"):
        by_slide([image(f"{n}", slide=f"{n}") for n in range(9)], 0.8, 1, content)


@given(TANGLED, st.sampled_from(list(By)), st.integers(0, 3), st.floats(0.1, 0.9), st.randoms())
@settings(max_examples=100, deadline=None)
def test_released_validation_images_train_and_nothing_else_moves_or_is_torn(
    images: list[LabelledImage], by: By, seed: int, share: float, random: Random
) -> None:
    try:
        before = split(images, by, 0.4, seed, content, 0.2)
        after = release_validation(before, share, seed, content)
    except SplitError:
        return
    assert_disjoint(after, content, slides=by is By.SLIDE)
    moved = {(i.split, j.split) for i, j in zip(before, after, strict=True) if i != j}
    assert moved == {("val", "train")}
    assert [i.path for i in after] == [i.path for i in before]
    shuffled = random.sample(before, len(before))
    again = release_validation(shuffled, share, seed, content)
    assert {i.path: i.split for i in again} == {i.path: i.split for i in after}


def test_the_share_is_released_of_each_class_and_source_and_by_the_seed() -> None:
    images = [
        image(f"{label}-{source}-{number}", label, source=source, split="val")
        for label, source, count in [("Lymphocyte", "a", 10), ("Lymphocyte", "b", 4), ("Monocyte", "a", 7)]
        for number in range(count)
    ]
    first, second = (release_validation(images, 0.5, seed, content) for seed in (1, 2))
    assert Counter((i.label, i.source) for i in first if i.split == "train") == {
        ("Lymphocyte", "a"): 5,
        ("Lymphocyte", "b"): 2,
        ("Monocyte", "a"): 4,
    }
    assert first != second


@pytest.mark.parametrize(("share", "count"), [(0.1, 4), (0.9, 4), (0.5, 0)])
def test_a_share_that_moves_nothing_or_everything_is_refused(share: float, count: int) -> None:
    images = [image(str(number), split="val") for number in range(count)]
    with pytest.raises(SplitError, match=f"of {count} validation images cannot be moved"):
        release_validation(images, share, 0, content)


def test_by_slide_is_recommended_where_a_slide_or_patient_is_known() -> None:
    assert recommended([image("0"), image("1", slide="1", split="train")]) is By.IMAGE
    assert recommended([image("0"), image("1", slide="1")]) is By.SLIDE
    assert recommended([image("0"), image("1", patient="p")]) is By.SLIDE
    assert recommended([image("0", slide="1"), image("1", slide="1")]) is By.IMAGE, "one slide cannot be split by slide"
