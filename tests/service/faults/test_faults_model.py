"""Faults of the model, its bundle and its engine, in a service as a process of its own; see docs/reliability.md."""

import contextlib
import signal
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from contract.bundle import Bundle
from contract.classes import CLASS_NAMES
from tests.conftest import WriteBundle
from tests.service.classify_requests import form
from tests.service.live_server import until
from tests.service.load_clients import CELL, HANGING, POISONED, answered, becomes, code_of, load, post, until_answered
from tests.service.process import running
from tests.service.tiny_bundle import TinyNetwork

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
        assert [result.get("class_name") for result in mixed] == [CLASS_NAMES[CELL]] * 7 + [None]
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
