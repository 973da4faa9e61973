"""Which images make up which batch."""

from collections import Counter

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from training.data.sampling import (
    REPETITION_CAP,
    BalanceError,
    balance_problem,
    epoch_batches,
    epoch_size,
    largest_balance,
)

LABELS = np.repeat([0, 1, 2, 3], [200, 100, 95, 5])


def test_a_shuffled_epoch_shows_every_image_once() -> None:
    batches = epoch_batches(LABELS, 16, None, (1, 2, 3))
    assert sorted(np.concatenate(batches)) == list(range(len(LABELS)))
    assert {len(batch) for batch in batches[:-1]} == {16}


def test_a_balanced_batch_holds_equally_many_of_its_classes() -> None:
    for batch in epoch_batches(LABELS, 16, 2, (1,)):
        assert sorted(Counter(LABELS[batch].tolist()).values()) == [8, 8]
        assert len(set(batch[LABELS[batch] != 3].tolist())) == (LABELS[batch] != 3).sum()


@given(
    sizes=st.lists(st.integers(1, 60), min_size=2, max_size=12),
    batch_size=st.integers(2, 48),
    seed=st.integers(0, 2**32),
)
def test_no_image_is_shown_more_often_than_the_cap_in_any_balance_that_is_not_refused(
    sizes: list[int], batch_size: int, seed: int
) -> None:
    labels = np.repeat(np.arange(len(sizes)), sizes)
    for classes in range(2, len(sizes) + 1):
        if balance_problem(sizes, batch_size, classes) is None:
            batches = epoch_batches(labels, batch_size, classes, (seed,))
            assert sum(map(len, batches)) == epoch_size(len(labels), batch_size, classes)
            for batch in batches:
                assert [*Counter(labels[batch].tolist()).values()] == [batch_size // classes] * classes
            assert np.bincount(np.concatenate(batches)).max() <= REPETITION_CAP


def test_a_class_too_small_to_be_in_nearly_every_batch_is_refused_and_what_works_is_known() -> None:
    sizes = [500, 500, 500, 10]
    problem = balance_problem(sizes, 16, 4)
    assert problem is not None
    assert "4 of 4 classes" in problem
    assert "the smallest class, which has 10, more than 4 times an epoch" in problem
    assert largest_balance(sizes, 16) == 2
    assert largest_balance([240] * 12 + [12], 16) == 8
    assert balance_problem([500, 500, 1], 16, 2) is not None


def test_repetition_of_a_rare_class_is_capped() -> None:
    drawn = np.concatenate(epoch_batches(LABELS, 16, 2, (1,)))
    assert Counter(LABELS[drawn].tolist()) == {0: 128, 1: 128, 2: 128, 3: 16}
    counts = np.bincount(drawn, minlength=len(LABELS))
    assert counts[LABELS == 3].max() == REPETITION_CAP


@pytest.mark.parametrize("classes", [None, 2])
def test_the_size_of_an_epoch_is_known_beforehand(classes: int | None) -> None:
    shown = sum(map(len, epoch_batches(LABELS[:-3], 16, classes, (1,))))
    assert epoch_size(len(LABELS) - 3, 16, classes) == shown


def test_the_same_seed_gives_the_same_batches_and_another_epoch_others() -> None:
    first, again, other = (np.concatenate(epoch_batches(LABELS, 16, 2, (7, 1, e))) for e in (0, 0, 1))
    np.testing.assert_array_equal(first, again)
    assert not np.array_equal(first, other)


@pytest.mark.parametrize(("batch_size", "classes"), [(16, 3), (16, 8)])
def test_impossible_balances_are_refused(batch_size: int, classes: int) -> None:
    with pytest.raises(BalanceError, match="classes_per_batch"):
        epoch_batches(LABELS, batch_size, classes, (1,))
