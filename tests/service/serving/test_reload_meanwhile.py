"""While a bundle is opened: requests are answered by the model that they name, a stop and a signal are not lost."""

import asyncio
import gc
import threading
import time
import weakref
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import httpx
import pytest

from contract.bundle import Bundle
from service.engine.onnx import OnnxEngine
from service.serving.service import Service
from service.serving.states import NotReadyError, State
from service.settings import Settings
from tests.service.classify_requests import form
from tests.service.live_server import PATIENCE_S, until
from tests.service.shelf import Shelf
from tests.service.slow_device import SlowDevice
from tests.service.tiny_bundle import TinyNetwork, encoded


def test_thousands_of_requests_across_many_reloads_are_all_answered_by_the_model_that_they_name(
    shelf: Shelf, network: TinyNetwork
) -> None:
    cells = [encoded(network.cell(index)) for index in range(20)]
    tally: Counter[str] = Counter()
    done = threading.Event()
    with shelf.serving(queue_limit=1024) as live:

        def client(number: int) -> Counter[str]:
            own: Counter[str] = Counter()
            with httpx.Client(base_url=live.url, timeout=PATIENCE_S) as http:
                while not done.is_set():
                    cell = (number + own.total()) % 20
                    images = 3 if number == 0 else 1
                    response = http.post("/classify", files=form(*[cells[cell]] * images))
                    assert response.status_code == 200, response.text
                    answer = response.json()
                    assert len(answer["results"]) == images
                    assert shelf.agrees(answer, cell)
                    own[answer["model"]["version"]] += 1
            return own

        with ThreadPoolExecutor(8) as clients:
            answers = [clients.submit(client, number) for number in range(8)]
            try:
                for turn in range(8):
                    before = live.hal.statistics.answered
                    until(lambda before=before: live.hal.statistics.answered > before + 350)  # type: ignore[misc]
                    shelf.put("2.0.0" if turn % 2 == 0 else "1.0.0")
                    assert live.http.post("/admin/reload").status_code == 200
            finally:
                done.set()
            for answer in answers:
                tally += answer.result()
        assert live.hal.reloads == 8
        counts = live.hal.statistics
        assert (counts.failed, counts.withdrawn, counts.expired, live.hal.batcher.admission.taken) == (0, 0, 0, 0)
    assert set(tally) == {"1.0.0", "2.0.0"}
    assert tally.total() > 2000


def test_a_request_is_finished_by_the_model_that_it_began_with_and_then_its_memory_is_free(
    shelf: Shelf, network: TinyNetwork
) -> None:
    old, new = SlowDevice(held=True), SlowDevice()
    cell = encoded(network.cell(3))
    to_open = [new, old]
    with (
        shelf.serving(open_engine=lambda *_: to_open.pop(), max_batch=2) as live,
        ThreadPoolExecutor(2) as clients,
    ):
        began_before = clients.submit(live.http.post, "/classify", files=form(*[cell] * 15))
        old.wait_until_busy()
        shelf.put("2.0.0")
        assert live.http.post("/admin/reload").json()["now"]["version"] == "2.0.0"
        came_after = clients.submit(live.http.post, "/classify", files=form(cell))
        old.let_go()
        assert came_after.result().json()["model"]["version"] == "2.0.0"
        answer = began_before.result().json()
        assert (answer["model"]["version"], len(answer["results"])) == ("1.0.0", 15)
        assert sum(len(batch) for batch in old.batches) == 15
        assert [len(batch) for batch in new.batches] == [1]
        remembered = weakref.ref(old)
        del old
        until(lambda: gc.collect() >= 0 and remembered() is None)
        until(lambda: [thread.name for thread in threading.enumerate()].count("hal-engine") == 1)


def test_a_slide_is_summarised_by_the_model_that_classified_it(shelf: Shelf, network: TinyNetwork) -> None:
    old = SlowDevice(held=True)
    to_open = [SlowDevice(), old]
    with shelf.serving(open_engine=lambda *_: to_open.pop()) as live, ThreadPoolExecutor(1) as clients:
        slide = clients.submit(live.http.post, "/slides/classify", files=form(*[encoded(network.cell(3))] * 5))
        old.wait_until_busy()
        shelf.put("2.0.0")
        assert live.http.post("/admin/reload").json()["now"]["version"] == "2.0.0"
        old.let_go()
        response = slide.result()
    assert response.status_code == 200, response.text
    assert response.json()["model"]["version"] == "1.0.0"
    assert response.json()["summary"]["images"] == 5
    assert "2.0.0" not in response.text


def test_a_reload_does_not_keep_requests_waiting(shelf: Shelf, network: TinyNetwork) -> None:
    opening, carry_on = threading.Event(), threading.Event()

    def open_engine(bundle: Bundle, options: Settings) -> Any:
        if bundle.description.version == "2.0.0":
            opening.set()
            assert carry_on.wait(PATIENCE_S)
        return OnnxEngine.open(bundle, options)

    cell = form(encoded(network.cell(3)))
    with shelf.serving(open_engine=open_engine) as live, ThreadPoolExecutor(1) as clients:
        shelf.put("2.0.0")
        reload = clients.submit(live.http.post, "/admin/reload")
        assert opening.wait(PATIENCE_S)
        for _ in range(20):
            assert live.http.post("/classify", files=cell).json()["model"]["version"] == "1.0.0"
        assert live.http.get("/health/ready").status_code == 200
        second = live.http.post("/admin/reload")
        assert (second.status_code, second.json()["error"]["code"]) == (409, "reload_under_way")
        carry_on.set()
        assert reload.result().status_code == 200
        assert live.http.post("/classify", files=cell).json()["model"]["version"] == "2.0.0"


def test_a_signal_during_a_reload_is_not_lost(shelf: Shelf) -> None:
    opening, carry_on = threading.Event(), threading.Event()
    versions: list[str] = []

    def open_engine(bundle: Bundle, options: Settings) -> Any:
        versions.append(bundle.description.version)
        if len(versions) == 2:
            opening.set()
            assert carry_on.wait(PATIENCE_S)
        return OnnxEngine.open(bundle, options)

    with shelf.serving(open_engine=open_engine) as live, ThreadPoolExecutor(1) as clients:
        by_request = clients.submit(live.http.post, "/admin/reload")
        assert opening.wait(PATIENCE_S)
        shelf.put("2.0.0")
        for _ in range(3):
            live.hal.request_reload()
        assert live.http.get("/health/live").status_code == 200, "the loop has seen them"
        carry_on.set()
        assert by_request.result().json()["now"]["version"] == "1.0.0"
        until(lambda: live.hal.reloads == 2)
        assert live.http.get("/model").json()["version"] == "2.0.0"
        assert versions == ["1.0.0", "1.0.0", "2.0.0"], "several signals are one reload"


def test_a_service_that_stops_during_a_reload_stops(shelf: Shelf) -> None:
    opening, carry_on = threading.Event(), threading.Event()

    def open_engine(bundle: Bundle, _: Settings) -> Any:
        if bundle.description.version == "2.0.0":
            opening.set()
            assert carry_on.wait(PATIENCE_S)
        return SlowDevice()

    async def live_and_end() -> Service:
        hal = Service(Settings(bundle=shelf.link), shelf.bundles["1.0.0"], open_engine=open_engine)
        await hal.open()
        shelf.put("2.0.0")
        reload = asyncio.create_task(hal.reload())
        await asyncio.to_thread(opening.wait)
        hal.begin_drain()
        carry_on.set()
        with pytest.raises(NotReadyError):
            await reload
        await hal.close()
        return hal

    hal = asyncio.run(live_and_end())
    assert (hal.state, hal.reloads, hal.abandoned) == (State.DRAINING, 0, False)


def test_an_opening_that_never_ends_does_not_hold_up_the_end(shelf: Shelf) -> None:
    begun, carry_on = threading.Event(), threading.Event()

    def open_engine(bundle: Bundle, _: Settings) -> Any:
        if bundle.description.version == "2.0.0":
            begun.set()
            carry_on.wait(PATIENCE_S)
        return SlowDevice()

    async def live_and_end() -> tuple[Service, float]:
        hal = Service(Settings(bundle=shelf.link, drain_s=1), shelf.bundles["1.0.0"], open_engine=open_engine)
        await hal.open()
        shelf.put("2.0.0")
        reload = asyncio.create_task(hal.reload())
        await asyncio.to_thread(begun.wait, PATIENCE_S)
        start = time.monotonic()
        reload.cancel()
        await asyncio.wait([reload])
        await hal.close()
        return hal, time.monotonic() - start

    try:
        hal, seconds = asyncio.run(live_and_end())
    finally:
        carry_on.set()
    assert hal.abandoned
    assert seconds < PATIENCE_S / 4, "the opening would have taken all of it"
