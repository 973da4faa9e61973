"""Accuracies of several networks side by side, with intervals and the thesis's own figures."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from training.evaluation.figures.palette import COLOURS, HEADING, SMALL, TEXT, figure, save, tidy
from training.evaluation.results import Proportion


@dataclass(frozen=True, slots=True)
class Bar:
    """An accuracy of a network; ``thesis`` is what the thesis reports for it, on its own images."""

    network: str
    series: str
    accuracy: Proportion
    thesis: float | None


def draw_accuracy_bars(bars: Sequence[Bar], folder: Path) -> Path:
    """Horizontal bars from 0 to 1 with Wilson 95 % intervals, a group a network and a colour a series."""
    networks = list(dict.fromkeys(bar.network for bar in bars))
    series = list(dict.fromkeys(bar.series for bar in bars))
    drawn = figure(1.1 + len(networks) * (0.22 + 0.24 * len(series)))
    axes = drawn.add_subplot()
    thickness = 0.8 / len(series)
    labels = {"thesis": "the thesis, on its own images"} | {each: each for each in series}
    for bar in bars:
        position, accuracy = series.index(bar.series), bar.accuracy
        height = networks.index(bar.network) + (position - (len(series) - 1) / 2) * thickness
        reach = np.abs(np.array([accuracy.interval95]).T - accuracy.value)
        colour, label = COLOURS[(0, 4, 2, 5)[position % 4]], labels.pop(bar.series, None)
        axes.barh(height, accuracy.value, thickness * 0.9, color=colour, alpha=0.85, label=label)
        axes.errorbar(accuracy.value, height, xerr=reach, fmt="none", ecolor="black", elinewidth=0.9, capsize=2)
        end = max(accuracy.interval95[1], bar.thesis or 0)
        axes.text(end + 0.015, height, f"{accuracy.value:.3f}", va="center", fontsize=SMALL)
        if bar.thesis is not None:
            label = labels.pop("thesis", None)
            axes.plot(bar.thesis, height, "D", color="white", markeredgecolor="black", markersize=4.5, label=label)
    axes.set_yticks(range(len(networks)), networks, fontsize=TEXT)
    axes.invert_yaxis()
    axes.set_xlim(0, 1.09)
    axes.set_xticks(np.linspace(0, 1, 6))
    axes.set_xlabel("Accuracy, 95 % interval (Wilson)", fontsize=TEXT)
    tidy(axes, "x")
    axes.set_title("Accuracy", fontsize=HEADING)
    drawn.legend(loc="outside lower center", ncols=4, fontsize=SMALL, frameon=False)
    rows = (
        (bar.network, bar.series, bar.accuracy.hits, bar.accuracy.images, *bar.accuracy.interval95, bar.thesis)
        for bar in bars
    )
    return save(drawn, folder, "accuracy", ("network", "images of", "right", "images", "low", "high", "thesis"), rows)
