"""Any number of images through the clients: in slices, in order, and no more at once than was asked for."""

import asyncio
import contextlib
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from client import AsyncHalClient, HalClient, Refused, Retries, UnavailableError
from contract.bundle import Bundle
from contract.classes import CLASS_NAMES
from tests.client.faulty_road import FaultyRoad
from tests.client.ways import Ways, predicted
from tests.service.live_server import LiveServer, serving, until
from tests.service.slow_device import SlowDevice


def test_any_number_of_images_come_back_in_order(ways: Ways, live: LiveServer, cells: list[bytes]) -> None:
    found = ways.classify_many(live.url, iter(cells * 20), images_per_request=7, concurrency=3)
    assert [outcome.index for outcome in found] == list(range(400))
    assert [predicted(outcome) for outcome in found] == list(CLASS_NAMES) * 20
    assert all(outcome.model and outcome.request_id for outcome in found)


def test_images_come_back_as_they_are_answered_when_order_does_not_matter(
    ways: Ways, live: LiveServer, cells: list[bytes]
) -> None:
    found = ways.classify_many(live.url, cells * 5, images_per_request=3, ordered=False)
    assert sorted((outcome.index, predicted(outcome)) for outcome in found) == list(enumerate([*CLASS_NAMES] * 5))


def test_no_images_are_no_outcomes(ways: Ways, live: LiveServer) -> None:
    assert ways.classify_many(live.url, []) == []


def test_bad_images_among_many_hurt_nobody(ways: Ways, live: LiveServer, cells: list[bytes], tmp_path: Path) -> None:
    missing = tmp_path / "missing.png"
    images = [cells[0], missing, b"", cells[1], tmp_path, cells[2]]
    found = ways.classify_many(live.url, images, images_per_request=3)
    assert [predicted(outcome) for outcome in found] == [
        CLASS_NAMES[0],
        "unreadable_file",
        "empty_image",
        CLASS_NAMES[1],
        "unreadable_file",
        CLASS_NAMES[2],
    ]
    assert found[1].source == missing
    assert isinstance(found[1].result, Refused)
    assert "No such file" in found[1].result.message


def test_only_unreadable_files_send_nothing(ways: Ways, road: FaultyRoad, tmp_path: Path) -> None:
    found = ways.classify_many(road.url, [tmp_path / "a", tmp_path / "b"])
    assert [predicted(outcome) for outcome in found] == ["unreadable_file"] * 2
    assert road.connections == 0


def test_slices_that_the_service_finds_too_large_are_halved(ways: Ways, bundle: Bundle, cells: list[bytes]) -> None:
    with serving(bundle, max_files=3, max_upload_bytes=20_000) as live:
        found = ways.classify_many(live.url, [*cells, b"x" * 30_000], images_per_request=21)
    assert [predicted(outcome) for outcome in found] == [*CLASS_NAMES, "request_too_large"]
    assert isinstance(found[-1].result, Refused)
    assert len(found[-1].result.image_sha256) == 64


def test_slices_are_bounded_in_bytes(ways: Ways, live: LiveServer, road: FaultyRoad, cells: list[bytes]) -> None:
    road.upstream = live.port
    found = ways.classify_many(road.url, cells[:6], images_per_request=6, bytes_per_request=2 * len(cells[0]) + 50)
    assert [predicted(outcome) for outcome in found] == list(CLASS_NAMES[:6])
    assert len(set(road.request_ids)) == 3


def test_images_are_taken_as_they_are_needed(live: LiveServer, cells: list[bytes]) -> None:
    taken = 0

    def endless() -> Iterator[bytes]:
        nonlocal taken
        while True:
            taken += 1
            yield cells[0]

    with HalClient(live.url) as hal:
        coming = hal.classify_many(endless(), images_per_request=2, concurrency=2)
        for _ in range(10):
            next(coming)
        assert taken <= 10 + 2 * 2 * 2
        coming.close()
    assert not [thread for thread in threading.enumerate() if thread.name.startswith("hal-client")]


def test_async_bulk_work_that_is_closed_early_stops(live: LiveServer, cells: list[bytes]) -> None:
    async def ask() -> int:
        async with (
            AsyncHalClient(live.url) as hal,
            contextlib.aclosing(hal.classify_many(cells * 100, images_per_request=1)) as outcomes,
        ):
            async for _ in outcomes:
                break
        return len(asyncio.all_tasks())

    assert asyncio.run(ask()) == 1


def test_requests_at_once_are_bounded(ways: Ways, bundle: Bundle, road: FaultyRoad, cells: list[bytes]) -> None:
    device = SlowDevice(held=True)
    with serving(bundle, open_engine=lambda *_: device, max_batch=1) as live, ThreadPoolExecutor(1) as pool:
        road.upstream = live.port
        asking = pool.submit(ways.classify_many, road.url, cells, images_per_request=1, concurrency=3)
        until(lambda: len(road.request_ids) == 3)
        device.let_go()
        assert len(asking.result()) == 20
    assert road.connections == 3


def test_a_bulk_request_that_fails_as_a_whole_ends_the_work(ways: Ways, road: FaultyRoad, cells: list[bytes]) -> None:
    with pytest.raises(UnavailableError):
        ways.classify_many(
            road.url, cells * 10, {"retries": Retries(attempts=2, first_delay_s=0.01)}, images_per_request=1
        )
