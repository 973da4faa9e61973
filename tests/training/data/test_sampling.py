"""Which images make up which batch."""

from collections import Counter

import numpy as np
import pytest

from training.data.sampling import REPETITION_CAP, BalanceError, epoch_batches, epoch_size

LABELS = np.repeat([0, 1, 2, 3], [200, 100, 95, 5])


def test_a_shuffled_epoch_shows_every_image_once() -> None:
    batches = epoch_batches(LABELS, 16, None, (1, 2, 3))
    assert sorted(np.concatenate(batches)) == list(range(len(LABELS)))
    assert {len(batch) for batch in batches[:-1]} == {16}


def test_a_balanced_batch_holds_equally_many_of_its_classes() -> None:
    for batch in epoch_batches(LABELS, 16, 2, (1,)):
        assert sorted(Counter(LABELS[batch].tolist()).values()) == [8, 8]
        assert len(set(batch[LABELS[batch] != 3].tolist())) == (LABELS[batch] != 3).sum()


def test_repetition_of_a_rare_class_is_capped() -> None:
    drawn = np.concatenate([np.concatenate(epoch_batches(LABELS, 16, 2, (1, epoch))) for epoch in range(50)])
    counts = Counter(LABELS[drawn].tolist())
    assert counts[3] / 50 / 5 < 2 * REPETITION_CAP
    assert counts[3] < 0.4 * counts[0]


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
