"""SciPy is the oracle, which the service does not carry. Tails are summed exactly: SciPy's are wrong near 1e-284."""

import math
from decimal import Decimal, localcontext

import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from scipy import stats

from contract.binomial import clopper_pearson, log_probabilities, upper_tail

trials = st.integers(1, 5000)


@st.composite
def counts(draw: st.DrawFn) -> tuple[int, int]:
    of = draw(trials)
    return draw(st.integers(0, of)), of


def exact_tail(hits: int, trials: int, rate: float) -> float:
    with localcontext() as context:
        context.prec = 50
        p = Decimal(rate)
        term = total = math.comb(trials, hits) * p**hits * (1 - p) ** (trials - hits)
        for k in range(hits, trials):
            term *= (trials - k) * p / ((k + 1) * (1 - p))
            total += term
        return float(total)


@given(counts(), st.floats(0, 1, exclude_min=True, exclude_max=True))
@example((3, 1000), 0.00022)
@example((40, 200), 0.002)
@example((1980, 2017), 0.6697362412857846)
def test_the_upper_tail_is_that_of_the_binomial_test(count: tuple[int, int], rate: float) -> None:
    hits, of = count
    assert upper_tail(hits, of, rate) == pytest.approx(exact_tail(hits, of, rate), rel=1e-9, abs=1e-300)


def test_the_upper_tail_of_certain_events() -> None:
    assert (upper_tail(0, 1, 0.0), upper_tail(1, 1, 0.0), upper_tail(1, 1, 1.0)) == (1, 0, 1)


@given(counts(), st.sampled_from([0.8, 0.95, 0.99, 0.9999]))
@example((0, 1), 0.95)
@example((1, 1), 0.95)
@example((1437, 1453), 0.95)
def test_the_interval_is_that_of_clopper_and_pearson(count: tuple[int, int], confidence: float) -> None:
    hits, of = count
    tail = (1 - confidence) / 2
    # Quantiles of the beta distribution; binomtest's own interval is found by bisection to some 1e-11 only.
    expected_low = stats.beta.ppf(tail, hits, of - hits + 1) if hits else 0
    expected_high = stats.beta.isf(tail, hits + 1, of - hits) if hits < of else 1
    low, high = clopper_pearson(hits, of, confidence)
    assert (low, high) == (pytest.approx(expected_low, abs=1e-12), pytest.approx(expected_high, abs=1e-12))
    assert low <= hits / of <= high


def test_the_thesis_s_recall_has_its_known_interval() -> None:
    assert clopper_pearson(1437, 1453) == (pytest.approx(0.982, abs=5e-4), pytest.approx(0.993, abs=1e-3))


@given(counts(), st.floats(1e-6, 1 - 1e-6))
def test_probabilities_are_those_of_the_binomial_distribution(count: tuple[int, int], rate: float) -> None:
    first, of = count
    hits = np.arange(first, min(of, first + 40) + 1)
    expected = stats.binom.logpmf(hits, of, rate)
    assert log_probabilities(of, rate, hits) == pytest.approx(expected, rel=1e-9, abs=1e-8)


@pytest.mark.parametrize(("hits", "of", "rate"), [(-1, 5, 0.1), (6, 5, 0.1), (1, 5, 1.1), (1, 5, -0.1)])
def test_impossible_counts_and_rates_are_refused(hits: int, of: int, rate: float) -> None:
    with pytest.raises(ValueError, match="expected 0 to"):
        upper_tail(hits, of, rate)


def test_no_interval_of_no_trials() -> None:
    with pytest.raises(ValueError, match="0 trials"):
        clopper_pearson(0, 0)
