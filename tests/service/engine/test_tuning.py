import logging
import time

import numpy as np
import pytest
from numpy.typing import NDArray

from contract.bundle import Bundle
from contract.classes import CLASS_COUNT
from service.engine.onnx import EngineOptions, OnnxEngine
from service.engine.tuning import BatchTime, Hindsight, Tuning, choose, tune
from service.settings import Device
from tests.paths import CELLS
from tests.service.live_server import serving

CELL = CELLS / "segmented-neutrophil-1.jpg"
JPEG = {"Content-Type": "image/jpeg"}


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


def in_use(tuning: Tuning, images: int, ms: float, runs: int = 5) -> Hindsight:
    hindsight = Hindsight(tuning, max_batch=8)
    for _ in range(runs):
        hindsight.saw(images, ms / 1000)
    return hindsight


DISTURBED = choose(times(n1=80, n2=160, n4=320, n8=640), 500)
"""Of a device that takes 20 ms an image, measured while other work let it have a quarter of its time."""


def test_a_start_that_was_disturbed_is_made_good_in_use() -> None:
    assert DISTURBED.limit == 2
    hindsight = Hindsight(DISTURBED, max_batch=8)
    assert [hindsight.saw(1, 0.020 + 0.001 * run) for run in (4, 2, 0, 3, 1)] == [False] * 4 + [True]
    assert hindsight.tuning.limit == 8
    assert hindsight.tuning.revised
    assert [measured.ms for measured in hindsight.tuning.measured] == pytest.approx([20, 40, 80, 160])
    assert "other work disturbed the start" in str(hindsight.tuning)


def test_the_device_that_recovers_serves_with_the_limit_that_a_quiet_start_would_have_chosen() -> None:
    busy = FakeDevice(disturbed=range(100))
    hindsight = Hindsight(tune(busy.run, (1, 2, 4, 8, 16, 32), target_ms=100, clock=busy.clock), max_batch=32)
    assert hindsight.tuning.limit == 4
    assert max(measured.images for measured in hindsight.tuning.measured) == 8
    quiet = FakeDevice()
    limits = []
    for _ in range(20):
        begin = quiet.now
        quiet.run(np.zeros((hindsight.tuning.limit, 1, 1, 1), np.uint8))
        hindsight.saw(hindsight.tuning.limit, quiet.now - begin)
        limits.append(hindsight.tuning.limit)
    assert limits == [4] * 4 + [16] * 16
    assert tune(quiet.run, (1, 2, 4, 8, 16, 32), target_ms=100, clock=quiet.clock).limit == 16


@pytest.mark.parametrize(
    ("images", "ms", "runs"),
    [(1, 20, 4), (1, 75, 50), (1, 500, 50), (3, 20, 50)],
    ids=["too few", "about as long", "longer", "of no size that was measured"],
)
def test_a_start_that_was_not_disturbed_stands(images: int, ms: float, runs: int) -> None:
    assert in_use(DISTURBED, images, ms, runs).tuning == DISTURBED


def test_a_size_that_was_hoped_for_too_soon_is_given_up_once_it_was_used() -> None:
    hindsight = in_use(DISTURBED, 1, 20)
    assert hindsight.tuning.limit == 8
    assert [hindsight.saw(8, 0.6) for _ in range(5)] == [False] * 4 + [True]
    assert hindsight.tuning.limit == 4
    assert not any(hindsight.saw(1, 0.020) for _ in range(50))


def test_the_choice_of_the_start_is_the_least() -> None:
    hindsight = Hindsight(choose(times(n1=20, n2=40, n4=80, n8=160), 500), max_batch=8)
    for images in (1, 2, 4, 8):
        assert not any(hindsight.saw(images, 0.4 * images) for _ in range(50))
    assert hindsight.tuning.limit == 8


class RecoveringDevice:
    """Takes 40 ms a batch of one and 20 ms more for each further image at the start, a tenth of it once it serves."""

    device = Device.CPU

    def __init__(self) -> None:
        self.tuning = choose(times(n1=40, n2=60, n4=100), 100)

    def run(self, images: NDArray[np.uint8]) -> NDArray[np.float32]:
        time.sleep(0.002 + 0.002 * len(images))
        return np.zeros((len(images), CLASS_COUNT), np.float32)


def test_a_service_whose_start_was_disturbed_makes_larger_batches_and_says_so(
    bundle: Bundle, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, "hal.engine")
    with serving(bundle, open_engine=lambda *_: RecoveringDevice(), max_batch=4, latency_target_ms=100) as live:
        assert live.http.get("/model").json()["batching"]["limit"] == 1
        for _ in range(5):
            answer = live.http.post("/classify", content=CELL.read_bytes(), headers=JPEG)
            assert answer.status_code == 200
        told = live.http.get("/model").json()["batching"]
        assert (told["limit"], told["revised"]) == (4, True)
        assert live.hal.batcher.batch_limit == 4
    assert "other work disturbed the start" in caplog.text
