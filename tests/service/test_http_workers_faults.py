"""Faults done to a service of several processes; docs/reliability.md is the table of them."""

import contextlib
import os
import signal
import time
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path

import httpx

from tests.service.classify_requests import form
from tests.service.conftest import WriteBundle
from tests.service.live_server import until
from tests.service.load_clients import HANGING, ROUNDS, answered, becomes, code_of, load, post, until_answered
from tests.service.process import PATIENCE_S, Process, seconds
from tests.service.several_processes import (
    WORKERS,
    alive,
    all_pids,
    connected_to,
    engine_pid,
    from_fresh_connections,
    memory_of,
    only_worker,
    readings,
    several,
    worker_pid,
    worker_starts,
)
from tests.service.tiny_bundle import TinyNetwork

PATIENT = {"HAL_DEADLINE_MS": "600000"}
"""For tests in which something stands still: however slow the machine is, nothing ends by its deadline."""


# A worker


def test_kill_9_of_a_worker_costs_its_connections_and_it_is_started_again(slow: Path, cell: bytes) -> None:
    with several(slow) as served, load(served, cell) as clients:
        until_answered(served, 40)
        engine, victim, other = engine_pid(served), worker_pid(served, 0), worker_pid(served, 1)
        before = readings(served)
        os.kill(victim, signal.SIGKILL)
        until(lambda: worker_pid(served, 0) != victim)
        until(lambda: worker_starts(served, 0) == 2)
        # More images than it has slots: those of its former self came back.
        until(lambda: post(served, *[cell] * 40).status_code == 200 and by_present_worker(served, 0) > 0)
        answers = clients.stop()
        assert set(answers) <= {"200", "cut off"}
        assert answers["cut off"] <= 8, "at most what was under way on its connections"
        assert (engine_pid(served), worker_pid(served, 1)) == (engine, other), "the others live on"
        assert served.logged("HTTP worker 0 ended (killed by SIGKILL)")
        until(lambda: readings(served)["hal_seats_taken", "routine"] == 0)
        after = readings(served)
        assert (after["hal_processes_lost_total", "http"], after["hal_processes_lost_total", "engine"]) == (1, 0)
        assert after["hal_processes", "http"] == WORKERS
        assert [key for key in before if key[0].endswith(("_total", "_count")) and after[key] < before[key]] == []
        assert served.stop() == 0


def by_present_worker(served: Process, place: int) -> int:
    """Requests to /classify that the present worker of a place has answered."""
    count = 0
    for line in served.lines():
        if line["process"] == f"http-{place}":
            if line["message"].startswith("Started server process"):
                count = 0
            count += line.get("path") == "/classify"
    return count


def test_images_of_a_killed_worker_leave_the_queue_and_those_of_the_other_stay(slow: Path, cell: bytes) -> None:
    with several(slow, HAL_MAX_BATCH="1", HAL_DRAIN_S="2", **PATIENT) as served, ThreadPoolExecutor(9) as clients:
        with only_worker(served, 0):
            staying = [hang(served, clients), *(clients.submit(post, served, cell) for _ in range(4))]
            until(lambda: readings(served)["hal_seats_taken", "routine"] == 5)
        with only_worker(served, 1):
            leaving = [clients.submit(post, served, cell) for _ in range(4)]
            until(lambda: readings(served)["hal_seats_taken", "routine"] == 9)
        os.kill(worker_pid(served, 1), signal.SIGKILL)
        until(lambda: served.logged("HTTP worker 1 ended"))
        assert all(isinstance(request.exception(), httpx.TransportError) for request in leaving)
        until(lambda: readings(served)["hal_seats_taken", "routine"] == 5)
        assert readings(served)["hal_images_left_total", "withdrawn"] == 4
        assert served.stop() == 0
        for request in staying:
            assert (request.result().status_code, code_of(request.result())) == (503, "draining")


def hang(served: Process, clients: ThreadPoolExecutor) -> "Future[httpx.Response]":
    """Let the device hang that has done nothing yet."""
    request = clients.submit(post, served, HANGING)
    until(lambda: readings(served)["hal_seats_taken", "routine"] == 1)
    # Only the worker that has decoded it knows that at once; the metrics of either are asked for in turn.
    until(lambda: readings(served)["hal_decode_seconds_count",] == 1)
    until(lambda: readings(served)["hal_queue_images", "routine"] == 0)
    return request


# The engine process


def test_kill_9_of_the_engine_process_is_told_to_everybody_and_it_is_started_again(slow: Path, cell: bytes) -> None:
    with several(slow) as served, load(served, cell) as clients:
        until_answered(served, 40)
        before = readings(served)
        workers, victim = [worker_pid(served, place) for place in range(WORKERS)], engine_pid(served)
        os.kill(victim, signal.SIGKILL)
        until(lambda: served.logged("the engine process ended (killed by SIGKILL)"))
        # The next one is held up until everybody was asked.
        until(lambda: engine_pid(served) != victim)
        os.kill(engine_pid(served), signal.SIGSTOP)
        ready = from_fresh_connections(served, "/health/ready", 4)
        assert {(answer.status_code, code_of(answer)) for answer in ready} == {(503, "engine_lost")}
        assert {answer.status_code for answer in from_fresh_connections(served, "/health/live", 4)} == {200}
        assert {answer.status_code for answer in from_fresh_connections(served, "/health/startup", 4)} == {200}
        lost = readings(served)
        assert (lost["hal_state", "engine_lost"], lost["hal_state", "ready"]) == (1, 0)
        assert lost["hal_seats_taken", "routine"] == 0
        os.kill(engine_pid(served), signal.SIGCONT)
        until(lambda: served.answers("/health/ready") == 200)
        until_answered(served, 100)
        answers = clients.stop()
        assert set(answers) == {"200", "engine_lost"}, "nobody was left without an answer, or had a wrong one"
        assert engine_pid(served) != victim
        assert [worker_pid(served, place) for place in range(WORKERS)] == workers, "the workers live on"
        after = readings(served)
        assert (after["hal_processes_lost_total", "http"], after["hal_processes_lost_total", "engine"]) == (0, 1)
        counted = ("hal_requests_total", "hal_images_total", "hal_queue_seconds_count")
        assert [key for key in before if key[0].startswith(counted) and after[key] < before[key]] == []
        assert served.stop() == 0


def test_what_an_engine_process_held_when_it_was_killed_is_answered_at_once(slow: Path, cell: bytes) -> None:
    with several(slow, HAL_MAX_BATCH="1", **PATIENT) as served, ThreadPoolExecutor(9) as clients:
        waiting = [hang(served, clients)]
        waiting += [clients.submit(post, served, *[cell] * count) for count in (1, 1, 1, 40)]
        until(lambda: readings(served)["hal_seats_taken", "routine"] >= 4)
        start = time.monotonic()
        os.kill(engine_pid(served), signal.SIGKILL)
        assert {(request.result().status_code, code_of(request.result())) for request in waiting} == {
            (503, "engine_lost")
        }
        assert seconds(start) < 30, "and not at their deadlines"
        until(lambda: served.answers("/health/ready") == 200)
        assert becomes(post(served, cell)) == "200"


def test_an_engine_process_that_stands_still_is_told_and_goes_on_where_it_was(slow: Path, cell: bytes) -> None:
    with several(slow, HAL_STALL_S="1", **PATIENT) as served, load(served, cell) as clients:
        until_answered(served, 20)
        with connected_to(served, 0) as one, connected_to(served, 1) as other, ThreadPoolExecutor(WORKERS) as pool:
            os.kill(engine_pid(served), signal.SIGSTOP)
            # So that each worker has somebody who waits: without that it has no reason to complain.
            waiting = [pool.submit(client.post, "/classify", files=form(cell)) for client in (one, other)]
            until(lambda: {answer.status_code for answer in from_fresh_connections(served, "/health/live", 4)} == {503})
            ready = from_fresh_connections(served, "/health/ready", 4)
            assert {(answer.status_code, code_of(answer)) for answer in ready} == {(503, "stalled")}
            assert {becomes(answer) for answer in from_posts(served, cell, 4)} == {"stalled"}
            os.kill(engine_pid(served), signal.SIGCONT)
            # On a machine that is busy with other things even these may come when it is known already.
            assert {becomes(answer.result()) for answer in waiting} <= {"200", "stalled"}
        until(lambda: served.answers("/health/ready") == 200)
        until_answered(served, 20)
        # Who asks before the engine has said its first word may be told that it stands still; nobody else is.
        assert {"200"} <= set(clients.stop()) <= {"200", "stalled"}, "those who waited have their answer"
        assert served.stop() == 0


# Overload and deadlines, which are those of the whole service


def test_seats_deadlines_and_priorities_hold_for_all_workers_together(slow: Path, cell: bytes) -> None:
    limits = {"HAL_MAX_BATCH": "1", "HAL_QUEUE_LIMIT": "4", "HAL_STALL_S": "1000"}
    with several(slow, HAL_DRAIN_S="2", **limits, **PATIENT) as served, ThreadPoolExecutor(9) as clients:
        waiting = [hang(served, clients)]
        waiting += [clients.submit(post, served, cell, **{"X-Priority": "bulk"}) for _ in range(2)]
        until(lambda: readings(served)["hal_seats_taken", "bulk"] == 2)
        for _ in range(6):
            refused = post(served, cell, **{"X-Priority": "bulk"})
            assert (refused.status_code, code_of(refused)) == (429, "queue_full"), "bulk has its half"
            assert int(refused.headers["Retry-After"]) >= 1
        with served.connect() as client:
            head = b"POST /classify HTTP/1.1\r\nHost: x\r\nContent-Type: image/png\r\nContent-Length: %d\r\n\r\n"
            client.sendall(head % len(cell) + cell)
            until(lambda: readings(served)["hal_seats_taken", "routine"] == 2)
            full = from_posts(served, cell, 6)
            assert {(answer.status_code, code_of(answer)) for answer in full} == {(429, "queue_full")}
            assert served.answers("/health/ready") == 200
        until(lambda: readings(served)["hal_seats_taken", "routine"] == 1)
        until(lambda: readings(served)["hal_clients_gone_total",] == 1)
        late = post(served, cell, **{"X-Request-Timeout-Ms": "300"})
        assert (late.status_code, code_of(late)) == (504, "deadline_exceeded")
        until(lambda: readings(served)["hal_seats_taken", "routine"] == 1)
        assert served.stop() == 0
        for request in waiting:
            assert (request.result().status_code, code_of(request.result())) == (503, "draining")


def from_posts(served: Process, cell: bytes, times: int) -> list[httpx.Response]:
    """Answers to images that find any worker."""
    return [post(served, cell) for _ in range(times)]


def test_a_hung_device_is_told_by_every_worker(slow: Path, cell: bytes) -> None:
    with several(slow, HAL_STALL_S="0.5", HAL_DEADLINE_MS="1500", HAL_DRAIN_S="2") as served:
        assert becomes(post(served, HANGING)) == "deadline_exceeded"
        # On a machine that is busy with other things it may have passed before the device had the image.
        until(lambda: served.answers("/health/live") == 503 or becomes(post(served, HANGING)) == "stalled")
        for path in ("/health/live", "/health/ready"):
            answers = from_fresh_connections(served, path, 4)
            assert {(answer.status_code, code_of(answer)) for answer in answers} == {(503, "stalled")}
        assert {code_of(answer) for answer in from_posts(served, cell, 4)} == {"stalled"}
        assert served.stop() == 0


# Reload


def test_a_reload_loses_nothing_and_is_seen_by_all_workers(
    tmp_path: Path, write_bundle: WriteBundle, network: TinyNetwork, cell: bytes
) -> None:
    for version in ("1.0.0", "2.0.0", "3.0.0"):
        write_bundle(tmp_path / version, version=version, graph=network.graph(rounds=ROUNDS))
    link = tmp_path / "current"

    def put(version: str) -> None:
        fresh = tmp_path / "fresh"
        fresh.symlink_to(tmp_path / version)
        fresh.rename(link)

    def versions(served: Process) -> set[str]:
        return {answer.json()["version"] for answer in from_fresh_connections(served, "/model", 8)}

    put("1.0.0")
    with several(link) as served, load(served, cell) as clients:
        until_answered(served, 20)
        put("2.0.0")
        with served.http() as http:
            done = http.post("/admin/reload")
        assert [done.json()[moment]["version"] for moment in ("before", "now")] == ["1.0.0", "2.0.0"]
        assert versions(served) == {"2.0.0"}, "from the answer on, whoever is asked"
        assert post(served, cell).json()["model"]["version"] == "2.0.0"
        (tmp_path / "3.0.0" / "golden.npz").rename(tmp_path / "kept")
        put("3.0.0")
        with served.http() as http:
            refused = http.post("/admin/reload")
        assert (refused.status_code, code_of(refused)) == (409, "bundle_refused")
        assert "golden.npz is missing" in refused.json()["error"]["message"]
        assert versions(served) == {"2.0.0"}
        (tmp_path / "kept").rename(tmp_path / "3.0.0" / "golden.npz")
        served.send(signal.SIGHUP)
        until(lambda: versions(served) == {"3.0.0"})
        until_answered(served, 20)
        assert set(clients.stop()) == {"200"}
        os.kill(engine_pid(served), signal.SIGKILL)
        until(lambda: served.logged("the engine process ended"))
        until(lambda: served.answers("/health/ready") == 200)
        assert versions(served) == {"3.0.0"}, "and after the engine process was lost"
        assert served.stop() == 0


# The end


def test_sigterm_under_load_answers_all_that_was_accepted(slow: Path, cell: bytes) -> None:
    with several(slow, HAL_DRAIN_S="50") as served, load(served, cell, until_refused=True) as clients:
        until_answered(served, 40)
        start = time.monotonic()
        assert served.stop() == 0
        assert seconds(start) < 45, "as soon as they have their answers"
        answers = clients.stop()
        assert answers["200"] == answered(served), "each answer that was made has arrived"
        assert set(answers) <= {"200", "draining", "refused", "cut off"}
        assert not served.logged("cancelled")
        assert memory_of(served) == []


def test_before_the_load_balancer_knows_the_service_says_not_ready_and_serves(slow: Path, cell: bytes) -> None:
    with several(slow, HAL_DRAIN_S="120", HAL_DRAIN_DELAY_S="60") as served:
        served.send(signal.SIGTERM)
        until(lambda: served.answers("/health/ready") == 503)
        assert {becomes(answer) for answer in from_posts(served, cell, 4)} == {"200"}
        served.send(signal.SIGTERM)
        assert served.wait() == 0


def test_nothing_outlives_a_parent_that_was_killed(slow: Path, cell: bytes) -> None:
    with several(slow, HAL_DRAIN_S="5") as served, load(served, cell, clients=2, until_refused=True) as clients:
        until_answered(served, 10)
        pids = all_pids(served)
        served.send(signal.SIGKILL)
        until(lambda: not any(alive(pid) for pid in pids))
        until(lambda: memory_of(served) == [])
        assert set(clients.stop()) <= {"200", "draining", "refused", "cut off"}


def test_an_engine_process_that_never_becomes_ready_ends_the_service(slow: Path) -> None:
    with several(slow, wait=False) as served:
        give_up = time.monotonic() + PATIENCE_S
        while served.process.poll() is None:
            assert time.monotonic() < give_up
            for pid in engines(served):
                with contextlib.suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)
        assert served.process.returncode == 1
        assert served.logged("5 engine processes ended before they were ready; the service ends")


def engines(served: Process) -> list[int]:
    """The present engine process, if there has been one."""
    return [engine_pid(served)] if served.logged("the engine process is") else []
