import hashlib
import json
import logging
import logging.handlers
import queue
import socket
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest

from contract.bundle import Bundle
from contract.classes import CLASS_NAMES, HAIRY_CELL
from contract.decision import decide
from service.logs import JsonFormatter
from service.waiting import Priority
from tests.service.live_server import LiveServer, serving, until
from tests.service.slow_device import SlowDevice
from tests.service.tiny_bundle import POISON, TinyNetwork, coloured, encoded

EOSINOPHIL = 1


@pytest.fixture(scope="module")
def server(bundle: Bundle) -> Iterator[LiveServer]:
    with serving(bundle, max_upload_bytes=2_000_000, max_image_bytes=1_000_000, max_files=40) as live:
        yield live


@pytest.fixture(scope="module")
def cell(network: TinyNetwork) -> bytes:
    return encoded(network.cell(EOSINOPHIL), "PNG")


def form(*images: bytes, field: str = "file") -> list[tuple[str, tuple[str, bytes]]]:
    return [(field, (f"{place}.png", image)) for place, image in enumerate(images)]


def error_of(response: httpx.Response, status: int) -> dict[str, str]:
    assert response.status_code == status, response.text
    body = response.json()
    assert set(body) == {"request_id", "error"}
    assert body["request_id"] == response.headers["x-request-id"]
    assert set(body["error"]) == {"code", "message"}
    return dict(body["error"])


def test_one_image_in_a_form(server: LiveServer, bundle: Bundle, network: TinyNetwork, cell: bytes) -> None:
    response = server.http.post("/classify", files=form(cell))
    assert response.status_code == 200
    answer = response.json()
    assert answer["request_id"] == response.headers["x-request-id"]
    assert answer["model"] == {
        "name": "tiny",
        "version": "1.2.3",
        "sha256": bundle.file().sha256,
        "precision": "float32",
        "intended_use": "For tests.",
        "decision_policy": "p-1",
        "calibration": "t-1",
        "preprocessing": "1",
    }
    (result,) = answer["results"]
    (expected,) = decide(network.logits(network.cell(EOSINOPHIL)[np.newaxis]), bundle.manifest)
    assert result["index"] == 0
    assert result["image_sha256"] == hashlib.sha256(cell).hexdigest()
    assert result["predicted_class"] == "Eosinophil"
    assert list(result["probabilities"]) == list(CLASS_NAMES)
    assert list(result["probabilities"].values()) == pytest.approx(expected.probabilities, abs=1e-6)
    assert sum(result["probabilities"].values()) == pytest.approx(1)
    assert result["hairy_cell"]["flag"] is False
    assert result["hairy_cell"]["threshold"] == 0.4
    assert result["review"] == []


@pytest.mark.parametrize("kind", ["jpeg", "png", "bmp", "tiff"])
def test_a_raw_body_of_each_type(server: LiveServer, network: TinyNetwork, kind: str) -> None:
    image = encoded(network.cell(EOSINOPHIL), kind.upper())
    response = server.http.post("/classify", content=image, headers={"Content-Type": f"image/{kind}"})
    assert response.status_code == 200
    assert response.json()["results"][0]["predicted_class"] == "Eosinophil"


def test_the_bytes_decide_and_not_the_declared_type(server: LiveServer, cell: bytes) -> None:
    response = server.http.post("/classify", content=cell, headers={"Content-Type": "image/tiff; x=y"})
    assert response.status_code == 200


def test_a_hairy_cell_is_flagged_and_reviewed(server: LiveServer, network: TinyNetwork) -> None:
    (result,) = server.http.post("/classify", files=form(encoded(network.cell(HAIRY_CELL.index)))).json()["results"]
    assert result["predicted_class"] == "Hairy cell"
    assert result["hairy_cell"]["flag"] is True
    assert {reason["code"] for reason in result["review"]} >= {"hairy_cell", "must_confirm"}


def test_a_bundle_without_hairy_cells_answers_null_and_not_no(
    tmp_path: Path, write_bundle: Any, network: TinyNetwork
) -> None:
    with serving(write_bundle(tmp_path, hairy_known=False)) as live:
        (result,) = live.http.post("/classify", files=form(encoded(network.cell(HAIRY_CELL.index)))).json()["results"]
    assert result["hairy_cell"] == {
        "probability": None,
        "flag": None,
        "threshold": None,
        "advice": "Confirm by flow cytometry.",
    }
    assert result["probabilities"]["Hairy cell"] == 0


def test_many_images_are_answered_in_order(server: LiveServer, network: TinyNetwork) -> None:
    classes = [(7 * place) % 20 for place in range(40)]
    response = server.http.post("/classify", files=form(*(encoded(network.cell(index)) for index in classes)))
    results = response.json()["results"]
    assert [result["index"] for result in results] == list(range(40))
    assert [result["predicted_class"] for result in results] == [CLASS_NAMES[index] for index in classes]


def test_a_bad_image_has_its_own_error_and_the_others_their_answers(server: LiveServer, cell: bytes) -> None:
    small = encoded(np.zeros((100, 100, 3), np.uint8))
    response = server.http.post("/classify", files=form(cell, small, b"", cell))
    assert response.status_code == 200
    first, wrong_size, empty, last = response.json()["results"]
    assert first["predicted_class"] == last["predicted_class"] == "Eosinophil"
    assert set(wrong_size) == {"index", "image_sha256", "error"}
    assert wrong_size["error"]["code"] == "wrong_size"
    assert "100x100" in wrong_size["error"]["message"]
    assert empty["error"]["code"] == "empty_image"


def test_422_if_not_one_image_could_be_classified(server: LiveServer, cell: bytes) -> None:
    response = server.http.post("/classify", files=form(b"GIF89a", cell[:200]))
    assert response.status_code == 422
    assert [result["error"]["code"] for result in response.json()["results"]] == ["unsupported_type", "truncated_image"]
    raw = server.http.post("/classify", content=b"", headers={"Content-Type": "image/png"})
    assert raw.status_code == 422
    assert raw.json()["results"][0]["error"]["code"] == "empty_image"


def test_a_poisoned_image_does_not_hurt_its_batch_mates(server: LiveServer, cell: bytes) -> None:
    poison = encoded(coloured(POISON))
    response = server.http.post("/classify", files=form(cell, poison, cell))
    assert response.status_code == 200
    first, poisoned, last = response.json()["results"]
    assert first["predicted_class"] == last["predicted_class"] == "Eosinophil"
    assert poisoned["error"]["code"] == "model_failed"
    assert error_of(server.http.post("/classify", files=form(poison)), 500)["code"] == "model_failed"
    assert server.http.post("/classify", files=form(cell)).status_code == 200


# Requests that cannot be used


def test_another_field_is_refused_with_a_hint(server: LiveServer, cell: bytes) -> None:
    error = error_of(server.http.post("/classify", files=form(cell, field="image")), 400)
    assert error["code"] == "unknown_field"
    assert "'image'" in error["message"]
    assert "curl -F file=@" in error["message"]
    both = server.http.post("/classify", files=[*form(cell), ("note", (None, b"patient 7"))])
    assert error_of(both, 400)["code"] == "unknown_field"


def test_text_instead_of_a_file_is_refused_with_a_hint(server: LiveServer) -> None:
    error = error_of(server.http.post("/classify", files=[("file", (None, b"cell.jpg"))]), 400)
    assert error["code"] == "not_a_file"


@pytest.mark.parametrize(
    ("content_type", "body"),
    [
        ("multipart/form-data", b"--b\r\n"),
        ("multipart/form-data; boundary=b", b"nonsense"),
        ("multipart/form-data; boundary=b", b""),
        (f"multipart/form-data; boundary={'b' * 999}", b""),
        (
            "multipart/form-data; boundary=b",
            b'--b\r\nContent-Disposition: form-data; name="file"; filename="x"\r\n\r\nxx',
        ),
    ],
    ids=["no boundary", "nonsense", "empty", "long boundary", "cut off"],
)
def test_a_broken_form_is_refused(server: LiveServer, content_type: str, body: bytes) -> None:
    error = error_of(server.http.post("/classify", content=body, headers={"Content-Type": content_type}), 400)
    assert error["code"] == "broken_form"


@pytest.mark.parametrize("content_type", ["image/gif", "application/json", "application/octet-stream", ""])
def test_another_content_type_is_refused_with_a_hint(server: LiveServer, content_type: str) -> None:
    error = error_of(server.http.post("/classify", content=b"x", headers={"Content-Type": content_type}), 415)
    assert "image/jpeg" in error["message"]


def test_a_body_that_declares_too_much_is_refused_unread(server: LiveServer) -> None:
    with socket.create_connection(("127.0.0.1", server.port), timeout=10) as client:
        client.sendall(
            b"POST /classify HTTP/1.1\r\nHost: x\r\nContent-Type: image/png\r\nContent-Length: 2000001\r\n\r\n"
        )
        assert client.recv(1000).startswith(b"HTTP/1.1 413")


def test_a_body_that_grows_too_large_is_refused_while_it_is_read(server: LiveServer) -> None:
    sent = 0

    def chunks() -> Iterator[bytes]:
        nonlocal sent
        for _ in range(2000):
            sent += 10_000
            yield bytes(10_000)

    response = server.http.post("/classify", content=chunks(), headers={"Content-Type": "image/png"})
    assert error_of(response, 413)["code"] == "request_too_large"


def test_too_many_files_are_refused(server: LiveServer) -> None:
    assert error_of(server.http.post("/classify", files=form(*[b"x"] * 41)), 413)["code"] == "too_many_files"


def test_one_image_that_is_too_large_is_refused_alone(server: LiveServer, cell: bytes) -> None:
    response = server.http.post("/classify", files=form(b"BM" + bytes(1_000_000), cell))
    assert response.status_code == 200
    assert response.json()["results"][0]["error"]["code"] == "image_too_large"


def test_a_body_that_does_not_arrive_is_given_up(bundle: Bundle) -> None:
    with (
        serving(bundle, upload_timeout_s=0.1) as live,
        socket.create_connection(("127.0.0.1", live.port), timeout=10) as client,
    ):
        client.sendall(b"POST /classify HTTP/1.1\r\nHost: x\r\nContent-Type: image/png\r\nContent-Length: 9\r\n\r\nBM")
        assert client.recv(1000).startswith(b"HTTP/1.1 408")


# Load


def slow_service(bundle: Bundle, device: SlowDevice, **settings: Any) -> Any:
    return serving(bundle, open_engine=lambda *_: device, **settings)


def test_a_full_queue_answers_429_before_reading_and_says_when_to_come_back(bundle: Bundle, cell: bytes) -> None:
    device = SlowDevice(held=True)
    with slow_service(bundle, device, queue_limit=2, max_batch=1) as live, ThreadPoolExecutor(2) as clients:
        accepted = [clients.submit(live.http.post, "/classify", files=form(cell)) for _ in range(2)]
        device.wait_until_busy()
        until(lambda: live.hal.batcher.seats.taken == 2)
        for images in (form(cell), form(*[cell] * 30)):
            response = live.http.post("/classify", files=images)
            assert error_of(response, 429)["code"] == "queue_full"
            assert 1 <= int(response.headers["retry-after"]) <= 60
        with socket.create_connection(("127.0.0.1", live.port), timeout=10) as client:
            client.sendall(
                b"POST /classify HTTP/1.1\r\nHost: x\r\nContent-Type: image/png\r\nContent-Length: 99999\r\n\r\n"
            )
            assert client.recv(1000).startswith(b"HTTP/1.1 429"), "without waiting for the body"
        assert live.http.get("/health/ready").status_code == 200
        device.let_go()
        assert [answer.result().status_code for answer in accepted] == [200, 200]
        assert live.http.post("/classify", files=form(*[cell] * 30)).status_code == 200, "larger than the queue"


def test_504_at_the_deadline(bundle: Bundle, cell: bytes) -> None:
    device = SlowDevice(held=True)
    with slow_service(bundle, device, deadline_ms=1000) as live:
        response = live.http.post("/classify", files=form(cell, cell))
        assert error_of(response, 504)["code"] == "deadline_exceeded"
        assert live.hal.batcher.seats.taken == 0
        device.let_go()
        assert live.http.post("/classify", files=form(cell)).status_code == 200


def test_a_request_that_has_little_time_leaves_the_queue_when_it_is_over(bundle: Bundle, cell: bytes) -> None:
    device = SlowDevice(held=True)
    with slow_service(bundle, device, max_batch=1) as live, ThreadPoolExecutor(1) as clients:
        running = clients.submit(live.http.post, "/classify", files=form(cell))
        device.wait_until_busy()
        response = live.http.post("/classify", files=form(cell, cell), headers={"X-Request-Timeout-Ms": "500"})
        error = error_of(response, 504)
        assert error["code"] == "deadline_exceeded"
        assert "X-Request-Timeout-Ms" in error["message"]
        assert (live.hal.batcher.waiting, live.hal.batcher.seats.taken) == (0, 1)
        assert live.hal.batcher.counts.expired >= 1
        device.let_go()
        assert running.result().status_code == 200
    assert len(device.batches) == 1


def test_a_request_whose_time_is_over_while_it_is_sent_is_answered(bundle: Bundle) -> None:
    with serving(bundle) as live, socket.create_connection(("127.0.0.1", live.port), timeout=10) as client:
        client.sendall(
            b"POST /classify HTTP/1.1\r\nHost: x\r\nContent-Type: image/png\r\nContent-Length: 9\r\n"
            b"X-Request-Timeout-Ms: 50\r\n\r\nBM"
        )
        assert client.recv(1000).startswith(b"HTTP/1.1 504")


def test_headers_that_are_not_understood_are_refused_before_the_body_is_read(server: LiveServer) -> None:
    with socket.create_connection(("127.0.0.1", server.port), timeout=10) as client:
        client.sendall(
            b"POST /classify HTTP/1.1\r\nHost: x\r\nContent-Type: image/png\r\nContent-Length: 9\r\n"
            b"X-Request-Timeout-Ms: soon\r\nX-Priority: mine\r\n\r\n"
        )
        answer = client.recv(2000).decode()
    assert answer.startswith("HTTP/1.1 400")
    assert '"invalid_header"' in answer
    assert "X-Priority is 'mine', expected 'routine' or 'bulk'" in answer
    assert "X-Request-Timeout-Ms is 'soon', expected whole milliseconds" in answer


@pytest.mark.parametrize(
    ("images", "headers", "bulk"),
    [(2, {}, False), (3, {}, True), (3, {"X-Priority": "routine"}, False), (1, {"X-Priority": "bulk"}, True)],
)
def test_a_request_of_many_images_is_bulk_unless_it_says_otherwise(
    bundle: Bundle, cell: bytes, images: int, headers: dict[str, str], bulk: bool
) -> None:
    device = SlowDevice(held=True)
    with slow_service(bundle, device, bulk_above=2) as live, ThreadPoolExecutor(1) as clients:
        answer = clients.submit(live.http.post, "/classify", files=form(*[cell] * images), headers=headers)
        device.wait_until_busy()
        priority = Priority.BULK if bulk else Priority.ROUTINE
        until(lambda: live.hal.batcher.seats.taken_by(priority) == images)
        device.let_go()
        assert answer.result().status_code == 200


def test_an_archive_job_that_has_filled_its_share_does_not_keep_the_bench_out(bundle: Bundle, cell: bytes) -> None:
    device = SlowDevice(held=True)
    with (
        slow_service(bundle, device, max_batch=1, queue_limit=4, bulk_share=0.5) as live,
        ThreadPoolExecutor(3) as clients,
    ):
        bulk = {"X-Priority": "bulk"}
        archive = clients.submit(live.http.post, "/classify", files=form(*[cell] * 20), headers=bulk)
        until(lambda: live.hal.batcher.seats.taken == 2)
        refused = live.http.post("/classify", files=form(cell), headers=bulk)
        assert error_of(refused, 429)["code"] == "queue_full"
        assert int(refused.headers["retry-after"]) >= 1
        bench = [clients.submit(live.http.post, "/classify", files=form(cell)) for _ in range(2)]
        until(lambda: live.hal.batcher.seats.taken == 4)
        assert error_of(live.http.post("/classify", files=form(cell)), 429)["code"] == "queue_full"
        device.let_go()
        assert [answer.result().status_code for answer in (*bench, archive)] == [200] * 3


def test_a_client_that_vanishes_while_it_waits_leaves_the_queue(bundle: Bundle, cell: bytes) -> None:
    device = SlowDevice(held=True)
    with slow_service(bundle, device, max_batch=1) as live, ThreadPoolExecutor(1) as clients:
        staying = clients.submit(live.http.post, "/classify", files=form(cell))
        device.wait_until_busy()
        with socket.create_connection(("127.0.0.1", live.port)) as vanishing:
            head = (
                f"POST /classify HTTP/1.1\r\nHost: x\r\nContent-Type: image/png\r\nContent-Length: {len(cell)}\r\n\r\n"
            )
            vanishing.sendall(head.encode() + cell)
            until(lambda: live.hal.batcher.waiting == 1)
        until(lambda: live.hal.batcher.seats.taken == 1)
        assert live.hal.batcher.waiting == 0
        assert live.hal.batcher.counts.withdrawn == 1
        until(lambda: live.hal.batcher.counts.disconnected == 1)
        device.let_go()
        assert staying.result().status_code == 200
    assert len(device.batches) == 1


def test_a_client_that_vanishes_while_it_uploads_leaves_no_trace(bundle: Bundle, cell: bytes) -> None:
    with serving(bundle) as live:
        for _ in range(5):
            with socket.create_connection(("127.0.0.1", live.port)) as vanishing:
                vanishing.sendall(
                    b"POST /classify HTTP/1.1\r\nHost: x\r\nContent-Type: image/png\r\nContent-Length: 99999\r\n"
                    b"Expect: 100-continue\r\n\r\n"
                )
                assert vanishing.recv(100).startswith(b"HTTP/1.1 100")
                vanishing.sendall(cell[:50])
        assert live.http.post("/classify", files=form(cell)).status_code == 200
        until(lambda: live.hal.batcher.counts.disconnected == 5)
        assert live.hal.batcher.seats.taken == 0


def test_a_service_that_is_told_to_stop_finishes_accepted_work(bundle: Bundle, cell: bytes) -> None:
    device = SlowDevice(held=True)
    with slow_service(bundle, device, max_batch=1) as live, ThreadPoolExecutor(3) as clients:
        accepted = [clients.submit(live.http.post, "/classify", files=form(*[cell] * 8)) for _ in range(3)]
        until(lambda: live.hal.batcher.seats.taken == 6)
        live.begin_stop()
        device.let_go()
        for answer in accepted:
            assert answer.result().status_code == 200
            assert len(answer.result().json()["results"]) == 8


def test_the_event_loop_answers_while_images_are_decoded(bundle: Bundle, cell: bytes) -> None:
    decoding, carry_on = threading.Event(), threading.Event()
    with serving(bundle) as live, ThreadPoolExecutor(1) as clients:
        decode = live.hal._decoders.decode_one

        def slow_decode(data: bytes) -> Any:
            decoding.set()
            assert carry_on.wait(20)
            return decode(data)

        live.hal._decoders.decode_one = slow_decode
        answer = clients.submit(live.http.post, "/classify", files=form(cell))
        assert decoding.wait(20)
        assert live.http.get("/health/live").status_code == 200
        carry_on.set()
        assert answer.result().status_code == 200


def test_concurrent_clients_get_their_own_answers(server: LiveServer, network: TinyNetwork) -> None:
    images = [encoded(network.cell(index)) for index in range(20)]

    def classify(place: int) -> str:
        response = server.http.post("/classify", files=form(images[place % 20]))
        return str(response.json()["results"][0]["predicted_class"])

    with ThreadPoolExecutor(16) as clients:
        answers = list(clients.map(classify, range(200)))
    assert answers == [CLASS_NAMES[place % 20] for place in range(200)]


# Names and logs


def test_a_sensible_request_id_is_kept(server: LiveServer, cell: bytes) -> None:
    response = server.http.post("/classify", files=form(cell), headers={"X-Request-ID": "lis-4711:cell_2"})
    assert response.headers["x-request-id"] == response.json()["request_id"] == "lis-4711:cell_2"


@pytest.mark.parametrize("given", ["", "a b", "x" * 129, "<script>", 'a"b'])
def test_another_request_id_is_replaced(server: LiveServer, given: str) -> None:
    response = server.http.get("/health/live", headers={"X-Request-ID": given})
    assert len(response.headers["x-request-id"]) == 32


def test_a_request_is_one_log_line_without_file_names(server: LiveServer, cell: bytes) -> None:
    lines: queue.SimpleQueue[logging.LogRecord] = queue.SimpleQueue()
    handler = logging.handlers.QueueHandler(lines)
    logger = logging.getLogger("hal")
    logger.addHandler(handler)
    logger.setLevel(logging.INFO)
    try:
        files = [("file", ("doe-jane-1970.png", cell)), ("file", ("doe-jane-1970.png", b""))]
        server.http.post("/classify", files=files, headers={"X-Request-ID": "r-1"})
        line = json.loads(JsonFormatter().format(lines.get(timeout=20)))
    finally:
        logger.removeHandler(handler)
        logger.setLevel(logging.NOTSET)
    assert line.pop("ms") > 0
    assert line.pop("time")
    assert line == {
        "level": "info",
        "logger": "hal.requests",
        "message": "request",
        "request_id": "r-1",
        "method": "POST",
        "path": "/classify",
        "status": 200,
        "images": 2,
    }
    assert lines.empty()
