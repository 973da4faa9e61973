import asyncio
import gc
import threading
import time
import weakref
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest

from contract.bundle import Bundle
from contract.classes import CLASS_NAMES
from service.engine import EngineOptions, OnnxEngine
from service.lifecycle import Hal
from service.settings import Settings
from service.states import NotReadyError, State
from tests.service.conftest import WriteBundle
from tests.service.live_server import PATIENCE_S, LiveServer, serving, until
from tests.service.slow_device import SlowDevice
from tests.service.tiny_bundle import TinyNetwork, encoded


class Shelf:
    """Two versions of a bundle, of which one is served through a link; each tells the others' cells apart."""

    def __init__(self, root: Path, write_bundle: WriteBundle, network: TinyNetwork) -> None:
        self.link = root / "current"
        self.networks = {"1.0.0": network, "2.0.0": TinyNetwork(network.colours[::-1].copy())}
        self.bundles = {
            version: write_bundle(root / version, version=version, network=network)
            for version, network in self.networks.items()
        }
        self.put("1.0.0")

    def put(self, version: str) -> None:
        """Let the link lead to a version, atomically."""
        fresh = self.link.with_name("fresh")
        fresh.symlink_to(self.link.parent / version)
        fresh.rename(self.link)

    @contextmanager
    def serving(self, **options: Any) -> Iterator[LiveServer]:
        with serving(Bundle(self.link, self.bundles["1.0.0"].manifest), **options) as live:
            yield live

    def agrees(self, answer: dict[str, Any], cell: int) -> bool:
        """Whether every result is what the model that the answer names makes of a cell of the first network."""
        version = answer["model"]["version"]
        assert answer["model"]["sha256"] == self.bundles[version].file().sha256
        expected = CLASS_NAMES[cell if version == "1.0.0" else len(CLASS_NAMES) - 1 - cell]
        return {result["predicted_class"] for result in answer["results"]} == {expected}


@pytest.fixture
def shelf(tmp_path: Path, write_bundle: WriteBundle, network: TinyNetwork) -> Shelf:
    return Shelf(tmp_path, write_bundle, network)


def form(*images: bytes) -> list[tuple[str, tuple[str, bytes]]]:
    return [("file", ("x", image)) for image in images]


def test_a_reload_serves_what_the_link_leads_to_now(shelf: Shelf, network: TinyNetwork) -> None:
    cell = form(encoded(network.cell(3)))
    with shelf.serving() as live:
        shelf.put("2.0.0")
        assert live.http.post("/classify", files=cell).json()["model"]["version"] == "1.0.0"
        response = live.http.post("/admin/reload")
        assert response.status_code == 200
        versions = {moment: stamp["version"] for moment, stamp in response.json().items()}
        assert versions == {"before": "1.0.0", "now": "2.0.0"}
        answer = live.http.post("/classify", files=cell).json()
        assert answer["model"] == response.json()["now"]
        assert shelf.agrees(answer, 3)
        assert live.http.get("/model").json()["version"] == "2.0.0"
        assert live.hal.reloads == 1


def test_a_folder_whose_files_were_replaced_is_read_again(
    tmp_path: Path, write_bundle: WriteBundle, network: TinyNetwork
) -> None:
    with serving(write_bundle(tmp_path)) as live:
        write_bundle(tmp_path, version="1.2.4", graph=network.graph(rounds=1))
        assert live.http.post("/admin/reload").json()["now"]["version"] == "1.2.4"


def spoil(shelf: Shelf, how: str) -> str:
    """Make the second version unusable; what the refusal must say."""
    bundle = shelf.bundles["2.0.0"]
    if how == "missing":
        shelf.link.unlink()
        shelf.link.symlink_to("nowhere")
        return "no bundle.json in"
    shelf.put("2.0.0")
    if how == "two faults":
        (bundle.root / "golden.npz").unlink()
        (bundle.root / "model.onnx").write_bytes(b"x")
        return "model.onnx has 1 bytes"
    if how == "manifest":
        (bundle.root / "bundle.json").write_text('{"name": 3}')
        return "is not a valid bundle"
    raise AssertionError(how)


@pytest.mark.parametrize("how", ["missing", "two faults", "manifest"])
def test_a_bundle_that_cannot_be_served_is_refused_with_the_reasons_and_the_old_one_stays(
    shelf: Shelf, network: TinyNetwork, how: str
) -> None:
    with shelf.serving() as live:
        reason = spoil(shelf, how)
        response = live.http.post("/admin/reload")
        assert response.status_code == 409
        error = response.json()["error"]
        assert error["code"] == "bundle_refused"
        assert "the old one stays" in error["message"]
        assert reason in error["message"]
        if how == "two faults":
            assert "golden.npz is missing" in error["message"]
        answer = live.http.post("/classify", files=form(encoded(network.cell(5)))).json()
        assert answer["model"]["version"] == "1.0.0"
        assert shelf.agrees(answer, 5)
        assert live.http.get("/health/ready").status_code == 200
        assert (live.hal.reloads, live.hal.reloads_refused) == (0, 1)


def test_a_network_that_fails_its_golden_sample_never_takes_over(
    shelf: Shelf, write_bundle: WriteBundle, network: TinyNetwork
) -> None:
    with shelf.serving() as live:
        write_bundle(shelf.link.parent / "2.0.0", version="2.0.0", graph=network.graph(bias=50))
        shelf.put("2.0.0")
        response = live.http.post("/admin/reload")
        assert "differs from the golden sample" in response.json()["error"]["message"]
        assert live.http.get("/model").json()["version"] == "1.0.0"


def test_an_unexpected_failure_tells_nothing_of_itself(shelf: Shelf) -> None:
    def open_engine(bundle: Bundle, options: EngineOptions) -> Any:
        if bundle.manifest.version == "2.0.0":
            raise RuntimeError("secret")
        return OnnxEngine.open(bundle, options)

    with shelf.serving(open_engine=open_engine) as live:
        shelf.put("2.0.0")
        response = live.http.post("/admin/reload")
        assert response.status_code == 409
        assert "secret" not in response.text
        assert live.http.get("/health/ready").status_code == 200


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
                    before = live.hal.batcher.counts.answered
                    until(lambda before=before: live.hal.batcher.counts.answered > before + 350)  # type: ignore[misc]
                    shelf.put("2.0.0" if turn % 2 == 0 else "1.0.0")
                    assert live.http.post("/admin/reload").status_code == 200
            finally:
                done.set()
            for answer in answers:
                tally += answer.result()
        assert live.hal.reloads == 8
        counts = live.hal.batcher.counts
        assert (counts.failed, counts.withdrawn, counts.expired, live.hal.batcher.seats.taken) == (0, 0, 0, 0)
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


def test_a_reload_does_not_keep_requests_waiting(shelf: Shelf, network: TinyNetwork) -> None:
    opening, carry_on = threading.Event(), threading.Event()

    def open_engine(bundle: Bundle, options: EngineOptions) -> Any:
        if bundle.manifest.version == "2.0.0":
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

    def open_engine(bundle: Bundle, options: EngineOptions) -> Any:
        versions.append(bundle.manifest.version)
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

    def open_engine(bundle: Bundle, _: EngineOptions) -> Any:
        if bundle.manifest.version == "2.0.0":
            opening.set()
            assert carry_on.wait(PATIENCE_S)
        return SlowDevice()

    async def live_and_end() -> Hal:
        hal = Hal(Settings(bundle=shelf.link), shelf.bundles["1.0.0"], open_engine=open_engine)
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

    def open_engine(bundle: Bundle, _: EngineOptions) -> Any:
        if bundle.manifest.version == "2.0.0":
            begun.set()
            carry_on.wait(PATIENCE_S)
        return SlowDevice()

    async def live_and_end() -> tuple[Hal, float]:
        hal = Hal(Settings(bundle=shelf.link, drain_s=1), shelf.bundles["1.0.0"], open_engine=open_engine)
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
