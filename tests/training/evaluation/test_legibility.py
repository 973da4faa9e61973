"""Drawn figures as a printer without colour and a reader see them. Oracle: the contrast of WCAG 2.2."""

from collections.abc import Callable
from itertools import combinations
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from matplotlib.colors import to_rgb
from matplotlib.figure import Figure
from numpy.typing import NDArray

from tests.training.evaluation.made import everyone
from training.evaluation.figures import confusion, palette

READABLE = 4.5
"""WCAG 2.2, success criterion 1.4.3: the least contrast of text."""


def contrast(one: Any, other: Any) -> float:
    low, high = sorted(luminance(np.array(to_rgb(each))) for each in (one, other))
    return (high + 0.05) / (low + 0.05)


def luminance(rgb: NDArray[np.float64]) -> float:
    linear = np.where(rgb <= 0.04045, rgb / 12.92, ((rgb + 0.055) / 1.055) ** 2.4)
    return float(linear @ [0.2126, 0.7152, 0.0722])


@pytest.fixture
def drawn(monkeypatch: pytest.MonkeyPatch) -> Callable[..., Figure]:
    """The figure that a function of ``confusion`` draws, instead of its file."""

    def draw(function: Callable[..., Any], *arguments: Any) -> Figure:
        kept: list[Figure] = []
        monkeypatch.setattr(confusion, "save", lambda figure, folder, *_: kept.append(figure) or folder)
        function(*arguments)
        (found,) = kept
        found.canvas.draw()
        return found

    return draw


def test_lines_and_points_are_told_without_their_colour() -> None:
    assert len({palette.point_style(index) for index in range(20)}) == 20
    lines = [palette.line_style(index) for index in range(5)]
    assert all(one["linestyle"] != other["linestyle"] for one, other in combinations(lines, 2))
    assert min(palette.SMALL, palette.TEXT, palette.HEADING) >= 7


def test_counts_can_be_read_on_every_shade_of_a_confusion_matrix(drawn: Callable[..., Figure], tmp_path: Path) -> None:
    matrix = np.zeros((20, 20), np.int64)
    for row in range(18):
        matrix[row, :2] = 3 * row + 1, 100 - 3 * row
        matrix[row, 2:4] = row // 2, 54 - row
    (axes, _) = drawn(confusion.draw_confusion, matrix, tmp_path, "confusion", "made").axes
    (shades,) = axes.get_images()
    grounds = shades.to_rgba(shades.get_array())
    assert len(axes.texts) == np.count_nonzero(matrix)
    for text in axes.texts:
        column, row = (round(place) for place in text.get_position())
        assert contrast(text.get_color(), grounds[row, column, :3]) >= READABLE
    labels = [*axes.get_yticklabels(), *axes.get_xticklabels()]
    assert len({label.get_color() for label in labels}) == 2
    assert min(contrast(label.get_color(), "white") for label in labels) >= READABLE


@pytest.mark.parametrize("draw", [confusion.draw_confusion, confusion.draw_lymphocytes])
def test_no_word_beside_a_confusion_matrix_is_cut_off(
    drawn: Callable[..., Figure], tmp_path: Path, draw: Callable[..., Any]
) -> None:
    figure = drawn(draw, everyone().evaluation.confusion * 1000, tmp_path, "confusion", "made")
    needed, width = figure.get_tightbbox(), figure.get_size_inches()[0]
    assert needed.x0 >= 0
    assert needed.x1 <= width
