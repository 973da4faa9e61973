"""HAL_HTTP_WORKERS: several processes answer as one does."""

import json
import os
import signal
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from contract import bundle as bundles
from contract.bundle import Bundle
from contract.classes import CLASS_NAMES
from contract.description import EmbeddingReference
from tests.service.classify_requests import form
from tests.service.conftest import WriteBundle
from tests.service.live_server import until
from tests.service.process import Process, failing, running
from tests.service.several_processes import (
    WORKERS,
    connected_to,
    engine_pid,
    from_fresh_connections,
    memory_of,
    readings,
    several,
    worker_pid,
)
from tests.service.tiny_bundle import POISON, TinyNetwork, coloured, encoded

INFER = "/v2/models/tiny/infer"
BULK = 70
"""More images than a worker has slots."""


@pytest.fixture(scope="module")
def referenced(tmp_path_factory: pytest.TempPathFactory, write_bundle: WriteBundle, network: TinyNetwork) -> Bundle:
    """The tiny bundle with a reference that drift is measured against."""
    bundle = write_bundle(tmp_path_factory.mktemp("referenced"))
    mean = np.full(2048, network.colours[1].astype(np.float32).sum() / 16 / 2048, np.float32)
    file = bundle.root / "reference.npz"
    np.savez(file, mean=mean, class_means=np.tile(mean, (20, 1)))
    reference = EmbeddingReference(
        path=file.name,
        sha256=bundles.sha256_of(file),
        precision="float32",
        images=5,
        data="made",
        spread=0.01,
        spread_within=0.01,
    )
    return bundles.write(bundle.root, bundle.manifest.model_copy(update={"reference": reference}))


@pytest.fixture(scope="module")
def served(referenced: Bundle) -> Iterator[Process]:
    with several(referenced.root, HAL_MAX_FILES="80", HAL_MAX_IMAGE_BYTES="300000") as process:
        yield process


@pytest.fixture(scope="module")
def single(referenced: Bundle) -> Iterator[Process]:
    with running(referenced.root, HAL_MAX_FILES="80", HAL_MAX_IMAGE_BYTES="300000") as process:
        yield process


@pytest.fixture(scope="module")
def requests(network: TinyNetwork) -> dict[str, dict[str, Any]]:
    """Requests of every kind, and of every way not to be answered."""
    cell, other = encoded(network.cell(3)), encoded(network.cell(11), "JPEG", quality=90)
    poison = encoded(coloured(POISON))
    pixels = np.stack([network.cell(index) for index in range(3)])
    tensor = {"name": "image", "shape": [3, 256, 256, 3], "datatype": "UINT8", "parameters": {}}
    tensor["parameters"] = {"binary_data_size": pixels.nbytes}
    outputs = [{"name": name} for name in ("logits", "probabilities", "embedding")]
    head = json.dumps({"inputs": [tensor], "outputs": outputs}).encode()
    images = [encoded(network.cell(index % 20)) for index in range(BULK)]

    def post(path: str = "/classify", **rest: Any) -> dict[str, Any]:
        return {"method": "POST", "url": path, **rest}

    length = {"Inference-Header-Content-Length": str(len(head))}

    def raw(data: bytes, **headers: str) -> dict[str, Any]:
        return post(content=data, headers={"Content-Type": "image/png", **headers})

    return {
        "one image": post(files=form(cell)),
        "a JPEG as it is": raw(other),
        "one of three refused": post(files=form(cell, b"no image", other)),
        "all refused": post(files=form(b"", cell[:2000])),
        "bulk": post(files=form(*images)),
        "the network fails on one of two": post(files=form(poison, cell)),
        "the network fails on the only one": post(files=form(poison)),
        "another field": post(files=[("picture", ("x", cell))]),
        "a header that means nothing": raw(cell, **{"X-Priority": "urgent"}),
        "another type": post(content=cell, headers={"Content-Type": "text/plain"}),
        "too many files": post(files=form(*[cell] * 81)),
        "too large": raw(bytes(300_001)),
        "too little time": raw(cell, **{"X-Request-Timeout-Ms": "0"}),
        "a slide": post("/slides/classify", files=form(*images[:25])),
        "a tensor": post(INFER, content=head + pixels.tobytes(), headers=length),
        "no tensor": post(INFER, content=b"{}"),
        "the model": {"method": "GET", "url": "/model"},
        "ready": {"method": "GET", "url": "/health/ready"},
        "live": {"method": "GET", "url": "/health/live"},
        "started": {"method": "GET", "url": "/health/startup"},
        "the protocol's metadata": {"method": "GET", "url": "/v2/models/tiny"},
        "nothing there": {"method": "GET", "url": "/nothing"},
    }  # fmt: skip


def answer(served: Process, request: dict[str, Any]) -> tuple[int, dict[str, str], bytes]:
    headers = request.get("headers", {}) | {"X-Request-ID": "same"}
    with served.http() as http:
        response = http.request(**request | {"headers": headers})
    kept = {name: value for name, value in response.headers.items() if name != "date"}
    content = response.content
    if request["url"] == "/model":
        said = response.json()
        # How fast the machine was at the start is in it.
        del said["batching"], kept["content-length"]
        content = json.dumps(said).encode()
    return response.status_code, kept, content


def test_every_answer_is_the_one_that_a_single_process_gives(
    served: Process, single: Process, requests: dict[str, dict[str, Any]]
) -> None:
    different = {}
    for name, request in requests.items():
        expected = answer(single, request)
        for found in (answer(served, request) for _ in range(WORKERS)):
            if found != expected:
                different[name] = found, expected
    assert different == {}


def test_clients_share_workers_and_batches_and_each_has_its_own_answer(
    referenced: Bundle, network: TinyNetwork
) -> None:
    with several(referenced.root) as served:

        def client(number: int) -> list[str]:
            with connected_to(served, number % WORKERS) if number < WORKERS else served.http() as http:
                return [
                    http.post("/classify", files=form(encoded(network.cell((number + turn) % 20)))).json()["results"][
                        0
                    ]["predicted_class"]
                    for turn in range(25)
                ]

        answers = [client(number) for number in range(WORKERS)]
        with ThreadPoolExecutor(6) as clients:
            answers += clients.map(client, range(WORKERS, 8))
        assert answers == [[CLASS_NAMES[(number + turn) % 20] for turn in range(25)] for number in range(8)]
        processes = {line["process"] for line in served.lines() if line.get("path") == "/classify"}
        assert processes == {"http-0", "http-1"}, "both have answered"

        def counted() -> bool:
            now = readings(served)
            return (
                now["hal_requests_total", "ok", "/classify"],
                now["hal_images_total", "classified"],
                now["hal_decode_seconds_count",],
                now["hal_queue_seconds_count",],
                now["hal_embedding_images_total",],
                now["hal_seats_taken", "routine"],
            ) == (200, 200, 200, 200, 200, 0)

        until(counted)
        last = readings(served)
        assert last["hal_batch_images_sum",] == 200
        assert last["hal_embedding_drift", "within_class"] > 0
        assert (last["hal_processes", "http"], last["hal_processes", "engine"]) == (WORKERS, 1)
        assert last["process_resident_memory_bytes",] > 3 * 40e6, "of all processes"
        assert served.stop() == 0


def test_every_worker_tells_the_same_of_the_whole(served: Process, network: TinyNetwork) -> None:
    with served.http() as http:
        assert http.post("/classify", files=form(encoded(network.cell(2)))).status_code == 200

    def agree() -> bool:
        told = {response.text.split("# HELP process_")[0] for response in from_fresh_connections(served, "/metrics", 6)}
        counts = {
            line
            for text in told
            for line in text.splitlines()
            if line.startswith(("hal_images_total", "hal_cells_predicted_total", "hal_batch_images_sum"))
        }
        return len({line.rsplit(" ", 1)[0] for line in counts}) == len(counts)

    until(agree)


def test_the_log_names_the_process_and_the_request(served: Process) -> None:
    with served.http() as http:
        poison = encoded(coloured(POISON))
        http.post("/classify", files=form(poison), headers={"X-Request-ID": "r-9"})
    until(lambda: any(line.get("request_id") == "r-9" for line in served.lines()))
    assert {line["process"] for line in served.lines()} == {"parent", "engine", "http-0", "http-1"}


def test_signals_to_all_processes_are_the_parent_s(referenced: Bundle, network: TinyNetwork) -> None:
    """As a terminal's Ctrl-C and some supervisors send them: those that still work are not cut off."""
    with several(referenced.root) as served:
        for pid in (engine_pid(served), worker_pid(served, 0), worker_pid(served, 1)):
            os.kill(pid, signal.SIGTERM)
            os.kill(pid, signal.SIGINT)
        with served.http() as http:
            assert http.post("/classify", files=form(encoded(network.cell(2)))).status_code == 200
        assert len(memory_of(served)) == 2
        assert served.stop() == 0


def test_a_row_of_the_audit_trail_for_each_image_whichever_worker_answers(
    bundle: Bundle, network: TinyNetwork, tmp_path: Path
) -> None:
    sqlalchemy = pytest.importorskip("sqlalchemy", reason="the extra 'audit' is not installed")
    url = f"sqlite:///{tmp_path}/audit.db"
    with several(bundle.root, HAL_AUDIT=url, HAL_AUDIT_SPOOL=str(tmp_path / "spool")) as served:
        for turn in range(10):
            with served.http() as http:
                images = form(encoded(network.cell(turn)), b"no image")
                assert http.post("/classify", files=images, headers={"X-Request-ID": f"r-{turn}"}).status_code == 200
                assert http.get("/health/ready").json() == {"status": "ready", "audit": "database"}
        assert served.stop() == 0
    with sqlalchemy.create_engine(url).connect() as connection:
        rows = connection.execute(
            sqlalchemy.text(
                "select request_id, image_index, predicted_class, error, settings_version from hal_audit_images"
            )
        ).all()
        versions = connection.execute(sqlalchemy.text("select version from hal_audit_settings")).scalars().all()
    assert len(rows) == 20
    assert {(row.request_id, row.image_index) for row in rows} == {(f"r-{n}", i) for n in range(10) for i in (0, 1)}
    assert {row.error for row in rows} == {None, "unsupported_type"}
    assert {row.settings_version for row in rows} == set(versions), "explained by the engine process's own"


@pytest.mark.parametrize(("variable", "value"), [("HAL_HTTP_WORKERS", "0"), ("HAL_HTTP_WORKERS", "65")])
def test_a_number_of_workers_that_makes_no_sense_is_refused(bundle: Bundle, variable: str, value: str) -> None:
    assert f"{variable}='{value}'" in failing(HAL_BUNDLE=str(bundle.root), **{variable: value})


def test_a_bundle_that_the_engine_process_refuses_is_one_clear_message(
    tmp_path: Path, write_bundle: WriteBundle, network: TinyNetwork
) -> None:
    write_bundle(tmp_path, graph=network.graph(bias=50))
    # No wait for requests, which there are none: the start would not fail within the test's patience.
    said = failing("--port", "0", HAL_BUNDLE=str(tmp_path), HAL_HTTP_WORKERS="2", HAL_DRAIN_S="3600")
    assert said.count("hal serve: ") == 1
    assert "differs from the golden sample" in said
