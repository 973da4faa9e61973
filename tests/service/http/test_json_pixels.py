"""Pixels written as JSON, against the json module."""

import json
import tracemalloc
from typing import Any

import numpy as np
import pytest

from service.http import json_pixels
from service.http.json_pixels import PixelsError, read_pixels

SHAPE = (2, 3, 2, 3)


@pytest.mark.parametrize("piece", [4, 5, 7, 1 << 18])
@pytest.mark.parametrize("layout", [{}, {"separators": (",", ":")}, {"indent": 1}])
def test_every_way_of_writing_is_read(piece: int, layout: dict[str, Any], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(json_pixels, "_PIECE", piece)
    random = np.random.default_rng(5)
    for above in (10, 100, 256):
        pixels = random.integers(0, above, SHAPE, dtype=np.uint8)
        for data in (pixels.tolist(), pixels.ravel().tolist()):
            np.testing.assert_array_equal(read_pixels(json.dumps(data, **layout).encode(), SHAPE), pixels)


@pytest.mark.parametrize("number", [256, 999, 1000, 10**30, -1, 0.5, 1e2, True, None, "1", [], {}])
@pytest.mark.parametrize("place", [0, 7, 35])
def test_what_is_no_pixel_is_refused(number: Any, place: int) -> None:
    data: list[Any] = [200] * 36
    data[place] = number
    with pytest.raises(PixelsError):
        read_pixels(json.dumps(data).encode(), SHAPE)


@pytest.mark.parametrize("data", [[], 1, [1] * 35, [1] * 37, [[1] * 18, [1] * 18], [[1], *[1] * 35]])
def test_another_shape_is_refused(data: Any) -> None:
    with pytest.raises(PixelsError, match=r"expected 36|nested"):
        read_pixels(json.dumps(data).encode(), SHAPE)


def test_it_takes_little_more_memory_than_the_text() -> None:
    shape = (4, 256, 256, 3)
    text = json.dumps(np.full(shape, 123).tolist()).encode()
    tracemalloc.start()
    read_pixels(text, shape)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 2.5 * len(text), "as lists it was nine times the text"
