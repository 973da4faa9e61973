"""From samples to figures."""

import math

import numpy as np
import pytest

from bench.loadtest.figures import figures_of, percentile
from bench.loadtest.generator import NOT_SENT, OK, Run, Sample, due_times
from bench.loadtest.plan import Load
from bench.loadtest.server_side import Batches, parse_batches

METRICS = """# TYPE hal_batch_images histogram
hal_batch_images_bucket{le="1.0"} 4.0
hal_batch_images_bucket{le="2.0"} 4.0
hal_batch_images_bucket{le="4.0"} 9.0
hal_batch_images_bucket{le="+Inf"} 10.0
hal_batch_images_count 10.0
hal_batch_images_sum 31.0
"""


@pytest.mark.parametrize("count", [2, 3, 10, 99, 100, 101, 1000, 1001])
@pytest.mark.parametrize("percent", [50.0, 90.0, 95.0, 99.0, 99.9])
def test_a_percentile_is_the_smallest_value_that_enough_values_do_not_exceed(count: int, percent: float) -> None:
    values = np.random.default_rng(count).exponential(size=count)
    found = percentile(values, percent)
    if found is None:
        assert count * (1 - percent / 100) < 1
    else:
        enough = [value for value in values if np.mean(values <= value) >= percent / 100 - 1e-12]
        assert found == min(enough)


def test_poisson_arrivals_have_their_rate_and_exponential_gaps() -> None:
    load = Load(rate=1000, duration_s=20, warmup_s=1)
    due = list(due_times(load))
    gaps = np.diff(due)
    assert due == sorted(due)
    assert -1 < due[0] < -0.9
    assert due[-1] < 20
    assert len(due) == pytest.approx(21000, rel=0.03)
    assert gaps.std() == pytest.approx(gaps.mean(), rel=0.05), "as of an exponential distribution"
    assert due == list(due_times(load)), "a schedule that can be had again"
    assert due != list(due_times(Load(rate=1000, duration_s=20, warmup_s=1, seed=2)))


def test_even_arrivals_have_equal_gaps() -> None:
    due = list(due_times(Load(rate=10, duration_s=1, warmup_s=0, even=True)))
    assert np.diff(due) == pytest.approx([0.1] * (len(due) - 1))


def test_latency_counts_from_when_a_request_was_due_and_the_warm_up_does_not_count() -> None:
    samples = [
        Sample(due=-0.5, sent=-0.5, ended=9.0, outcome=OK, images=1),
        Sample(due=0.0, sent=1.0, ended=1.5, outcome=OK, images=4),
        Sample(due=1.0, sent=1.0, ended=1.2, outcome=OK, images=4),
        Sample(due=1.5, sent=1.5, ended=2.5, outcome=OK, images=4),
        Sample(due=1.9, sent=1.9, ended=1.9, outcome="429 queue_full", images=4),
    ]
    found = figures_of(Run(Load(rate=2, duration_s=2), samples))
    assert found.slowest_ms == pytest.approx(1500)
    assert found.mean_ms == pytest.approx((1500 + 200 + 1000) / 3)
    assert found.latency_ms[50.0] == pytest.approx(1000)
    assert found.latency_ms[99.0] is None, "of three"
    assert (found.offered, found.requests_s, found.images_s) == (2.0, 1.0, 4.0)
    assert found.outcomes == {OK: 3, "429 queue_full": 1}
    assert found.errors == 1
    assert found.late_ms > 900
    assert found.fell_behind


def test_requests_that_were_not_sent_are_told() -> None:
    samples = [Sample(0.1 * i, 0.1 * i, 0.1 * i, NOT_SENT, 0) for i in range(5)]
    found = figures_of(Run(Load(rate=10, duration_s=1), samples))
    assert (found.not_sent, found.errors, found.mean_ms, found.fell_behind) == (5, 5, None, True)


def test_batches_are_read_from_the_service_s_metrics() -> None:
    found = parse_batches(METRICS)
    assert isinstance(found, Batches)
    assert found == Batches(10, 31, {1: 4, 2: 4, 4: 9, math.inf: 10})
    assert found.mean == 3.1
    assert found.shares() == {"1": 0.4, "3 to 4": 0.5, "> 4": 0.1}
    assert found.since(Batches(4, 4, {1: 4, 2: 4, 4: 4, math.inf: 4})).shares() == {"3 to 4": 5 / 6, "> 4": 1 / 6}


def test_metrics_without_batches_are_said_to_have_none() -> None:
    assert parse_batches("hal_up 1\n") == "the service's metrics have no hal_batch_images"
