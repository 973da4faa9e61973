"""The clients with a service that is full, slow, away, or answers by halves: asked again for as long as was agreed."""

from concurrent.futures import ThreadPoolExecutor

import httpx
import pytest

from client import Classified, Retries, UnavailableError
from contract.bundle import Bundle
from contract.classes import CLASS_NAMES
from tests.client.faulty_road import FaultyRoad
from tests.client.ways import QUICK, Ways, predicted
from tests.service.live_server import LiveServer, serving, until
from tests.service.slow_device import SlowDevice


def test_a_full_queue_is_asked_again_no_sooner_than_it_said(ways: Ways, bundle: Bundle, cells: list[bytes]) -> None:
    device = SlowDevice(held=True)
    with serving(bundle, open_engine=lambda *_: device, queue_limit=1, max_batch=1) as live:
        with ThreadPoolExecutor(2) as pool:
            filling = pool.submit(live.http.post, "/classify", files={"file": cells[0]})
            device.wait_until_busy()
            asking = pool.submit(ways.classify, live.url, cells[0])
            until(lambda: live.hal.statistics.refused == 1)
            device.let_go()
            assert len(asking.result().results) == 1
            assert filling.result().status_code == 200
        assert live.hal.statistics.refused == 1, "asked before Retry-After"


def test_a_service_that_stays_full_ends_the_patience(ways: Ways, bundle: Bundle, cells: list[bytes]) -> None:
    device = SlowDevice(held=True)
    full = serving(bundle, open_engine=lambda *_: device, queue_limit=1, max_batch=1)
    with full as live, ThreadPoolExecutor(1) as pool:
        pool.submit(live.http.post, "/classify", files={"file": cells[0]})
        device.wait_until_busy()
        with pytest.raises(UnavailableError, match="429") as caught:
            ways.classify(live.url, cells[0], retries=Retries(attempts=1))
        device.let_go()
    assert caught.value.retry_after_s == 1


def test_a_service_that_restarts_loses_nothing(
    ways: Ways, bundle: Bundle, road: FaultyRoad, cells: list[bytes]
) -> None:
    with ThreadPoolExecutor(1) as pool:
        with serving(bundle) as first:
            road.upstream = first.port
            asking = pool.submit(
                ways.classify_many, road.url, cells * 8, {"retries": QUICK}, images_per_request=1, concurrency=2
            )
            until(lambda: first.hal.statistics.answered > 10)
        road.upstream = None
        until(lambda: road.hung_up > 2)
        with serving(bundle) as second:
            road.upstream = second.port
            found = asking.result()
            assert second.hal.statistics.answered > 10
    assert [outcome.index for outcome in found] == list(range(160))
    assert [predicted(outcome) for outcome in found] == list(CLASS_NAMES) * 8


def test_nobody_there_is_an_error_with_its_cause(ways: Ways, road: FaultyRoad, cells: list[bytes]) -> None:
    with pytest.raises(UnavailableError, match="3 attempts") as caught:
        ways.classify(road.url, cells[0], retries=Retries(attempts=3, first_delay_s=0.01))
    assert isinstance(caught.value.__cause__, httpx.TransportError)
    assert road.hung_up == 3


@pytest.mark.parametrize("bytes_that_come", [0, 40, 600])
def test_a_truncated_answer_is_asked_for_again_under_the_same_id(
    ways: Ways, live: LiveServer, road: FaultyRoad, cells: list[bytes], bytes_that_come: int
) -> None:
    road.upstream = live.port
    road.cuts = [bytes_that_come, bytes_that_come]
    (result,) = ways.classify(road.url, cells[5], retries=QUICK).results
    assert isinstance(result, Classified)
    assert result.class_name == "Band neutrophil"
    assert len(road.request_ids) == 3
    assert len(set(road.request_ids)) == 1


def test_a_slow_service_is_left_and_asked_again(
    ways: Ways, bundle: Bundle, road: FaultyRoad, cells: list[bytes]
) -> None:
    device = SlowDevice(held=True)
    with serving(bundle, open_engine=lambda *_: device) as live, ThreadPoolExecutor(1) as pool:
        road.upstream = live.port
        asking = pool.submit(ways.classify, road.url, cells[0], retries=QUICK, timeout=1)
        until(lambda: road.connections >= 2)
        device.let_go()
        assert len(asking.result().results) == 1


def test_a_service_that_stays_slow_ends_the_patience(ways: Ways, bundle: Bundle, cells: list[bytes]) -> None:
    device = SlowDevice(held=True)
    with serving(bundle, open_engine=lambda *_: device) as live:
        with pytest.raises(UnavailableError, match="ReadTimeout"):
            ways.classify(live.url, cells[0], retries=Retries(attempts=2, first_delay_s=0.01), timeout=0.5)
        device.let_go()
