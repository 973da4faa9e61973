"""The sets A to D of thesis Table 4.11."""

from pathlib import Path

from hypothesis import given, settings
from hypothesis import strategies as st

from training.data.manifest import LabelledImage
from training.data.sets import set_of


def image(label: str, source: str, look_alike: str = "") -> LabelledImage:
    return LabelledImage(Path("x"), label, "", source, "train", {"look_alike": look_alike} if look_alike else {})


def test_the_thesis_s_own_databases() -> None:
    images = [
        image("Hairy cell", "hairy_db"),
        image("Lymphocyte", "WBCTrain"),
        image("Smudge cell", "hairy_db"),
        image("Abnormal lymphocyte", "WBCTest", "seen by both authors"),
    ]
    assert set_of(images) == ["A", "B", "C", "D"]


def test_look_alikes_make_no_source_a_hairy_one() -> None:
    images = [image("Hairy cell", "WBCTrain", "yes"), image("Lymphocyte", "WBCTrain", " ")]
    assert set_of(images) == ["D", "B"]


ROWS = st.builds(
    image, st.sampled_from(["Hairy cell", "Lymphocyte", "Basophil"]), st.sampled_from("xyz"), st.sampled_from(["", "1"])
)


@settings(deadline=None)
@given(st.lists(ROWS))
def test_every_image_is_in_the_set_that_the_definitions_give(images: list[LabelledImage]) -> None:
    for one, name in zip(images, set_of(images), strict=True):
        neighbours = [i for i in images if i.source == one.source and not i.extra]
        expected = {
            "A": one.label == "Hairy cell" and not one.extra,
            "B": not one.extra and all(i.label != "Hairy cell" for i in neighbours),
            "C": not one.extra and one.label != "Hairy cell" and any(i.label == "Hairy cell" for i in neighbours),
            "D": bool(one.extra),
        }
        assert [key for key, holds in expected.items() if holds] == [name]
