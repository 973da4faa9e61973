"""Exclusion lists and the cap on a class."""

from collections import Counter
from pathlib import Path
from random import Random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from contract.bundle import sha256_of
from training.data.manifest import LabelledImage, ManifestError
from training.data.selection import exclude, limit, read_exclusions


def content(path: Path) -> str:
    return f"hash of {path.name}"


def image(name: str, label: str = "Lymphocyte", source: str = "s", split: str = "train") -> LabelledImage:
    return LabelledImage(Path(name), label, "", source, split)


IMAGES = st.lists(
    st.tuples(
        st.sampled_from(["Lymphocyte", "Monocyte"]),
        st.sampled_from("ab"),
        st.sampled_from(["train", "val", "test", ""]),
    ),
    max_size=30,
).map(lambda rows: [image(f"{index}.png", *row) for index, row in enumerate(rows)])


@settings(deadline=None)
@given(IMAGES, st.integers(1, 6), st.integers(0, 3))
def test_the_cap_holds_for_each_class_and_source_and_takes_no_more_than_it_must(
    images: list[LabelledImage], cap: int, seed: int
) -> None:
    found = limit(images, cap, seed, content)
    strata = Counter((i.label, i.source) for i in images if i.split != "test")
    kept = Counter((i.label, i.source) for i in found.images if i.split != "test")
    assert kept == {key: min(cap, count) for key, count in strata.items()}
    assert [i for i in images if i.split == "test"] == [i for i in found.images if i.split == "test"]
    assert sorted(map(repr, images)) == sorted(map(repr, [*found.images, *(d.image for d in found.dropped)]))


@settings(deadline=None)
@given(IMAGES, st.integers(1, 6), st.randoms())
def test_the_cap_s_choice_does_not_depend_on_the_order(images: list[LabelledImage], cap: int, random: Random) -> None:
    shuffled = list(images)
    random.shuffle(shuffled)
    assert {i.path for i in limit(images, cap, 1, content).images} == {
        i.path for i in limit(shuffled, cap, 1, content).images
    }


def test_the_cap_s_choice_is_random_and_does_not_depend_on_other_classes() -> None:
    images = [image(f"{i}.png") for i in range(40)]
    others = [image(f"m{i}.png", "Monocyte") for i in range(9)]

    def chosen(seed: int, more: list[LabelledImage]) -> set[Path]:
        return {i.path for i in limit([*images, *more], 10, seed, content).images if i.label == "Lymphocyte"}

    assert chosen(1, []) == chosen(1, others)
    assert chosen(1, []) != chosen(2, [])


def test_an_image_is_excluded_by_name_by_path_by_the_end_of_its_path_and_by_content(tmp_path: Path) -> None:
    paths = [tmp_path / "slide-1" / "a.png", tmp_path / "slide-2" / "a.png", tmp_path / "b.png", tmp_path / "c.png"]
    for index, path in enumerate(paths):
        path.parent.mkdir(exist_ok=True)
        path.write_text(f"content {index}")
    images = [image(str(path)) for path in paths]

    def left(*entries: str) -> list[int]:
        return [images.index(i) for i in exclude(images, entries, sha256_of).images]

    assert left("a.png") == [2, 3]
    assert left("slide-2/a.png") == [0, 2, 3]
    assert left(str(paths[2])) == [0, 1, 3]
    assert left(sha256_of(paths[3]).upper()) == [0, 1, 2]
    assert left("2/a.png", "ng") == [0, 1, 2, 3]
    assert exclude(images, ["b.png", "d.png"], sha256_of).unmatched == ("d.png",)


def test_a_list_is_read_without_comments_and_all_unreadable_lists_are_named(tmp_path: Path) -> None:
    (tmp_path / "list.txt").write_text("# doubtful\n a.png \n\nb.png\na.png\n")
    assert read_exclusions([tmp_path / "list.txt"]) == ("a.png", "b.png")
    with pytest.raises(ManifestError) as caught:
        read_exclusions([tmp_path / "none.txt", tmp_path])
    assert len(caught.value.problems) == 2
