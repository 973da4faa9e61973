"""Drawn figures as the colour-blind see them and as a printer without colour prints them.

Oracles: the matrices of Machado, Oliveira and Fernandes 2009 ("A Physiologically-based Model for Simulation of Color
Vision Deficiency", IEEE TVCG 15(6), severity 1.0), applied to linear light; CIE 1976 L*a*b*; WCAG 2.2's contrast.
"""

from collections.abc import Callable, Iterable
from itertools import combinations
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest
from matplotlib.axes import Axes
from matplotlib.collections import PathCollection
from matplotlib.colors import to_rgb, to_rgba
from matplotlib.container import BarContainer
from matplotlib.figure import Figure
from matplotlib.image import AxesImage
from matplotlib.lines import Line2D
from numpy.typing import NDArray

from contract.classes import CLASS_NAMES
from contract.slide import SlideRule
from tests.training.evaluation.made import everyone, image
from tests.training.evaluation.test_figures import STAGES
from training.evaluation.figures import (
    accuracy_bars,
    confusion,
    embedding_map,
    palette,
    reliability,
    slide_rule,
    training_curves,
)
from training.evaluation.figures.accuracy_bars import Bar
from training.evaluation.results import Proportion

VISIONS = {
    "ordinary": np.eye(3),
    "protanopia": np.array(
        [[0.152286, 1.052583, -0.204868], [0.114503, 0.786281, 0.099216], [-0.003882, -0.048116, 1.051998]]
    ),
    "deuteranopia": np.array(
        [[0.367322, 0.860646, -0.227968], [0.280085, 0.672501, 0.047413], [-0.011820, 0.042940, 0.968881]]
    ),
    "tritanopia": np.array(
        [[1.255528, -0.076749, -0.178779], [-0.078411, 0.930809, 0.147602], [0.004733, 0.691367, 0.303900]]
    ),
}
XYZ = np.array(
    [[0.4124564, 0.3575761, 0.1804375], [0.2126729, 0.7151522, 0.0721750], [0.0193339, 0.1191920, 0.9503041]]
)
"""Of linear sRGB (IEC 61966-2-1)."""
APART = 4 * 2.3
"""In L*a*b*, of which 2.3 is just noticed side by side (Mahy et al. 1994); marks are small and apart. In L* alone for
a printer without colour."""
READABLE = 4.5
"""WCAG 2.2, success criterion 1.4.3: the least contrast of text."""


def on_white(colour: Any, alpha: float | None = None) -> NDArray[np.float64]:
    *rgb, opacity = to_rgba(colour, alpha)
    return np.array(rgb) * opacity + 1 - opacity


def linear(rgb: NDArray[np.float64]) -> NDArray[np.float64]:
    return np.where(rgb <= 0.04045, rgb / 12.92, ((rgb + 0.055) / 1.055) ** 2.4)


def lab(rgb: NDArray[np.float64], vision: str = "ordinary") -> NDArray[np.float64]:
    relative = XYZ @ np.clip(VISIONS[vision] @ linear(rgb), 0, 1) / XYZ.sum(axis=1)
    x, y, z = np.where(relative > (6 / 29) ** 3, np.cbrt(relative), relative / (3 * (6 / 29) ** 2) + 4 / 29)
    return np.array([116 * y - 16, 500 * (x - y), 200 * (y - z)])


def distance(one: NDArray[np.float64], other: NDArray[np.float64], vision: str) -> float:
    return float(np.linalg.norm(lab(one, vision) - lab(other, vision)))


def contrast(one: NDArray[np.float64], other: NDArray[np.float64]) -> float:
    low, high = sorted(float(XYZ[1] @ linear(each)) for each in (one, other))
    return (high + 0.05) / (low + 0.05)


@pytest.fixture
def drawn(monkeypatch: pytest.MonkeyPatch) -> Callable[..., Figure]:
    """The figure that a function draws, instead of its file."""

    def draw(module: ModuleType, function: Callable[..., Any], *arguments: Any) -> Figure:
        kept: list[Figure] = []
        monkeypatch.setattr(module, "save", lambda figure, path, *_: kept.append(figure) or path)
        function(*arguments)
        (found,) = kept
        found.canvas.draw()
        return found

    return draw


Drawn = Callable[..., Figure]


def test_the_oracles_give_known_values() -> None:
    np.testing.assert_allclose(lab(np.array([1.0, 0, 0])), [53.24, 80.09, 67.20], atol=0.05)
    assert contrast(np.zeros(3), np.ones(3)) == pytest.approx(21)
    red, green = on_white("#b05a2e"), on_white("#7d7a2e")
    assert distance(red, green, "ordinary") > 3 * distance(red, green, "deuteranopia")


def the_map(drawn: Drawn, folder: Path, sources: int) -> Figure:
    generator = np.random.default_rng(0)
    rows = [image(CLASS_NAMES[index % 20], source=f"source {index % sources}") for index in range(140)]
    embeddings = generator.normal(size=(len(rows), 16)).astype(np.float32)
    return drawn(embedding_map, embedding_map.draw_embedding_map, embeddings, rows, folder, "map", "made", 1)


def clouds(axes: Axes) -> list[tuple[NDArray[np.float64], bytes]]:
    """Colour on white and shape of each class or source."""
    found = [each for each in axes.collections if isinstance(each, PathCollection)]
    return [(on_white(each.get_facecolor()[0]), each.get_paths()[0].vertices.tobytes()) for each in found]


@pytest.mark.parametrize("vision", VISIONS)
def test_classes_and_sources_in_a_map_differ_in_shape_or_colour(drawn: Drawn, tmp_path: Path, vision: str) -> None:
    left, right = (clouds(axes) for axes in the_map(drawn, tmp_path, sources=7).axes)
    assert (len(left), len(right)) == (20, 7)
    for points in (left, right):
        for (one, form), (other, other_form) in combinations(points, 2):
            assert form != other_form or distance(one, other, vision) >= APART


def test_sources_in_a_map_are_told_without_colour_and_classes_by_numbers(drawn: Drawn, tmp_path: Path) -> None:
    left, right = the_map(drawn, tmp_path, sources=7).axes
    for (one, form), (other, other_form) in combinations(clouds(right), 2):
        assert form != other_form or abs(lab(one)[0] - lab(other)[0]) >= APART
    assert {text.get_text() for text in left.texts} == {str(number) for number in range(1, 21)}


def figures_of_lines(drawn: Drawn, folder: Path) -> Iterable[Axes]:
    made = everyone()
    (folder / "history.csv").write_text(STAGES)
    arguments = (folder, "name", "made")
    yield from drawn(training_curves, training_curves.draw_training_curves, folder / "history.csv", *arguments).axes
    yield drawn(reliability, reliability.draw_reliability, made.evaluation, made.uncalibrated, *arguments).axes[0]
    yield from drawn(slide_rule, slide_rule.write, SlideRule(), folder).axes


def test_lines_of_one_figure_are_told_by_the_colour_blind_and_without_colour(drawn: Drawn, tmp_path: Path) -> None:
    compared = 0
    for axes in figures_of_lines(drawn, tmp_path):
        lines = [line for line in axes.lines if line.get_linestyle() != "None" and "_child" not in line.get_label()]
        for one, other in combinations(lines, 2):
            assert pattern(one) != pattern(other), (axes.get_title(), one.get_label(), other.get_label())
            for vision in VISIONS:
                assert distance(on_white(one.get_color()), on_white(other.get_color()), vision) >= APART
            compared += 1
    assert compared > 20


def pattern(line: Line2D) -> Any:
    return line._dash_pattern  # type: ignore[attr-defined] - the public getter calls every own pattern "--"


def test_bars_of_one_figure_are_told_by_the_colour_blind_and_without_colour(drawn: Drawn, tmp_path: Path) -> None:
    bars = [Bar("a network", series, Proportion(8, 10), None) for series in ("validation", "test")]
    (axes,) = drawn(accuracy_bars, accuracy_bars.draw_accuracy_bars, bars, tmp_path, "bars", "made").axes
    one, other = (
        on_white(each.patches[0].get_facecolor()) for each in axes.containers if isinstance(each, BarContainer)
    )
    assert min(distance(one, other, vision) for vision in VISIONS) >= APART
    assert abs(lab(one)[0] - lab(other)[0]) >= APART


def test_counts_can_be_read_on_every_shade_of_a_confusion_matrix(drawn: Drawn, tmp_path: Path) -> None:
    matrix = np.zeros((20, 20), np.int64)
    for row in range(18):
        matrix[row, :2] = 3 * row + 1, 100 - 3 * row
        matrix[row, 2:4] = row // 2, 54 - row
    figure = drawn(confusion, confusion.draw_confusion, matrix, tmp_path, "confusion", "made")
    (axes, _) = figure.axes
    (shades,) = (each for each in axes.get_images() if isinstance(each, AxesImage))
    grounds = shades.to_rgba(shades.get_array())
    assert len(axes.texts) == np.count_nonzero(matrix)
    for text in axes.texts:
        column, row = (round(place) for place in text.get_position())
        assert contrast(np.array(to_rgb(text.get_color())), grounds[row, column, :3]) >= READABLE
    labels = [*axes.get_yticklabels(), *axes.get_xticklabels()]
    assert len({label.get_color() for label in labels}) == 2
    assert min(contrast(on_white(label.get_color()), np.ones(3)) for label in labels) >= READABLE


def test_the_contrast_of_the_palette_is_the_oracles() -> None:
    for one, other in combinations(palette.COLOURS, 2):
        assert palette.contrast(to_rgb(one), to_rgb(other)) == pytest.approx(
            contrast(on_white(one), on_white(other)), 1e-3
        )


@pytest.mark.parametrize("draw", [confusion.draw_confusion, confusion.draw_lymphocytes])
def test_no_word_beside_a_confusion_matrix_is_cut_off(drawn: Drawn, tmp_path: Path, draw: Callable[..., Any]) -> None:
    figure = drawn(confusion, draw, everyone().evaluation.confusion * 1000, tmp_path, "confusion", "made")
    needed, width = figure.get_tightbbox(), figure.get_size_inches()[0]
    assert needed.x0 >= 0
    assert needed.x1 <= width
