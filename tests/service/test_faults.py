"""Faults done to the service as a process of its own; docs/reliability.md is the table of them."""

import asyncio
import collections
import contextlib
import http.client
import logging
import math
import os
import re
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path

import httpx
import numpy as np
import pytest

from contract.bundle import Bundle
from contract.classes import CLASS_NAMES
from tests.service.conftest import WriteBundle
from tests.service.live_server import until
from tests.service.process import PATIENCE_S, Process, environment, free_port, running, seconds
from tests.service.tiny_bundle import HANG, POISON, TinyNetwork, encoded

OVERLOAD_S = float(os.environ.get("OVERLOAD_S", "3"))
"""How long the overload lasts; OVERLOAD_S=60 for the full minute."""
KEPT_S = 2
"""The service closes connections that nobody has used for 5 s."""
LIBFAKETIME = next(Path("/usr/lib").glob("*/faketime/libfaketime.so.1"), None)
ROUNDS = 18_000
"""About 10 ms an image."""
CELL = 3

logger = logging.getLogger(__name__)

Answers = collections.Counter[str]


@pytest.fixture(scope="module")
def slow(tmp_path_factory: pytest.TempPathFactory, write_bundle: WriteBundle, network: TinyNetwork) -> Path:
    """A bundle that takes its time, and hangs when it sees a certain image."""
    root = tmp_path_factory.mktemp("slow")
    return write_bundle(root, graph=network.graph(rounds=ROUNDS, hangs=True)).root


@pytest.fixture(scope="module")
def cell(network: TinyNetwork) -> bytes:
    return encoded(network.cell(CELL))


def coloured(colour: tuple[int, int, int]) -> bytes:
    return encoded(np.full((256, 256, 3), colour, np.uint8))


def form(*images: bytes) -> list[tuple[str, tuple[str, bytes]]]:
    return [("file", ("x", image)) for image in images]


def code_of(response: httpx.Response) -> str:
    return str(response.json()["error"]["code"])


def right(response: httpx.Response) -> bool:
    return {result["predicted_class"] for result in response.json()["results"]} == {CLASS_NAMES[CELL]}


def keep_asking(served: Process, cell: bytes, enough: threading.Event) -> Answers:
    """One client's requests, one after the other, and what became of them."""
    answers: Answers = collections.Counter()
    with served.http() as client:
        while not enough.is_set():
            try:
                response = client.post("/classify", files=form(cell))
            except httpx.ConnectError:
                answers["refused"] += 1
                break
            except httpx.TransportError:
                answers["cut off"] += 1
                break
            assert response.status_code != 200 or right(response)
            answers[str(response.status_code)] += 1
            if response.status_code == 503:
                break
    return answers


@contextlib.contextmanager
def load(served: Process, cell: bytes, clients: int) -> Iterator[Callable[[], Answers]]:
    """Clients that ask all the time; call the result to let them stop and to learn what became of their requests."""
    enough = threading.Event()
    with ThreadPoolExecutor(clients) as pool:
        asking = [pool.submit(keep_asking, served, cell, enough) for _ in range(clients)]

        def stop() -> Answers:
            enough.set()
            return sum((client.result() for client in asking), collections.Counter())

        try:
            yield stop
        finally:
            enough.set()


def answered(served: Process, status: int) -> int:
    """Requests to /classify that the service says it answered so."""
    lines = [line for line in served.lines() if line.get("path") == "/classify"]
    return sum(line["status"] == status for line in lines)


# The end


def test_sigterm_under_load_answers_all_that_was_accepted(slow: Path, cell: bytes) -> None:
    with running(slow, HAL_DRAIN_S="10") as served, load(served, cell, clients=12) as stop:
        until(lambda: answered(served, 200) > 40)
        start = time.monotonic()
        code = served.stop()
        assert (code, seconds(start) < 10) == (0, True)
        answers = stop()
        assert answers["200"] == answered(served, 200) > 40, "each answer that was made has arrived"
        # A request that reaches a connection at the moment when it is closed was never read; clients send it again.
        assert set(answers) <= {"200", "503", "refused", "cut off"}
        assert not served.logged("cancelled")
        assert served.process.returncode == 0


def test_sigterm_ends_in_time_even_if_the_engine_hangs_and_tells_those_who_wait(slow: Path, cell: bytes) -> None:
    with running(slow, HAL_DRAIN_S="2", HAL_MAX_BATCH="1") as served, ThreadPoolExecutor(2) as clients:
        hanging = [clients.submit(post, served, coloured(HANG))]
        until(lambda: hangs(served))
        hanging.append(clients.submit(post, served, cell))
        until(lambda: shows(served, 'hal_queue_images{priority="routine"} 1.0'))
        start = time.monotonic()
        assert served.stop() == 0
        assert seconds(start) < 4, "HAL_DRAIN_S and this machine's delays"
        for answer in hanging:
            assert answer.result().status_code == 503
            assert code_of(answer.result()) == "draining"


def post(served: Process, *images: bytes, **headers: str) -> httpx.Response:
    with served.http() as client:
        return client.post("/classify", files=form(*images), headers=headers)


def hangs(served: Process) -> bool:
    """Whether the one image that was accepted is on the device and stays there."""
    on_the_device = 'hal_seats_taken{priority="routine"} 1.0', 'hal_queue_images{priority="routine"} 0.0'
    if not shows(served, *on_the_device):
        return False
    time.sleep(0.2)
    return shows(served, *on_the_device)


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
    variables = environment(HAL_BUNDLE=str(slow), PORT=str(port), PID_FILE=str(pid_file), HAL_LOG_LEVEL="error")
    supervisor = subprocess.Popen(["bash", "-c", SUPERVISOR, sys.executable], env=variables, stdout=subprocess.DEVNULL)
    lost: Answers = collections.Counter()

    def ask_until_answered(http: httpx.Client) -> None:
        give_up = time.monotonic() + PATIENCE_S
        while True:
            assert time.monotonic() < give_up
            try:
                response = http.post(f"http://127.0.0.1:{port}/classify", files=form(cell))
            except httpx.TransportError as error:
                lost["refused" if isinstance(error, httpx.ConnectError) else "cut off"] += 1
                time.sleep(0.02)
                continue
            if response.status_code == 200:
                assert right(response)
                return
            assert (response.status_code, code_of(response)) == (503, "starting")

    def client(turns: int) -> int:
        with httpx.Client(timeout=PATIENCE_S) as http:
            for _ in range(turns):
                ask_until_answered(http)
        return turns

    try:
        client(1)
        lost.clear()
        first = int(pid_file.read_text())
        with ThreadPoolExecutor(4) as pool:
            turns = [pool.submit(client, 25) for _ in range(4)]
            time.sleep(0.2)
            os.kill(first, signal.SIGKILL)
            assert sum(turn.result() for turn in turns) == 100, "every image was answered in the end"
        assert 1 <= lost["cut off"] <= 4, "what was under way, at most one request of each client"
        assert lost["refused"] > 0, "then nobody listened for a while"
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
    head = b"POST /classify HTTP/1.1\r\nHost: x\r\nContent-Type: image/png\r\nContent-Length: %d\r\n\r\n"
    with running(slow, HAL_MAX_BATCH="2") as served, load(served, cell, clients=4) as stop:
        for _ in range(20):
            with served.connect() as while_sending, served.connect() as while_waiting:
                while_sending.sendall(head % 99_999 + cell[:50])
                while_waiting.sendall(head % len(cell) + cell)
        until(lambda: answered(served, 499) == 40 and answered(served, 200) > 10)
        answers = stop()
        assert set(answers) == {"200"}
        assert served.answers("/health/ready") == 200
        assert served.stop() == 0


def test_slow_loris_is_shown_the_door_and_the_others_do_not_notice(bundle: Bundle, cell: bytes) -> None:
    limits = {"HAL_HEADER_TIMEOUT_S": "1.5", "HAL_UPLOAD_TIMEOUT_S": "1.5"}
    with running(bundle.root, **limits) as served, contextlib.ExitStack() as stack:
        heads = [stack.enter_context(served.connect()) for _ in range(100)]
        bodies = [stack.enter_context(served.connect()) for _ in range(100)]
        for client in heads:
            client.sendall(b"POST /classify HTTP/1.1\r\nHo")
        for client in bodies:
            client.sendall(
                b"POST /classify HTTP/1.1\r\nHost: x\r\nContent-Type: image/png\r\nContent-Length: 999\r\n\r\nx"
            )
        start = time.monotonic()
        assert post(served, cell).status_code == 200
        assert seconds(start) < 1.4, "while all of them were still dripping"
        for client in (*heads, *bodies):
            assert client.recv(1000).startswith(b"HTTP/1.1 408")
        assert served.stop() == 0


# Overload


async def offer(port: int, body: bytes, rate: float, duration_s: float) -> list[tuple[int, float, int]]:
    """Requests on a schedule, whatever becomes of them: status, seconds from the scheduled moment, Retry-After."""
    loop = asyncio.get_running_loop()
    idle: list[tuple[float, asyncio.StreamReader, asyncio.StreamWriter]] = []
    begin = loop.time()

    async def one(place: int) -> tuple[int, float, int]:
        due = begin + place / rate
        await asyncio.sleep(due - loop.time())
        rested, reader, writer = idle.pop() if idle else (-math.inf, None, None)
        if reader is None or writer is None or loop.time() - rested > KEPT_S:
            reader, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.write(body)
        head = (await reader.readuntil(b"\r\n\r\n")).decode()
        length = re.search(r"(?i)content-length: (\d+)", head)
        assert length is not None
        await reader.readexactly(int(length[1]))
        idle.append((loop.time(), reader, writer))
        retry = re.search(r"(?i)retry-after: (\d+)", head)
        return int(head.split()[1]), loop.time() - due, int(retry[1]) if retry else 0

    try:
        return await asyncio.gather(*(one(place) for place in range(int(rate * duration_s))))
    finally:
        for *_, writer in idle:
            writer.close()


def test_ten_times_too_much_is_answered_with_200_or_429_and_nothing_else(
    tmp_path: Path, write_bundle: WriteBundle, network: TinyNetwork, cell: bytes
) -> None:
    # So slow that the load generator, which has the other core, keeps up.
    very_slow = write_bundle(tmp_path, graph=network.graph(rounds=4 * ROUNDS)).root
    limits = {"HAL_QUEUE_LIMIT": "16", "HAL_MAX_BATCH": "4", "HAL_LOG_LEVEL": "warning"}
    head = f"POST /classify HTTP/1.1\r\nHost: x\r\nContent-Type: image/png\r\nContent-Length: {len(cell)}\r\n\r\n"
    request = head.encode() + cell
    with running(very_slow, **limits) as served, ThreadPoolExecutor(1) as pool:
        begin, capacity_images = time.monotonic(), 24
        assert post(served, *[cell] * capacity_images).status_code == 200
        capacity = capacity_images / seconds(begin)
        probing = threading.Event()
        probes = pool.submit(probe, served, probing)
        try:
            answers = asyncio.run(offer(served.port, request, 10 * capacity, OVERLOAD_S))
        finally:
            probing.set()
        statuses = collections.Counter(status for status, _, _ in answers)
        assert set(statuses) == {200, 429}
        assert statuses[200] > 0.5 * capacity * OVERLOAD_S, "it goes on working at its pace"
        assert all(1 <= retry <= 60 for status, _, retry in answers if status == 429)
        waits = sorted(wait for status, wait, _ in answers if status == 200)
        refusals = sorted(wait for status, wait, _ in answers if status == 429)
        logger.info(
            "%d requests in %g s, ten times the capacity of %.1f/s: 200 to %d (median %.2f s, p99 %.2f s), 429 to %d "
            "(median %.4f s, p99 %.4f s)",
            *(len(answers), OVERLOAD_S, capacity, statuses[200], waits[len(waits) // 2], waits[len(waits) * 99 // 100]),
            *(statuses[429], refusals[len(refusals) // 2], refusals[len(refusals) * 99 // 100]),
        )
        # A full queue before it, the batch that runs, and this machine's load generator.
        assert waits[len(waits) // 2] < 20 / capacity + 1
        assert set(probes.result()) == {(200, 200)}, "a full queue is no reason to restart it or to route around it"
        assert post(served, cell).status_code == 200, "and afterwards it is as before"
        assert served.stop() == 0


def probe(served: Process, enough: threading.Event) -> list[tuple[int, int]]:
    found = []
    with served.http() as http:
        while not enough.wait(0.1):
            found.append((http.get("/health/live").status_code, http.get("/health/ready").status_code))
    return found


# The model


def test_a_corrupt_bundle_is_refused_by_sighup_and_by_request_while_clients_are_served(
    tmp_path: Path, write_bundle: WriteBundle, cell: bytes
) -> None:
    root = tmp_path / "bundle"
    write_bundle(root)
    with running(root) as served, served.http() as http, load(served, cell, clients=4) as stop:
        until(lambda: answered(served, 200) > 20)
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
        before = answered(served, 200)
        until(lambda: answered(served, 200) > before + 20)
        answers = stop()
        assert set(answers) == {"200"}
        # A line is written after its answer.
        until(lambda: answered(served, 200) == answers["200"])
        assert served.stop() == 0


def test_a_signal_to_reload_before_the_model_is_open_does_not_end_the_process(bundle: Bundle) -> None:
    with running(bundle.root, wait=False) as served:
        until(lambda: served.answers("/health/live") == 200)
        served.send(signal.SIGHUP)
        until(lambda: served.answers("/health/ready") == 200)
        assert served.stop() == 0


# The engine


def test_a_poisoned_image_in_a_full_batch_has_its_own_error(slow: Path, cell: bytes) -> None:
    poison = coloured(POISON)
    with running(slow, HAL_MAX_BATCH="8") as served, ThreadPoolExecutor(9) as clients:

        def tried_again() -> bool:
            # A free device takes what is there: only what comes while it is busy makes a batch with the poisoned one.
            blocking = clients.submit(post, served, *[cell] * 8)
            others = [clients.submit(post, served, cell) for _ in range(7)]
            poisoned = clients.submit(post, served, poison)
            assert all(right(answer.result()) for answer in (blocking, *others))
            assert (poisoned.result().status_code, code_of(poisoned.result())) == (500, "model_failed")
            return served.logged("trying each image alone")

        until(tried_again)
        mixed = post(served, *[cell] * 7, poison).json()["results"]
        assert [result.get("predicted_class") for result in mixed] == [CLASS_NAMES[CELL]] * 7 + [None]
        assert mixed[7]["error"]["code"] == "model_failed"
        assert served.stop() == 0


def test_an_engine_without_memory_for_a_batch_answers_in_smaller_ones(
    tmp_path: Path, write_bundle: WriteBundle, network: TinyNetwork, cell: bytes
) -> None:
    root = write_bundle(tmp_path, graph=network.graph(memory_for=3)).root
    with running(root, HAL_MAX_BATCH="16") as served:
        response = post(served, *[cell] * 64)
        assert (response.status_code, right(response)) == (200, True)
        failures = [line for line in served.lines() if "no memory for a batch of" in line["message"]]
        assert 1 <= len(failures) <= 3, "16, 8, 4 at most: then it knows"
        assert served.answers("/health/live") == 200
        assert served.stop() == 0


def test_a_hung_engine_is_told_to_the_platform_and_everybody_has_an_answer(slow: Path, cell: bytes) -> None:
    limits = {"HAL_MAX_BATCH": "1", "HAL_STALL_S": "2", "HAL_DEADLINE_MS": "900", "HAL_DRAIN_S": "2"}
    with running(slow, **limits) as served, served.http() as http, ThreadPoolExecutor(4) as clients:
        waiting: list[Future[httpx.Response]] = [clients.submit(post, served, coloured(HANG))]
        until(lambda: hangs(served))
        waiting += [clients.submit(post, served, cell) for _ in range(3)]
        assert waiting[0].result().status_code == 504
        # On a machine that is busy with other things the last ones may come when it is known already.
        assert {answer.result().status_code for answer in waiting[1:]} <= {503, 504}
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
    limits = {"HAL_DEADLINE_MS": "5000", "HAL_UPLOAD_TIMEOUT_S": "5", "HAL_HEADER_TIMEOUT_S": "5", "HAL_STALL_S": "5"}
    with running(slow, program=program, **limits, **variables) as served, ThreadPoolExecutor(1) as clients:
        for jump in (jumps[1], jumps[2], jumps[0]):
            waiting = clients.submit(post, served, *[cell] * 60)
            half_sent = served.connect()
            half_sent.sendall(
                b"POST /classify HTTP/1.1\r\nHost: x\r\nContent-Type: image/png\r\nContent-Length: %d\r\n\r\n"
                % len(cell)
            )
            put(clock, jump)
            assert right(waiting.result())
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
