"""Requests that have to wait: for a seat, for the device, until their time is over or their client is gone."""

import socket
import threading
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from contract.bundle import Bundle
from service.batching.queue import Priority
from tests.service.classify_requests import error_of, form
from tests.service.live_server import serving, until
from tests.service.slow_device import SlowDevice


def slow_service(bundle: Bundle, device: SlowDevice, **settings: Any) -> Any:
    return serving(bundle, open_engine=lambda *_: device, **settings)


def test_a_full_queue_answers_429_before_reading_and_says_when_to_come_back(bundle: Bundle, cell: bytes) -> None:
    device = SlowDevice(held=True)
    with slow_service(bundle, device, queue_limit=2, max_batch=1) as live, ThreadPoolExecutor(2) as clients:
        accepted = [clients.submit(live.http.post, "/classify", files=form(cell)) for _ in range(2)]
        device.wait_until_busy()
        until(lambda: live.hal.batcher.admission.taken == 2)
        for images in (form(cell), form(*[cell] * 30)):
            response = live.http.post("/classify", files=images)
            assert error_of(response, 429)["code"] == "queue_full"
            assert 1 <= int(response.headers["retry-after"]) <= 60
        with socket.create_connection(("127.0.0.1", live.port), timeout=10) as client:
            client.sendall(
                b"POST /classify HTTP/1.1\r\nHost: x\r\nContent-Type: image/png\r\nContent-Length: 99999\r\n\r\n"
            )
            assert client.recv(1000).startswith(b"HTTP/1.1 429"), "without waiting for the body"
        for path in ("/health/live", "/health/ready"):
            assert live.http.get(path).status_code == 200, "load balancers do not eject it (Ray #65193)"
        device.let_go()
        assert [answer.result().status_code for answer in accepted] == [200, 200]
        assert live.http.post("/classify", files=form(*[cell] * 30)).status_code == 200, "larger than the queue"


def test_a_request_that_has_little_time_leaves_the_queue_when_it_is_over(bundle: Bundle, cell: bytes) -> None:
    device = SlowDevice(held=True)
    with slow_service(bundle, device, max_batch=1) as live, ThreadPoolExecutor(1) as clients:
        running = clients.submit(live.http.post, "/classify", files=form(cell))
        device.wait_until_busy()
        response = live.http.post("/classify", files=form(cell, cell), headers={"X-Request-Timeout-Ms": "500"})
        error = error_of(response, 504)
        assert error["code"] == "deadline_exceeded"
        assert "X-Request-Timeout-Ms" in error["message"]
        assert (live.hal.batcher.waiting, live.hal.batcher.admission.taken) == (0, 1)
        assert live.hal.statistics.expired >= 1
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
        until(lambda: live.hal.batcher.admission.taken_by(priority) == images)
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
        until(lambda: live.hal.batcher.admission.taken == 2)
        refused = live.http.post("/classify", files=form(cell), headers=bulk)
        assert error_of(refused, 429)["code"] == "queue_full"
        assert int(refused.headers["retry-after"]) >= 1
        bench = [clients.submit(live.http.post, "/classify", files=form(cell)) for _ in range(2)]
        until(lambda: live.hal.batcher.admission.taken == 4)
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
        until(lambda: live.hal.batcher.admission.taken == 1)
        assert live.hal.batcher.waiting == 0
        assert live.hal.statistics.withdrawn == 1
        until(lambda: live.hal.statistics.disconnected == 1)
        device.let_go()
        assert staying.result().status_code == 200
    assert len(device.batches) == 1


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


def test_triton_5317_images_are_decoded_side_by_side_and_while_the_device_works(bundle: Bundle, cell: bytes) -> None:
    """Python pre-processing was the bottleneck: one image after the other, and the device waiting for it."""
    device = SlowDevice(held=True)
    with slow_service(bundle, device, decode_threads=2, max_batch=1) as live, ThreadPoolExecutor(3) as clients:
        first = clients.submit(live.http.post, "/classify", files=form(cell))
        device.wait_until_busy()
        decode, together = live.hal._decoders.decode_one, threading.Barrier(2)

        def decode_together(data: bytes) -> Any:
            together.wait(20)  # both are inside at once, or this fails
            return decode(data)

        live.hal._decoders.decode_one = decode_together
        others = [clients.submit(live.http.post, "/classify", files=form(cell)) for _ in range(2)]
        until(lambda: live.hal.batcher.waiting == 2)
        assert not first.done(), "the device was at work all the while"
        device.let_go()
        assert [answer.result().status_code for answer in (first, *others)] == [200] * 3
