"""How often :class:`contract.slide.SlideRule` follows slides up, computed exactly: a figure and a table.

A slide of ``cells`` white cells of which each is hairy with probability ``prevalence`` has a binomial number of flags,
at the rate ``prevalence * sensitivity + (1 - prevalence) * false flags``. The rule itself is asked about every number
of flags that can occur; nothing is drawn at random.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from functools import cache
from itertools import product
from pathlib import Path
from typing import Any, Final

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import PercentFormatter
from scipy import stats

from contract.slide import Advice, SlideRule, advise, count_flags
from training.evaluation.figures.palette import GREY, HEADING, SMALL, figure, line_style, save

CELLS: Final = (100, 200, 400, 600, 1000)
PREVALENCES: Final = (0.0, 0.0025, 0.005, 0.01, 0.015, 0.02, 0.03, 0.04, 0.05, 0.06, 0.08, 0.10)
RATES: Final = (0.0002, 0.002, 0.005, 0.01)
SENSITIVITIES: Final = (0.5, 0.8, 0.95)
SPREADS: Final = (0.0, 0.002, 0.005, 0.01)
_DPI: Final = 150


@dataclass(frozen=True, slots=True)
class Setting:
    """A laboratory and its network.

    Attributes:
        false_flag_rate: true rate at which a cell that is not hairy is flagged, averaged over slides.
        stated_rate: the rate that the test is made against; it should not be below the true one.
        sensitivity: rate at which a hairy cell is flagged.
        spread: how much the rate of false flags differs between slides: the correlation of two cells of one slide
            (0: every slide alike; the beta-binomial's intraclass correlation).
    """

    false_flag_rate: float
    stated_rate: float
    sensitivity: float = 0.8
    spread: float = 0.0


@cache
def fewest_hits(rule: SlideRule, cells: int, stated_rate: float) -> int:
    """The smallest number of flags on ``cells`` white cells that is followed up; ``cells + 1`` if none is."""
    for hits in range(rule.min_hits, cells + 1):
        if advise(count_flags(hits, cells, stated_rate, ""), rule) is Advice.FOLLOW_UP:
            return hits
    return cells + 1


def followed_up(rule: SlideRule, setting: Setting, cells: int, prevalence: float) -> float:
    """Share of the slides of ``cells`` white cells that are followed up, ``prevalence`` of their cells being hairy.

    The others get ``no indication`` from :attr:`contract.slide.SlideRule.min_cells` on, else ``too few cells``.
    """
    return at_least(fewest_hits(rule, cells, setting.stated_rate), cells, prevalence, setting)


def at_least(hits: int, cells: int, prevalence: float, setting: Setting) -> float:
    """Probability of ``hits`` flags or more."""
    if not setting.spread:
        rate = prevalence * setting.sensitivity + (1 - prevalence) * setting.false_flag_rate
        return float(stats.binom.sf(hits - 1, cells, rate))
    # The false flags are beta-binomial, the true ones binomial; hairy cells are few, so all cells may be wrong.
    total = 1 / setting.spread - 1
    alpha, beta = setting.false_flag_rate * total, (1 - setting.false_flag_rate) * total
    true_hits = np.arange(hits)
    true_share = stats.binom.pmf(true_hits, cells, prevalence * setting.sensitivity)
    false_rest = stats.betabinom.sf(hits - 1 - true_hits, cells, alpha, beta)
    more_true = stats.binom.sf(hits - 1, cells, prevalence * setting.sensitivity)
    return float((true_share * false_rest).sum() + more_true)


def write(rule: SlideRule, folder: Path) -> tuple[Path, Path]:
    """``slide-rule.png`` and ``slide-rule.csv`` in ``folder``."""
    columns = ("false_flag_rate", "sensitivity", "cells", "fewest_flags", "prevalence", "followed_up", "no_indication")
    picture = save(_figure(rule), folder, "slide-rule", columns, _rows(rule), _DPI)
    return picture, picture.with_suffix(".csv")


def _rows(rule: SlideRule) -> Iterable[tuple[Any, ...]]:
    for rate, sensitivity, cells, prevalence in product(RATES, SENSITIVITIES, CELLS, PREVALENCES):
        share = followed_up(rule, Setting(rate, rate, sensitivity), cells, prevalence)
        negative = 1 - share if cells >= rule.min_cells else 0.0
        fewest = fewest_hits(rule, cells, rate)
        yield rate, sensitivity, cells, fewest, prevalence, f"{share:.6f}", f"{negative:.6f}"


def _figure(rule: SlideRule) -> Figure:
    """By cells, by rate of false flags and by sensitivity; and slides without a single hairy cell."""
    drawn = figure(7.2, 9.0)
    by_hairy_cells = {
        "False flags 0.2 %, sensitivity 80 %": [(f"{cells} cells", Setting(0.002, 0.002), cells) for cells in CELLS],
        "200 cells, sensitivity 80 %, by rate of false flags": [
            (f"{100 * rate:g} % (from {fewest_hits(rule, 200, rate)} flags on)", Setting(rate, rate), 200)
            for rate in RATES
        ],
        "200 cells, false flags 0.2 %, by sensitivity": [
            (f"{100 * sensitivity:g} %", Setting(0.002, 0.002, sensitivity), 200) for sensitivity in SENSITIVITIES
        ],
    }
    prevalences = np.linspace(0, 0.1, 101).tolist()
    *panels, negative = drawn.subplots(2, 2).flat
    for axes, (title, lines) in zip(panels, by_hairy_cells.items(), strict=True):
        for position, (label, setting, cells) in enumerate(lines):
            values = [followed_up(rule, setting, cells, prevalence) for prevalence in prevalences]
            axes.plot(prevalences, values, **line_style(position), label=label)
        axes.xaxis.set_major_formatter(PercentFormatter(1, decimals=0))
        axes.set_ylim(-0.02, 1.02)
        _label(axes, title, "hairy cells among the white cells of the slide", "slides that are followed up")
    sizes = range(50, 1001, 25)
    for position, spread in enumerate(SPREADS):
        setting = Setting(0.002, 0.002, spread=spread)
        values = [followed_up(rule, setting, cells, 0.0) for cells in sizes]
        label = "slides alike" if not spread else f"slides differ, rho = {spread:g}"
        negative.plot(sizes, values, **line_style(position), label=label)
    negative.axhline(rule.significance, color=GREY, linewidth=0.8, zorder=0)
    negative.set_ylim(0, None)
    title = "No hairy cell on the slide, false flags 0.2 % on average"
    _label(negative, title, "white cells on the slide", "slides that are followed up for nothing")
    return drawn


def _label(axes: Axes, title: str, x: str, y: str) -> None:
    axes.set_title(title, fontsize=HEADING)
    axes.set_xlabel(x, fontsize=SMALL)
    axes.set_ylabel(y, fontsize=SMALL)
    axes.yaxis.set_major_formatter(PercentFormatter(1, decimals=0))
    axes.legend(fontsize=SMALL, frameon=False, handlelength=3.5)
    axes.tick_params(labelsize=SMALL)
    axes.spines[["top", "right"]].set_visible(False)
