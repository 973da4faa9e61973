"""The clients against the real service: answers, faults on the road, bulk."""

import ast
import asyncio
import contextlib
import shutil
import subprocess
import sys
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import httpx
import pytest

import client
from client import (
    AnswerError,
    AsyncHalClient,
    Classified,
    HalClient,
    Outcome,
    Refused,
    RefusedRequestError,
    Retries,
    UnavailableError,
)
from contract.bundle import Bundle
from contract.classes import CLASS_NAMES
from tests.client.faulty_road import FaultyRoad
from tests.client.ways import Ways
from tests.service.live_server import LiveServer, serving, until
from tests.service.slow_device import SlowDevice

QUICK = Retries(attempts=50, total_s=20, first_delay_s=0.01, longest_delay_s=0.05)
FOLDER = Path(client.__file__).parent


def test_an_answer_is_typed_and_keeps_the_document(ways: Ways, live: LiveServer, cells: list[bytes]) -> None:
    answer = ways.classify(live.url, cells[11], b"GIF89a", request_id="mine-1")
    assert answer.request_id == "mine-1"
    assert (answer.model.name, answer.model.version) == ("tiny", "1.2.3")
    first, second = answer.results
    assert isinstance(first, Classified)
    assert first.predicted_class == "Hairy cell"
    assert list(first.probabilities) == list(CLASS_NAMES)
    assert first.probability == max(first.probabilities.values())
    assert first.hairy_cell.flag is True
    assert "hairy_cell" in {reason.code for reason in first.review}
    assert first.document["index"] == 0
    assert isinstance(second, Refused)
    assert second.code == "unsupported_type"


def test_images_none_of_which_is_classified_are_an_answer_too(ways: Ways, live: LiveServer) -> None:
    (result,) = ways.classify(live.url, b"GIF89a").results
    assert isinstance(result, Refused)


def test_paths_are_read_and_their_names_stay_here(
    ways: Ways, live: LiveServer, road: FaultyRoad, cells: list[bytes], tmp_path: Path
) -> None:
    path = tmp_path / "patient-4711.png"
    path.write_bytes(cells[3])
    road.upstream = live.port
    for source in (path, str(path)):
        (result,) = ways.classify(road.url, source).results
        assert isinstance(result, Classified)
        assert result.predicted_class == "Lymphocyte"
    assert b"4711" not in road.received


def test_a_missing_file_is_the_caller_s_error(ways: Ways, live: LiveServer, tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        ways.classify(live.url, tmp_path / "nothing.png")


def test_key_priority_and_deadline_are_sent(ways: Ways, live: LiveServer, road: FaultyRoad, cells: list[bytes]) -> None:
    road.upstream = live.port
    ways.classify(road.url, cells[0], api_key="secret", priority="bulk", deadline_s=2.5)
    head = bytes(road.received).lower()
    assert b"authorization: bearer secret\r\n" in head
    assert b"x-priority: bulk\r\n" in head
    assert b"x-request-timeout-ms: 2500\r\n" in head


def test_a_full_queue_is_asked_again_no_sooner_than_it_said(ways: Ways, bundle: Bundle, cells: list[bytes]) -> None:
    device = SlowDevice(held=True)
    with serving(bundle, open_engine=lambda *_: device, queue_limit=1, max_batch=1) as live:
        with ThreadPoolExecutor(2) as pool:
            filling = pool.submit(live.http.post, "/classify", files={"file": cells[0]})
            device.wait_until_busy()
            asking = pool.submit(ways.classify, live.url, cells[0])
            until(lambda: live.hal.batcher.counts.refused == 1)
            device.let_go()
            assert len(asking.result().results) == 1
            assert filling.result().status_code == 200
        assert live.hal.batcher.counts.refused == 1, "asked before Retry-After"


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
            until(lambda: first.hal.batcher.counts.answered > 10)
        road.upstream = None
        until(lambda: road.hung_up > 2)
        with serving(bundle) as second:
            road.upstream = second.port
            found = asking.result()
            assert second.hal.batcher.counts.answered > 10
    assert [outcome.index for outcome in found] == list(range(160))
    assert [predicted(outcome) for outcome in found] == list(CLASS_NAMES) * 8


def predicted(outcome: Outcome) -> str:
    return outcome.result.predicted_class if isinstance(outcome.result, Classified) else outcome.result.code


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
    assert result.predicted_class == "Band neutrophil"
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


def test_a_wrong_request_is_not_repeated(ways: Ways, live: LiveServer, road: FaultyRoad) -> None:
    road.upstream = live.port
    with pytest.raises(RefusedRequestError, match="415 unsupported_media_type") as caught:
        ways.classify(road.url)
    assert caught.value.request_id
    assert len(road.request_ids) == 1


def test_another_service_is_told_apart(ways: Ways, live: LiveServer, cells: list[bytes]) -> None:
    with pytest.raises((AnswerError, RefusedRequestError)):
        ways.classify(f"{live.url}/docs", cells[0])


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


def test_the_model_and_readiness_can_be_asked(live: LiveServer, road: FaultyRoad) -> None:
    with HalClient(live.url) as hal:
        assert hal.is_ready()
        assert hal.model()["name"] == "tiny"
    with HalClient(road.url) as nobody:
        assert not nobody.is_ready()

    async def ask() -> tuple[bool, str, bool]:
        async with AsyncHalClient(live.url) as hal, AsyncHalClient(road.url) as nobody:
            return await hal.is_ready(), (await hal.model())["name"], await nobody.is_ready()

    assert asyncio.run(ask()) == (True, "tiny", False)


def test_the_folder_needs_only_httpx_and_the_standard_library() -> None:
    for path in FOLDER.glob("*.py"):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Import):
                names = [alias.name for alias in node.names]
            elif isinstance(node, ast.ImportFrom) and node.level == 0:
                names = [node.module or ""]
            else:
                continue
            assert {name.partition(".")[0] for name in names} <= {*sys.stdlib_module_names, "httpx"}, path


def test_a_copy_under_another_name_works(live: LiveServer, cells: list[bytes], tmp_path: Path) -> None:
    shutil.copytree(FOLDER, tmp_path / "hal_cells_client")
    (tmp_path / "cell.png").write_bytes(cells[1])
    program = f"from hal_cells_client import HalClient; print(*HalClient({live.url!r}).classify('cell.png').results)"
    found = subprocess.run([sys.executable, "-c", program], cwd=tmp_path, capture_output=True, text=True, check=True)
    assert "predicted_class='Eosinophil'" in found.stdout
