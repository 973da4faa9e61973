"""McNemar's exact test by counting, and the refusal to compare what was measured on different images."""

from math import comb

import pytest

from tests.training.evaluation.made import image, predictions
from training.evaluation.mcnemar import mcnemar, require_same_images
from training.evaluation.results import EvaluationError

RIGHT, WRONG = "Lymphocyte", "Monocyte"


def two_sided(first: int, second: int) -> float:
    """All splits of the differing images that are at most as likely as the one seen, when each falls either way."""
    total = first + second
    ways = [comb(total, k) for k in range(total + 1)]
    return sum(way for way in ways if way <= ways[first]) / 2**total


@pytest.mark.parametrize(("only_first", "only_second"), [(0, 5), (8, 2), (6, 6), (1, 12), (0, 0)])
def test_the_p_value_is_that_of_counting(only_first: int, only_second: int) -> None:
    both = 20
    rows = [image(RIGHT) for _ in range(both + only_first + only_second)]
    a = predictions(rows, [RIGHT] * (both + only_first) + [WRONG] * only_second, "a")
    b = predictions(rows, [RIGHT] * both + [WRONG] * only_first + [RIGHT] * only_second, "b")
    found = mcnemar(a, b)
    assert (found.only_first_right, found.only_second_right) == (only_first, only_second)
    assert found.p_value == pytest.approx(two_sided(only_first, only_second))
    assert mcnemar(b, a).p_value == pytest.approx(found.p_value)


def test_the_order_of_the_images_does_not_matter() -> None:
    rows = [image(RIGHT) for _ in range(6)]
    said = [RIGHT, WRONG, RIGHT, RIGHT, WRONG, WRONG]
    found = mcnemar(predictions(rows, said, "a"), predictions(rows[::-1], said[::-1], "b"))
    assert found.only_first_right == found.only_second_right == 0


def test_different_images_and_labels_are_refused_with_what_differs() -> None:
    rows = [image(RIGHT) for _ in range(5)]
    other = [image(WRONG).__class__(rows[0].path, WRONG, "", "here", "test"), *rows[1:3], image(RIGHT)]
    with pytest.raises(EvaluationError) as caught:
        require_same_images([predictions(rows, [RIGHT] * 5, "a"), predictions(other, [RIGHT] * 4, "b")])
    message = str(caught.value)
    assert "b lacks 2 images of a's" in message
    assert "a lacks 1 images of b's" in message
    assert "another label" in message
    assert f"{rows[0].path.name}: 'Monocyte' and 'Lymphocyte'" in message
