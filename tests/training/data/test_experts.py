"""The agreement rule of thesis section 4.1.2."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from contract.classes import CLASS_NAMES
from training.data.experts import agree

LABELS = st.sampled_from(CLASS_NAMES[:3])
ENTRIES = st.lists(st.one_of(st.just(""), LABELS), max_size=5)


@settings(deadline=None)
@given(ENTRIES, st.sampled_from(["train", "val", "test", ""]))
def test_an_image_is_used_just_when_enough_experts_labelled_it_and_all_agree(entries: list[str], split: str) -> None:
    found = agree("", "|".join(entries), split)
    votes = [entry for entry in entries if entry]
    enough = len(votes) >= (2 if split == "test" else 1)
    if enough and votes.count(votes[0]) == len(votes):
        assert (found.label, found.reason) == (votes[0], "")
    else:
        assert found.label == ""
        assert found.reason


@pytest.mark.parametrize(
    ("label", "cell", "split", "reason"),
    [
        ("", "Lymphocyte|Monocyte|Lymphocyte", "train", "the experts disagree: Lymphocyte, Monocyte"),
        ("", "Lymphocyte|", "test", "1 expert labelled it, a test image needs 2"),
        ("Lymphocyte", "", "test", "1 expert labelled it, a test image needs 2"),
        ("", "||", "val", "no expert labelled it, a val image needs 1"),
        ("Lymphocyte", "", "train", ""),
        ("", " Lymphocyte | Lymphocyte ", "test", ""),
    ],
)
def test_the_reason_says_what_was_missing(label: str, cell: str, split: str, reason: str) -> None:
    assert agree(label, cell, split).reason == reason
