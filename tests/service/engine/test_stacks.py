import numpy as np
import pytest
from numpy.typing import NDArray

from service.engine.thread import Stacks


def images(count: int, first: int = 0) -> list[NDArray[np.uint8]]:
    return [np.full((4, 5, 3), first + place, np.uint8) for place in range(count)]


@pytest.mark.parametrize("count", [1, 3, 8, 11])
def test_a_stack_is_the_images_one_behind_the_other_also_above_the_usual_most(count: int) -> None:
    np.testing.assert_array_equal(Stacks().take(images(count), 8), np.stack(images(count)))


def test_an_image_that_does_not_lie_in_memory_as_it_is_read_is_stacked_all_the_same() -> None:
    turned = np.arange(60, dtype=np.uint8).reshape(5, 4, 3).transpose(1, 0, 2)
    np.testing.assert_array_equal(Stacks().take([turned, turned], 2), np.stack([turned, turned]))


def test_memory_is_used_again_when_it_was_given_back_and_never_before() -> None:
    stacks = Stacks()
    first = stacks.take(images(8), 8)
    second = stacks.take(images(8, first=100), 8)
    np.testing.assert_array_equal(first, np.stack(images(8)))
    stacks.give_back(first)
    third = stacks.take(images(2, first=50), 8)
    assert np.shares_memory(third, first)
    assert not np.shares_memory(third, second)
    np.testing.assert_array_equal(third, np.stack(images(2, first=50)))


def test_images_of_different_shapes_are_refused() -> None:
    with pytest.raises(ValueError, match="different"):
        Stacks().take([np.zeros((4, 5, 3), np.uint8), np.zeros((2, 5, 3), np.uint8)], 2)
