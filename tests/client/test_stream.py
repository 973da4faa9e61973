"""The clients with an answer that comes line by line."""

import pytest

from client import Refused, RefusedRequestError, Retries, UnavailableError
from contract.bundle import Bundle
from contract.classes import CLASS_NAMES
from tests.client.faulty_road import FaultyRoad
from tests.client.ways import QUICK, Ways, predicted
from tests.service.live_server import LiveServer, serving, until
from tests.service.slow_device import SlowDevice, withdrawn


def test_every_image_has_its_outcome(ways: Ways, live: LiveServer, cells: list[bytes]) -> None:
    found = ways.classify_stream(live.url, cells * 10, b"no image")
    assert sorted(outcome.index for outcome in found) == list(range(201))
    found.sort(key=lambda outcome: outcome.index)
    assert [predicted(outcome) for outcome in found[:-1]] == list(CLASS_NAMES) * 10
    assert isinstance(found[-1].result, Refused)
    assert found[3].source is cells[3]
    assert found[3].model is not None


def test_a_request_that_is_refused_says_why(ways: Ways, live: LiveServer, cells: list[bytes]) -> None:
    with pytest.raises(RefusedRequestError, match="invalid_header"):
        ways.classify_stream(live.url, cells[0], priority="soon")


def test_closing_early_withdraws_the_rest(ways: Ways, bundle: Bundle, cells: list[bytes]) -> None:
    device = SlowDevice(held=True)
    with serving(bundle, open_engine=lambda *_: device, max_batch=1) as service:
        device.release(3)
        assert len(ways.classify_stream(service.url, cells * 2, most=2)) == 2
        until(lambda: withdrawn(service, device), every_s=0.1)
        device.let_go()
    assert len(device.batches) < 30


def test_an_answer_that_ends_too_early_is_an_error(ways: Ways, bundle: Bundle, cells: list[bytes]) -> None:
    device = SlowDevice(held=True)
    with serving(bundle, open_engine=lambda *_: device, max_batch=1, deadline_ms=1500) as service:
        device.release(1)
        with pytest.raises(UnavailableError, match=r"4 of 5 images left: deadline_exceeded") as caught:
            ways.classify_stream(service.url, cells[:5])
        device.let_go()
    assert caught.value.status == 200


def test_a_service_that_is_away_is_asked_again(
    ways: Ways, live: LiveServer, road: FaultyRoad, cells: list[bytes]
) -> None:
    road.upstream = None
    with pytest.raises(UnavailableError):
        ways.classify_stream(road.url, cells[0], retries=Retries(attempts=2, first_delay_s=0.01))
    assert road.hung_up == 2
    road.upstream = live.port
    assert len(ways.classify_stream(road.url, cells[0], retries=QUICK)) == 1
