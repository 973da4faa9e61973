"""From samples and metrics to figures."""

import math

import numpy as np
import pytest

from bench.load import OK, Load, Samples
from bench.statistics import Batches, MetricsError, figures_of, parse_batches, percentile

METRICS = """# TYPE hal_batch_images histogram
hal_batch_images_bucket{le="1.0"} 4.0
hal_batch_images_bucket{le="2.0"} 4.0
hal_batch_images_bucket{le="4.0"} 9.0
hal_batch_images_bucket{le="+Inf"} 10.0
hal_batch_images_count 10.0
hal_batch_images_sum 31.0
# TYPE hal_device_seconds histogram
hal_device_seconds_bucket{le="+Inf"} 10.0
hal_device_seconds_count 10.0
hal_device_seconds_sum 2.5
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


def samples(*each: tuple[float, float, float, str]) -> Samples:
    made = Samples()
    for one in each:
        made.add(*one)
    return made


def test_latency_counts_from_when_a_request_was_due_and_the_warm_up_does_not_count() -> None:
    made = samples(
        (-0.5, -0.5, 9.0, OK),
        (0.0, 1.0, 1.5, OK),
        (1.0, 1.0, 1.2, OK),
        (1.5, 1.5, 2.5, OK),
        (1.9, 1.9, 1.9, "429 queue_full"),
    )
    found = figures_of(made, Load(rate=2, duration_s=2), images=4)
    assert found.slowest_ms == pytest.approx(1500)
    assert found.mean_ms == pytest.approx((1500 + 200 + 1000) / 3)
    assert found.latency_ms["p50"] == pytest.approx(1000)
    assert found.latency_ms["p99"] is None, "of three"
    assert (found.offered, found.requests, found.requests_s, found.images_s) == (2.0, 2, 1.0, 4.0)
    assert found.outcomes == {OK: 3, "429 queue_full": 1}
    assert (found.errors, found.errors_in_words) == (1, "429 queue_full 1")
    assert found.late_ms > 900


def test_without_an_answer_there_are_no_latencies() -> None:
    found = figures_of(samples((0.1, 0.1, 0.2, "timeout")), Load(rate=10, duration_s=1))
    assert (found.requests_s, found.mean_ms, found.slowest_ms, found.latency_ms["p50"]) == (0, None, None, None)
    assert figures_of(samples(), Load(duration_s=1)).errors == 0


def batch(at: float) -> list[tuple[float, float, float, str]]:
    return [(at - 1, at - 1, at, OK)] * 16


def test_a_rate_does_not_depend_on_where_the_measured_time_cuts_the_batches() -> None:
    for shift in (0.0, 0.1, 0.3, 0.6, 0.9):
        made = samples(*(sample for number in range(-3, 9) for sample in batch(number - shift)))
        assert figures_of(made, Load(duration_s=3)).requests_s == pytest.approx(16)


def test_a_stall_until_the_end_lowers_the_rate() -> None:
    made = samples(*(sample for at in (-1.0, 0.0, 1.0, 2.0, 9.0) for sample in batch(at)))
    assert figures_of(made, Load(duration_s=8)).requests_s == 3 * 16 / 8


def test_batches_are_read_from_the_service_s_metrics() -> None:
    found = parse_batches(METRICS)
    assert found == Batches(10, 31, 2.5, {1: 4, 2: 4, 4: 9, math.inf: 10})
    assert found.mean == 3.1
    assert found.shares() == {"1": 0.4, "3 to 4": 0.5, "> 4": 0.1}
    later = found.since(Batches(4, 4, 0.5, {1: 4, 2: 4, 4: 4, math.inf: 4}))
    assert later.device_s == 2.0
    assert later.shares() == {"3 to 4": 5 / 6, "> 4": 1 / 6}


def test_metrics_without_batches_are_said_to_have_none() -> None:
    with pytest.raises(MetricsError, match="have no hal_batch_images"):
        parse_batches("hal_up 1\n")
