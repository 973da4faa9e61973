from statistics import fmean

import pytest

from bench.service.ideal import greedy_latencies
from bench.service.load import due_times


def test_a_free_device_takes_what_waits_up_to_the_limit() -> None:
    arrivals = [0.0, 0.1, 0.2, 0.3, 9.0]
    assert greedy_latencies(arrivals, lambda _: 1.0, 2) == pytest.approx([1.0, 1.9, 1.8, 2.7, 1.0])
    assert greedy_latencies(arrivals, lambda _: 1.0, 3) == pytest.approx([1.0, 1.9, 1.8, 1.7, 1.0])
    assert greedy_latencies(arrivals, lambda images: images, 3) == pytest.approx([1.0, 3.9, 3.8, 3.7, 1.0])


def test_one_by_one_it_is_the_queue_of_the_text_books() -> None:
    """M/D/1: the mean wait is load / (2 (1 - load)) service times (Pollaczek and Khinchine)."""
    load = 0.7
    latencies = greedy_latencies(due_times(load, 0.0, 300_000, seed=3), lambda _: 1.0, 1)
    assert fmean(latencies) - 1 == pytest.approx(load / (2 * (1 - load)), rel=0.03)
