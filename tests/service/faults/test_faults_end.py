"""The end of a service that is a process of its own: told, told while it hangs, killed; see docs/reliability.md."""

import contextlib
import os
import signal
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import httpx

from contract.bundle import Bundle
from tests.service.classify_requests import form
from tests.service.live_server import until
from tests.service.load_clients import HANGING, answered, becomes, code_of, load, post, until_answered
from tests.service.process import PATIENCE_S, Process, environment, free_port, running, seconds


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


def test_sigterm_ends_in_time_even_if_the_engine_hangs_and_tells_those_who_wait(slow: Path, cell: bytes) -> None:
    """An image on the device, one behind it, a tensor, and a slide whose results have not arrived."""
    limits = {"HAL_DRAIN_S": "2", "HAL_MAX_BATCH": "1", "HAL_DEADLINE_MS": "600000"}
    numbers = {"name": "image", "datatype": "UINT8", "shape": [1, 256, 256, 3], "data": [0] * (256 * 256 * 3)}

    def infer() -> httpx.Response:
        with served.http() as http:
            return http.post("/v2/models/tiny/infer", json={"inputs": [numbers]})

    with running(slow, **limits) as served, ThreadPoolExecutor(3) as clients, served.connect() as slide:
        hanging = clients.submit(post, served, HANGING)
        until(lambda: shows(served, "hal_decode_seconds_count 1.0", 'hal_queue_images{priority="routine"} 0.0'))
        waiting = clients.submit(post, served, cell)
        until(lambda: shows(served, 'hal_queue_images{priority="routine"} 1.0'))
        tensor = clients.submit(infer)
        until(lambda: shows(served, 'hal_queue_images{priority="routine"} 2.0'))
        slide.sendall(
            b"POST /slides/summary HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\n"
            b"Content-Length: 100\r\nExpect: 100-continue\r\n\r\n"
        )
        assert slide.recv(1000).startswith(b"HTTP/1.1 100 "), "the service waits for the body"
        slide.sendall(b'{"results": [')
        start = time.monotonic()
        assert served.stop() == 0
        assert seconds(start) < 30, "HAL_DRAIN_S and this machine's delays, and not the deadline"
        for answer in (hanging, waiting):
            assert (answer.result().status_code, code_of(answer.result())) == (503, "draining")
        assert tensor.result().status_code == 503
        assert "stop" in tensor.result().json()["error"]
        assert tensor.result().headers["x-request-id"]
        told = slide.recv(65_536).decode()
        assert told.startswith("HTTP/1.1 503 ")
        assert '"code":"draining"' in told


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
        return f'hal_images_accepted{{priority="routine"}} {seats}.0' in httpx.get(f"{url}/metrics").text

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
