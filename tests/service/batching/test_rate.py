from service.batching.rate import CAUTION_S, LONGEST_RETRY_S, MemoryCaution, Rate


def test_the_rate_follows_the_device() -> None:
    rate = Rate()
    assert rate.seconds_for(1000) == 1, "nothing is known yet"
    for _ in range(50):
        rate.add(16, 0.4)
    assert rate.seconds_for(100) == 3, "100 images at 40 a second"
    for _ in range(50):
        rate.add(16, 1.6)
    assert rate.seconds_for(100) == 10, "it became four times slower"
    assert rate.seconds_for(1e9) == LONGEST_RETRY_S
    assert rate.seconds_for(0) == 1


def test_without_a_failure_there_is_no_caution() -> None:
    assert MemoryCaution().limit(16, now=0) == 16


def test_a_failure_halves_the_batch_and_time_brings_it_back_step_by_step() -> None:
    caution = MemoryCaution()
    assert caution.halve(16, now=0) == 8
    assert caution.limit(16, now=1) == 8
    assert caution.halve(8, now=2) == 4
    assert caution.limit(16, now=2 + CAUTION_S - 1) == 4
    assert caution.limit(16, now=2 + CAUTION_S) == 8
    assert caution.limit(16, now=2 + CAUTION_S + 1) == 8, "one step at a time"
    assert caution.limit(16, now=2 + 2 * CAUTION_S) == 16
    assert caution.halve(1, now=500) == 1, "never below one image"
    assert caution.halve(8, now=501) == 1, "a batch that was formed before changes nothing"


def test_the_next_batch_is_prepared_shortly_before_a_fast_device_is_free_and_never_for_a_slow_one() -> None:
    rate = Rate()
    assert rate.remaining_s(0) is None, "nothing is known yet"
    for _ in range(50):
        rate.add(16, 0.01)
    remaining = rate.remaining_s(0.004)
    assert remaining is not None
    assert 0.002 < remaining < 0.006
    overdue = rate.remaining_s(0.02)
    assert overdue is not None
    assert overdue < 0
    for _ in range(50):
        rate.add(16, 0.7)
    assert rate.remaining_s(0.1) is None
