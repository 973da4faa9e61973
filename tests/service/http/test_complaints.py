"""What users complain about in other model servers and we do not do; each test is named after an issue of theirs."""

import contextlib
import io
import random
import re
import signal
import socket
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import onnxruntime as ort
import pytest
from PIL import Image

from contract.bundle import Bundle
from service.engine.cuda import BoundBatches, bucket_sizes
from service.engine.onnx import OnnxEngine
from service.http.open_inference import InferenceRequest
from service.http.routes import v2
from service.settings import Device, Settings
from tests.service.classify_requests import form
from tests.service.live_server import PATIENCE_S, LiveServer, serving, until
from tests.service.process import running
from tests.service.slow_device import SlowDevice
from tests.service.tiny_bundle import TinyNetwork, encoded


@pytest.fixture(scope="module")
def cell(network: TinyNetwork) -> bytes:
    return encoded(network.cell(1))


@contextlib.contextmanager
def full(bundle: Bundle, cell: bytes) -> Iterator[LiveServer]:
    """A service whose one seat is taken until the block ends."""
    device = SlowDevice(held=True)
    with (
        serving(bundle, open_engine=lambda *_: device, queue_limit=1, max_batch=1) as live,
        ThreadPoolExecutor(1) as clients,
    ):
        accepted = clients.submit(live.http.post, "/classify", files=form(cell))
        device.wait_until_busy()
        yield live
        device.let_go()
        assert accepted.result().status_code == 200


def test_ray_65193_a_full_service_answers_429_with_retry_after_and_stays_ready(bundle: Bundle, cell: bytes) -> None:
    """503 uses up error budgets and makes load balancers eject a healthy host."""
    with full(bundle, cell) as live:
        response = live.http.post("/classify", files=form(cell))
        assert response.status_code == 429
        assert int(response.headers["retry-after"]) >= 1
        assert live.http.get("/health/ready").status_code == 200


def test_tei_662_bulk_is_refused_when_a_single_image_is_and_accepted_when_it_is(bundle: Bundle, cell: bytes) -> None:
    """Single requests got 429 from a full queue, bulk ones did not."""
    single, bulk = form(cell), form(*[cell] * 40)
    with full(bundle, cell) as live:
        for images in (single, bulk):
            assert live.http.post("/classify", files=images).status_code == 429
    with serving(bundle, queue_limit=1, max_batch=1) as live:
        for images in (single, bulk):
            assert live.http.post("/classify", files=images).status_code == 200


class Recorder:
    """A session that remembers the batch sizes that it was given."""

    def __init__(self, session: Any) -> None:
        self._session = session
        self.sizes: list[int] = []
        self.io_binding = session.io_binding

    def run_with_iobinding(self, binding: Any, options: Any) -> None:
        self._session.run_with_iobinding(binding, options)
        self.sizes.append(len(binding.get_outputs()[0].numpy()))


def test_triton_7776_no_request_is_the_first_of_its_batch_size(
    bundle: Bundle, network: TinyNetwork, cell: bytes
) -> None:
    """The first request of each batch size took 4 to 8 s, while cuDNN planned."""
    recorder = Recorder(ort.InferenceSession(network.graph(), providers=["CPUExecutionProvider"]))

    def open_as_on_a_gpu(bundle: Bundle, _: Settings) -> Any:
        engine = OnnxEngine(None, Device.CUDA, 8, bundle.file(), BoundBatches(recorder, bucket_sizes(8), "cpu"))
        engine.warm_up()
        return engine

    with serving(bundle, open_engine=open_as_on_a_gpu, max_batch=8) as live:
        warm = set(recorder.sizes)
        for images in range(1, 14):
            assert live.http.post("/classify", files=form(*[cell] * images)).status_code == 200
        assert set(recorder.sizes) <= warm


def test_ort_24376_memory_does_not_grow_with_varying_batch_sizes(bundle: Bundle) -> None:
    """Device memory grew with every new batch size; a GPU sees few (see above), and the CPU keeps nothing either."""
    engine = OnnxEngine.open(bundle, Settings(device=Device.CPU, max_batch=16, engine_threads=1))
    sizes = random.Random(5)  # noqa: S311

    def run(batches: int) -> int:
        for _ in range(batches):
            engine.run(np.zeros((sizes.randint(1, 16), 256, 256, 3), np.uint8))
        resident = re.search(r"VmRSS:\s+(\d+)", Path("/proc/self/status").read_text())
        assert resident is not None
        return int(resident[1])

    before = run(100)
    assert run(400) - before < 4 * 1024, "KiB; one more block of 16 images in the arena would be 3 MiB"


@contextlib.contextmanager
def going_away(live: LiveServer, cell: bytes, images: int) -> Iterator[None]:
    """A client that has asked, and is gone when the block ends."""
    request = httpx.Request("POST", f"{live.url}/classify", files=form(*[cell] * images))
    body = request.read()
    lines = [f"{name}: {value}\r\n" for name, value in request.headers.items()]
    with socket.create_connection(("127.0.0.1", live.port), timeout=PATIENCE_S) as client:
        client.sendall(f"POST /classify HTTP/1.1\r\n{''.join(lines)}\r\n".encode() + body)
        yield


def test_litserve_165_a_client_that_goes_away_frees_its_place_at_once(bundle: Bundle, cell: bytes) -> None:
    """The work of clients that had gone away was still done."""
    device = SlowDevice(held=True)
    with (
        serving(bundle, open_engine=lambda *_: device, max_batch=1) as live,
        ThreadPoolExecutor(1) as clients,
    ):
        staying = clients.submit(live.http.post, "/classify", files=form(cell))
        device.wait_until_busy()
        with going_away(live, cell, 5):
            until(lambda: live.hal.batcher.admission.taken == 3)
        until(lambda: live.hal.batcher.admission.taken == 1)
        until(lambda: live.hal.statistics.disconnected == 1)
        device.let_go()
        assert staying.result().status_code == 200
    assert len(device.batches) == 1


def test_litserve_316_the_depth_of_the_queue_can_be_seen(bundle: Bundle, cell: bytes) -> None:
    """Nothing told how many requests were waiting."""
    device = SlowDevice(held=True)
    with (
        serving(bundle, open_engine=lambda *_: device, max_batch=1) as live,
        ThreadPoolExecutor(2) as clients,
    ):
        running = clients.submit(live.http.post, "/classify", files=form(cell))
        device.wait_until_busy()
        archive = clients.submit(live.http.post, "/classify", files=form(cell), headers={"X-Priority": "bulk"})
        until(lambda: 'hal_queue_images{priority="bulk"} 1.0' in live.http.get("/metrics").text)
        assert 'hal_queue_images{priority="routine"} 0.0' in live.http.get("/metrics").text
        device.let_go()
        assert running.result().status_code == archive.result().status_code == 200


def test_ray_41057_a_request_that_is_cancelled_inside_a_batch_does_not_kill_the_batcher(
    bundle: Bundle, cell: bytes
) -> None:
    """A cancelled request ended the batching task, and every later request waited for ever (also Ray #21425)."""
    device = SlowDevice(held=True)
    with (
        serving(bundle, open_engine=lambda *_: device, max_batch=8) as live,
        ThreadPoolExecutor(3) as clients,
    ):
        blocking = clients.submit(live.http.post, "/classify", files=form(cell))
        device.wait_until_busy()
        mates = [clients.submit(live.http.post, "/classify", files=form(cell)) for _ in range(2)]
        until(lambda: live.hal.batcher.waiting == 2)
        with going_away(live, cell, 2):
            until(lambda: live.hal.batcher.waiting == 4)
        until(lambda: live.hal.statistics.disconnected == 1)
        device.let_go()
        assert [answer.result().status_code for answer in (blocking, *mates)] == [200] * 3
        assert live.http.post("/classify", files=form(cell)).status_code == 200


def test_triton_6230_a_service_that_stops_serves_until_the_load_balancer_has_heard(bundle: Bundle, cell: bytes) -> None:
    """Models were unloaded before Kubernetes stopped routing to them."""
    with running(bundle.root, HAL_DRAIN_S="120", HAL_DRAIN_DELAY_S="60") as served, served.http() as client:
        served.send(signal.SIGTERM)
        until(lambda: client.get("/health/ready").status_code == 503)
        for _ in range(5):
            with served.http() as fresh:
                assert fresh.post("/classify", files=form(cell)).status_code == 200
            assert client.get("/health/live").status_code == 200
        served.send(signal.SIGTERM)
        assert served.wait() == 0, "once it is told again it waits no longer"


class Gate:
    """Decoding that goes on when the test says so."""

    def __init__(self, live: LiveServer, arrivals: int) -> None:
        self._decode = live.hal._decoders.decode_one
        self.together = threading.Barrier(arrivals + 1)
        self.arrived = threading.Event()
        live.hal._decoders.decode_one = self

    def wait(self) -> None:
        self.arrived.set()
        self.together.wait(PATIENCE_S)

    def __call__(self, data: bytes) -> Any:
        self.wait()
        return self._decode(data)


def ask_for_an_image(live: LiveServer, cell: bytes) -> httpx.Response:
    return live.http.post("/classify", files=form(cell))


def ask_with_numbers(live: LiveServer, cell: bytes) -> httpx.Response:
    data = list(Image.open(io.BytesIO(cell)).convert("RGB").tobytes())
    tensor = {"name": "image", "shape": [1, 256, 256, 3], "datatype": "UINT8", "data": data}
    return live.http.post("/v2/models/tiny/infer", json={"inputs": [tensor]})


@pytest.mark.parametrize("ask", [ask_for_an_image, ask_with_numbers])
def test_decoding_does_not_keep_health_checks_waiting(
    bundle: Bundle, cell: bytes, monkeypatch: pytest.MonkeyPatch, ask: Callable[[LiveServer, bytes], httpx.Response]
) -> None:
    """Images were decoded on the event loop, so that probes failed under load."""
    with serving(bundle, decode_threads=1) as live, ThreadPoolExecutor(1) as clients:
        gate = Gate(live, arrivals=1)
        read = v2.read_request

        def read_behind_the_gate(*given: Any) -> InferenceRequest:
            gate.wait()
            return read(*given)

        monkeypatch.setattr(v2, "read_request", read_behind_the_gate)
        answer = clients.submit(ask, live, cell)
        assert gate.arrived.wait(PATIENCE_S)
        for path in ("/health/live", "/health/ready", "/health/startup"):
            assert live.http.get(path).status_code == 200
        assert not answer.done()
        gate.together.wait(PATIENCE_S)
        assert answer.result().status_code == 200


def test_triton_5317_images_are_decoded_side_by_side_and_while_the_device_works(bundle: Bundle, cell: bytes) -> None:
    """Python pre-processing was the bottleneck: one image after the other, and the device waiting for it."""
    device = SlowDevice(held=True)
    with (
        serving(bundle, open_engine=lambda *_: device, decode_threads=2, max_batch=1) as live,
        ThreadPoolExecutor(3) as clients,
    ):
        first = clients.submit(live.http.post, "/classify", files=form(cell))
        device.wait_until_busy()
        gate = Gate(live, arrivals=2)
        others = [clients.submit(live.http.post, "/classify", files=form(cell)) for _ in range(2)]
        gate.together.wait(PATIENCE_S)  # both are inside at once, or this would fail
        until(lambda: live.hal.batcher.waiting == 2)
        assert not first.done(), "the device was at work all the while"
        device.let_go()
        assert [answer.result().status_code for answer in (first, *others)] == [200] * 3
