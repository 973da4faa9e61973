"""Faults done to the service as a process of its own; docs/reliability.md is the table of them."""

import contextlib
import http.client
import os
import select
import signal
import socket
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import httpx
import pytest

from contract.bundle import Bundle
from contract.classes import CLASS_NAMES
from tests.service.conftest import WriteBundle
from tests.service.live_server import until
from tests.service.load_clients import (
    CELL,
    HANGING,
    POISONED,
    answered,
    becomes,
    code_of,
    form,
    load,
    post,
    until_answered,
)
from tests.service.process import PATIENCE_S, Process, environment, free_port, running, seconds
from tests.service.tiny_bundle import TinyNetwork

LIBFAKETIME = next(Path("/usr/lib").glob("*/faketime/libfaketime.so.1"), None)


# The end


def test_sigterm_under_load_answers_all_that_was_accepted(slow: Path, cell: bytes) -> None:
    with running(slow, HAL_DRAIN_S="50") as served, load(served, cell, clients=12, until_refused=True) as clients:
        until_answered(served, 40)
        start = time.monotonic()
        assert served.stop() == 0
        assert seconds(start) < 45, "as soon as they have their answers"
        answers = clients.stop()
        assert answers["200"] == answered(served) > 40, "each answer that was made has arrived"
        # A request that reaches a connection at the moment when it is closed was never read; clients send it again.
        assert set(answers) <= {"200", "draining", "refused", "cut off"}
        assert not served.logged("cancelled")


def test_sigterm_ends_in_time_even_if_the_engine_hangs_and_tells_those_who_wait(slow: Path, cell: bytes) -> None:
    limits = {"HAL_DRAIN_S": "2", "HAL_MAX_BATCH": "1", "HAL_DEADLINE_MS": "600000"}
    with running(slow, **limits) as served, ThreadPoolExecutor(2) as clients:
        hanging = clients.submit(post, served, HANGING)
        until(lambda: shows(served, "hal_decode_seconds_count 1.0", 'hal_queue_images{priority="routine"} 0.0'))
        waiting = clients.submit(post, served, cell)
        until(lambda: shows(served, 'hal_queue_images{priority="routine"} 1.0'))
        start = time.monotonic()
        assert served.stop() == 0
        assert seconds(start) < 30, "HAL_DRAIN_S and this machine's delays, and not the deadline"
        for answer in (hanging, waiting):
            assert (answer.result().status_code, code_of(answer.result())) == (503, "draining")


def shows(served: Process, *lines: str) -> bool:
    """Whether all these lines are in /metrics."""
    with served.http() as http:
        metrics = http.get("/metrics").text
    return all(line in metrics for line in lines)


SUPERVISOR = """
while :; do
  "$0" -m service & echo $! > "$PID_FILE"
  wait $! && exit 0
done
"""


def test_kill_9_costs_what_was_under_way_and_the_supervisor_brings_it_back(
    slow: Path, cell: bytes, tmp_path: Path
) -> None:
    port, pid_file = free_port(), tmp_path / "pid"
    url = f"http://127.0.0.1:{port}"
    variables = environment(HAL_BUNDLE=str(slow), PORT=str(port), PID_FILE=str(pid_file), HAL_LOG_LEVEL="error")
    supervisor = subprocess.Popen(["bash", "-c", SUPERVISOR, sys.executable], env=variables, stdout=subprocess.DEVNULL)
    lost: list[str] = []

    def ask_until_answered(http: httpx.Client) -> None:
        give_up = time.monotonic() + PATIENCE_S
        while True:
            assert time.monotonic() < give_up
            try:
                answer = becomes(http.post(f"{url}/classify", files=form(cell)))
            except httpx.TransportError as error:
                lost.append("refused" if isinstance(error, httpx.ConnectError) else "cut off")
                answer = "lost"
            if answer == "200":
                return
            assert answer in ("lost", "starting")
            time.sleep(0.02)

    def client(turns: int) -> int:
        with httpx.Client(timeout=PATIENCE_S) as http:
            for _ in range(turns):
                ask_until_answered(http)
        return turns

    def taken(seats: int) -> bool:
        return f'hal_seats_taken{{priority="routine"}} {seats}.0' in httpx.get(f"{url}/metrics").text

    try:
        client(1)
        lost.clear()
        first = int(pid_file.read_text())
        with ThreadPoolExecutor(5) as pool:
            hanging = pool.submit(httpx.post, f"{url}/classify", files=form(HANGING), timeout=PATIENCE_S)
            until(lambda: taken(1))
            turns = [pool.submit(client, 25) for _ in range(4)]
            until(lambda: taken(5))
            os.kill(first, signal.SIGKILL)
            assert isinstance(hanging.exception(), httpx.TransportError)
            assert sum(turn.result() for turn in turns) == 100, "every image was answered in the end"
        # A machine that halts for seconds may find a kept connection closed besides.
        assert lost.count("cut off") >= 4, "what was under way, one request of each client"
        assert lost.count("refused") > 0, "then nobody listened for a while"
        second = int(pid_file.read_text())
        assert second != first
        os.kill(second, signal.SIGTERM)
        assert supervisor.wait(PATIENCE_S) == 0
    finally:
        supervisor.kill()
        with contextlib.suppress(ProcessLookupError):
            os.kill(int(pid_file.read_text()), signal.SIGKILL)


# Clients


def test_clients_that_vanish_are_noticed_at_once_and_hurt_nobody(slow: Path, cell: bytes) -> None:
    head = "POST /classify HTTP/1.1\r\nHost: x\r\nX-Request-ID: %s\r\nContent-Type: %s\r\nContent-Length: %d\r\n\r\n"
    request = httpx.Request("POST", "http://x/classify", files=form(*[cell] * 40))
    images, kind = request.read(), request.headers["Content-Type"]
    with running(slow, HAL_MAX_BATCH="2") as served, load(served, cell, clients=4) as clients:
        for number in range(20):
            with served.connect() as while_sending, served.connect() as while_waiting:
                while_sending.sendall((head % (f"sending-{number}", "image/png", 99_999)).encode() + cell[:50])
                while_waiting.sendall((head % (f"waiting-{number}", kind, len(images))).encode() + images)
        until(lambda: len(statuses(served, "sending-")) == len(statuses(served, "waiting-")) == 20)
        until_answered(served, 10)
        assert set(clients.stop()) == {"200"}
        assert set(statuses(served, "sending-")) == {499}
        # Where the machine has halted this process for so long that the answer was there, nobody has vanished.
        assert {499} <= set(statuses(served, "waiting-")) <= {499, 200}
        assert served.answers("/health/ready") == 200
        assert served.stop() == 0


def statuses(served: Process, prefix: str) -> list[int]:
    """What the log says of the requests whose ID begins so."""
    return [
        line["status"]
        for line in served.lines()
        if line["message"] == "request" and line["request_id"].startswith(prefix)
    ]


def test_slow_loris_is_shown_the_door_and_the_others_do_not_notice(bundle: Bundle, cell: bytes) -> None:
    limits = {"HAL_HEADER_TIMEOUT_S": "3", "HAL_UPLOAD_TIMEOUT_S": "3"}
    with running(bundle.root, **limits) as served, contextlib.ExitStack() as stack:
        heads = [stack.enter_context(served.connect()) for _ in range(100)]
        bodies = [stack.enter_context(served.connect()) for _ in range(100)]
        for client in heads:
            client.sendall(b"POST /classify HTTP/1.1\r\nHo")
        for client in bodies:
            client.sendall(
                b"POST /classify HTTP/1.1\r\nHost: x\r\nContent-Type: image/png\r\nContent-Length: 999\r\n\r\nx"
            )
        assert becomes(post(served, cell)) == "200"
        assert not all(said_something(client) for client in (*heads, *bodies)), "while they were still dripping"
        for client in (*heads, *bodies):
            assert client.recv(1000).startswith(b"HTTP/1.1 408")
        assert served.stop() == 0


def said_something(client: socket.socket) -> bool:
    """Whether there is something to read."""
    return bool(select.select([client], [], [], 0)[0])


# The model


def test_a_corrupt_bundle_is_refused_by_sighup_and_by_request_while_clients_are_served(
    tmp_path: Path, write_bundle: WriteBundle, cell: bytes
) -> None:
    root = tmp_path / "bundle"
    write_bundle(root)
    with running(root) as served, served.http() as http, load(served, cell, clients=4) as clients:
        until_answered(served, 20)
        (root / "golden.npz").unlink()
        (root / "model.onnx").write_bytes(b"not onnx")
        served.send(signal.SIGHUP)
        until(lambda: served.logged("is refused, the old bundle stays"))
        response = http.post("/admin/reload")
        assert (response.status_code, code_of(response)) == (409, "bundle_refused")
        for reason in ("golden.npz is missing", "model.onnx has 8 bytes"):
            assert reason in response.json()["error"]["message"]
        write_bundle(root, version="1.2.4")
        served.send(signal.SIGHUP)
        until(lambda: http.get("/model").json()["version"] == "1.2.4")
        until_answered(served, 20)
        answers = clients.stop()
        assert set(answers) == {"200"}
        until(lambda: answered(served) == answers["200"])
        assert served.stop() == 0


def test_a_signal_to_reload_before_the_model_is_open_does_not_end_the_process(bundle: Bundle) -> None:
    with running(bundle.root, wait=False) as served:
        assert served.answers("/health/live") == 200, "it says that it listens when it does"
        served.send(signal.SIGHUP)
        until(lambda: served.answers("/health/ready") == 200)
        assert served.stop() == 0


# The engine


def test_a_poisoned_image_in_a_full_batch_has_its_own_error(slow: Path, cell: bytes) -> None:
    with running(slow, HAL_MAX_BATCH="8") as served, contextlib.ExitStack() as stack:
        pool = stack.enter_context(ThreadPoolExecutor(9))
        clients = [stack.enter_context(served.http()) for _ in range(9)]

        def tried_again() -> bool:
            # A free device takes what is there: only what comes while it is busy makes a batch with the poisoned one.
            files = [form(*[cell] * 200), *[form(cell)] * 7, form(POISONED)]
            asked = [
                pool.submit(client.post, "/classify", files=images)
                for client, images in zip(clients, files, strict=True)
            ]
            *good, poisoned = [answer.result() for answer in asked]
            assert {becomes(answer) for answer in good} == {"200"}
            assert (poisoned.status_code, code_of(poisoned)) == (500, "model_failed")
            return served.logged("trying each image alone")

        until(tried_again)
        mixed = post(served, *[cell] * 7, POISONED).json()["results"]
        assert [result.get("predicted_class") for result in mixed] == [CLASS_NAMES[CELL]] * 7 + [None]
        assert mixed[7]["error"]["code"] == "model_failed"
        assert served.stop() == 0


def test_an_engine_without_memory_for_a_batch_answers_in_smaller_ones(
    tmp_path: Path, write_bundle: WriteBundle, network: TinyNetwork, cell: bytes
) -> None:
    root = write_bundle(tmp_path, graph=network.graph(memory_for=3)).root
    with running(root, HAL_MAX_BATCH="16") as served:
        assert becomes(post(served, *[cell] * 64)) == "200"
        failures = [line for line in served.lines() if "no memory for a batch of" in line["message"]]
        assert 1 <= len(failures) <= 3, "16, 8, 4 at most: then it knows"
        assert served.answers("/health/live") == 200
        assert served.stop() == 0


def test_a_hung_engine_is_told_to_the_platform_and_everybody_has_an_answer(slow: Path, cell: bytes) -> None:
    limits = {"HAL_MAX_BATCH": "1", "HAL_STALL_S": "2", "HAL_DEADLINE_MS": "900", "HAL_DRAIN_S": "2"}
    with running(slow, **limits) as served, served.http() as http, ThreadPoolExecutor(3) as clients:
        assert becomes(post(served, HANGING)) == "deadline_exceeded"
        # On a machine that is busy with other things it may have passed before the device had the image.
        until(lambda: becomes(post(served, cell)) != "200" or becomes(post(served, HANGING)) == "stalled")
        waiting = [clients.submit(post, served, cell) for _ in range(3)]
        # And the last ones may come when it is known already.
        assert {becomes(answer.result()) for answer in waiting} <= {"deadline_exceeded", "stalled"}
        until(lambda: http.get("/health/live").status_code == 503)
        for response in (http.get("/health/live"), http.get("/health/ready"), http.post("/classify", files=form(cell))):
            assert (response.status_code, code_of(response)) == (503, "stalled")
        assert http.get("/health/startup").status_code == 200
        assert served.stop() == 0, "and a restart succeeds"


# The clock


@pytest.mark.parametrize(
    "how",
    [
        "time.time",
        pytest.param("libfaketime", marks=pytest.mark.skipif(LIBFAKETIME is None, reason="libfaketime is missing")),
    ],
)
def test_a_wall_clock_that_jumps_moves_no_deadline(slow: Path, cell: bytes, tmp_path: Path, how: str) -> None:
    clock = tmp_path / "clock"
    day = 24 * 3600
    if how == "libfaketime":
        jumps = [f"{'+' if days >= 0 else ''}{days * day}" for days in (0, 400, -400)]
        variables = {
            "LD_PRELOAD": str(LIBFAKETIME),
            "FAKETIME_TIMESTAMP_FILE": str(clock),
            "FAKETIME_NO_CACHE": "1",
            "FAKETIME_DONT_FAKE_MONOTONIC": "1",
            "DONT_FAKE_MONOTONIC": "1",
        }
        program = ["-m", "service"]
    else:
        jumps = [str(days * day) for days in (0, 400, -400)]
        variables = {"CLOCK_FILE": str(clock)}
        program = [str(Path(__file__).with_name("clock_jump.py"))]
    put(clock, jumps[0])
    # Longer than any machine needs, and a ten-thousandth of what the clock jumps.
    limits = {
        "HAL_DEADLINE_MS": "55000",
        "HAL_UPLOAD_TIMEOUT_S": "55",
        "HAL_HEADER_TIMEOUT_S": "55",
        "HAL_STALL_S": "55",
    }
    with running(slow, program=program, **limits, **variables) as served, ThreadPoolExecutor(1) as clients:
        for jump in (jumps[1], jumps[2], jumps[0]):
            waiting = clients.submit(post, served, *[cell] * 60)
            half_sent = served.connect()
            half_sent.sendall(
                b"POST /classify HTTP/1.1\r\nHost: x\r\nContent-Type: image/png\r\nContent-Length: %d\r\n\r\n"
                % len(cell)
            )
            put(clock, jump)
            assert becomes(waiting.result()) == "200"
            half_sent.sendall(cell)
            response = http.client.HTTPResponse(half_sent)
            response.begin()
            assert response.status == 200
            half_sent.close()
            assert served.answers("/health/live") == served.answers("/health/ready") == 200
            late = post(served, *[cell] * 60, **{"X-Request-Timeout-Ms": "100"})
            assert (late.status_code, code_of(late)) == (504, "deadline_exceeded"), "and each deadline still comes"
        days = {line["time"][:10] for line in served.lines()}
        assert len(days) >= 3, "the clock has really jumped"
        assert served.stop() == 0


def put(file: Path, text: str) -> None:
    """Replace a file's text at once, so that nobody reads half of it."""
    fresh = file.with_suffix(".new")
    fresh.write_text(text)
    fresh.rename(file)
