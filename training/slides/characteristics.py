"""Operating characteristics of :class:`contract.slide.SlideRule`, computed exactly.

A slide of ``cells`` white cells of which each is hairy with probability ``prevalence`` has a binomial number of flags,
at the rate ``prevalence * sensitivity + (1 - prevalence) * false flags``. The rule itself is asked about every number
of flags that can occur; nothing is drawn at random.
"""

from dataclasses import dataclass
from functools import cache

import numpy as np
from scipy import stats

from contract.slide import Advice, SlideRule, advise, count_flags


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


@dataclass(frozen=True, slots=True)
class Characteristics:
    """Shares of slides that get each advice; they sum to 1."""

    follow_up: float
    no_indication: float
    too_few_cells: float


@cache
def fewest_hits(rule: SlideRule, cells: int, stated_rate: float) -> int:
    """The smallest number of flags on ``cells`` white cells that is followed up; ``cells + 1`` if none is."""
    for hits in range(rule.min_hits, cells + 1):
        if advise(count_flags(hits, cells, stated_rate, ""), rule) is Advice.FOLLOW_UP:
            return hits
    return cells + 1


def characteristics(rule: SlideRule, setting: Setting, cells: int, prevalence: float) -> Characteristics:
    """What happens to slides of ``cells`` white cells, a share ``prevalence`` of them hairy in the long run."""
    least = fewest_hits(rule, cells, setting.stated_rate)
    follow_up = float(at_least(least, cells, prevalence, setting))
    rest = 1 - follow_up
    enough = cells >= rule.min_cells
    return Characteristics(follow_up, rest if enough else 0.0, 0.0 if enough else rest)


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
