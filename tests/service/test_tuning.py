import numpy as np
import pytest
from numpy.typing import NDArray

from contract.bundle import Bundle
from service.engine import EngineOptions, OnnxEngine
from service.settings import Device
from service.tuning import BatchTime, choose, tune
from tests.service.live_server import serving


def times(**ms: float) -> list[BatchTime]:
    return [BatchTime(int(size[1:]), value) for size, value in ms.items()]


@pytest.mark.parametrize(
    ("measured", "target_ms", "limit"),
    [
        (times(n1=2, n2=2.2, n4=2.6, n8=3.4, n16=5), 100, 16),
        (times(n1=2, n2=2.2, n4=2.6, n8=3.4, n16=5), 7, 8),
        (times(n1=30, n2=55, n4=100, n8=255, n16=510), 500, 4),
        (times(n1=30, n2=60, n4=120, n8=240), 500, 8),
        (times(n1=30, n2=70, n4=150), 500, 1),
        (times(n1=30, n2=29), 500, 2),
        (times(n1=300), 500, 1),
    ],
    ids=["fast device", "short target", "just within", "all alike", "batches cost", "noise", "target missed"],
)
def test_the_limit_that_serves_best_within_the_target(measured: list[BatchTime], target_ms: int, limit: int) -> None:
    assert choose(measured, target_ms).limit == limit


def test_a_target_that_nothing_keeps_is_told() -> None:
    missed = choose(times(n1=300), 500)
    assert not missed.meets_target
    assert "even the smallest batch misses" in str(missed)
    assert choose(times(n1=30), 500).meets_target


class FakeDevice:
    """Takes ``5 + 2n`` ms of its own clock, and three times as long while other work disturbs it."""

    def __init__(self, disturbed: range = range(0)) -> None:
        self.now = 0.0
        self.tried: list[int] = []
        self._disturbed = disturbed

    def run(self, images: NDArray[np.uint8]) -> None:
        self.now += (0.005 + 0.002 * len(images)) * (3 if len(self.tried) in self._disturbed else 1)
        self.tried.append(len(images))

    def clock(self) -> float:
        return self.now


def test_sizes_beyond_the_target_are_not_tried() -> None:
    device = FakeDevice()
    tuning = tune(device.run, (8, 4, 2, 1, 16), target_ms=25, clock=device.clock)
    assert set(device.tried) == {1, 2, 4}
    assert [measured.images for measured in tuning.measured] == [1, 2, 4]
    assert [measured.ms for measured in tuning.measured] == pytest.approx([7, 9, 13])
    assert tuning.limit == 2


@pytest.mark.parametrize("begin", range(20))
def test_other_work_on_the_machine_that_comes_and_goes_does_not_change_the_choice(begin: int) -> None:
    device = FakeDevice(disturbed=range(begin, begin + 8))
    tuning = tune(device.run, (1, 2, 4, 8, 16), target_ms=80, clock=device.clock)
    assert tuning.limit == 16
    assert [measured.ms for measured in tuning.measured] == pytest.approx([7, 9, 13, 21, 37])
    assert device.now < 2, "nor does it take long"


def test_an_engine_measures_the_sizes_that_it_will_be_given(bundle: Bundle) -> None:
    engine = OnnxEngine.open(bundle, EngineOptions(device=Device.CPU, max_batch=12, latency_target_ms=10_000))
    assert engine.tuning is not None
    assert [measured.images for measured in engine.tuning.measured] == [1, 2, 4, 8, 12]


def test_what_was_chosen_is_used_and_told(bundle: Bundle) -> None:
    with serving(bundle, max_batch=4, latency_target_ms=10_000) as live:
        told = live.http.get("/model").json()["batching"]
        assert told["limit"] == live.hal.batcher.batch_limit <= 4
        assert told["target_ms"] == 10_000
        assert [measured["images"] for measured in told["measured"]] == [1, 2, 4]
        assert all(measured["ms"] > 0 for measured in told["measured"])
