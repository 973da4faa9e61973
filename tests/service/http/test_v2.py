"""The Open Inference Protocol, spoken by Triton's own client and by hand."""

import contextlib
import hashlib
import json
import sqlite3
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import onnxruntime as ort
import pytest
from numpy.typing import NDArray

from contract.bundle import Bundle
from contract.classes import CELL_CLASSES
from contract.decision import calibrated_probabilities
from service.http.open_inference import InferenceRequestError, read_request
from service.http.routes import v2
from tests.service.live_server import PATIENCE_S, LiveServer, serving
from tests.service.slow_device import SlowDevice
from tests.service.tiny_bundle import POISON, TinyNetwork

triton = pytest.importorskip("tritonclient.http", reason="tritonclient[http] is not installed")
INFER = "/v2/models/tiny/infer"


@pytest.fixture(scope="module")
def live(bundle: Bundle) -> Iterator[LiveServer]:
    with serving(bundle, max_batch=4, max_upload_bytes=20_000_000) as server:
        yield server


@pytest.fixture
def client(live: LiveServer) -> Iterator[Any]:
    client = triton.InferenceServerClient(f"127.0.0.1:{live.port}")
    yield client
    client.close()


@pytest.fixture(scope="module")
def cells(network: TinyNetwork) -> NDArray[np.uint8]:
    """More than two batches."""
    return np.stack([network.cell(index) for index in range(11)])


def embedding(bundle: Bundle, images: NDArray[np.uint8]) -> NDArray[np.float32]:
    session = ort.InferenceSession(bundle.path(bundle.file()), providers=["CPUExecutionProvider"])
    return np.asarray(session.run(["embedding"], {"image": images})[0])


def test_triton_s_client_finds_the_server_and_the_model(client: Any) -> None:
    assert client.is_server_live()
    assert client.is_server_ready()
    assert client.is_model_ready("tiny")
    assert client.is_model_ready("tiny", "1")
    assert not client.is_model_ready("other")
    assert client.get_server_metadata()["extensions"] == [
        "binary_tensor_data",
        "classification",
        "model_configuration",
        "statistics",
    ]
    model = client.get_model_metadata("tiny", "1.2.3")
    assert model["versions"] == ["1", "1.2.3"]
    assert model["inputs"] == [{"name": "image", "datatype": "UINT8", "shape": [-1, 256, 256, 3]}]
    assert [(output["name"], output["shape"]) for output in model["outputs"]] == [
        ("logits", [-1, 20]),
        ("probabilities", [-1, 20]),
        ("embedding", [-1, 2048]),
    ]


@pytest.mark.parametrize("binary_out", [True, False])
@pytest.mark.parametrize("count", [1, 11])
def test_triton_s_client_gets_what_the_graph_gives(
    client: Any, bundle: Bundle, network: TinyNetwork, cells: NDArray[np.uint8], count: int, binary_out: bool
) -> None:
    images = cells[:count]
    tensor = triton.InferInput("image", list(images.shape), "UINT8")
    tensor.set_data_from_numpy(images, binary_data=True)
    names = ("embedding", "logits", "probabilities")
    outputs = [triton.InferRequestedOutput(name, binary_data=binary_out) for name in names]
    answer = client.infer("tiny", [tensor], outputs=outputs, request_id="r-5")
    logits = network.logits(images)
    np.testing.assert_allclose(answer.as_numpy("logits"), logits, rtol=1e-5)
    calibration = bundle.description.calibration
    expected = calibrated_probabilities(logits, calibration.temperature, bundle.description.suppressed)
    np.testing.assert_allclose(answer.as_numpy("probabilities"), expected, atol=1e-6)
    np.testing.assert_allclose(answer.as_numpy("embedding"), embedding(bundle, images), rtol=1e-5)
    described = answer.get_response()
    assert (described["model_name"], described["model_version"], described["id"]) == ("tiny", "1", "r-5")
    assert [output["name"] for output in described["outputs"]] == list(names)


@pytest.mark.parametrize("binary_out", [True, False])
def test_triton_s_client_gets_the_most_probable_classes_with_their_labels(
    client: Any, cells: NDArray[np.uint8], binary_out: bool
) -> None:
    tensor = triton.InferInput("image", list(cells.shape), "UINT8")
    tensor.set_data_from_numpy(cells)
    plain = client.infer("tiny", [tensor]).as_numpy("probabilities")
    wish = triton.InferRequestedOutput("probabilities", binary_data=binary_out, class_count=3)
    found = client.infer("tiny", [tensor], outputs=[wish]).as_numpy("probabilities")
    assert found.shape == (11, 3)
    for row, probabilities in zip(found.astype(str), plain, strict=True):
        for text, index in zip(row, np.argsort(-probabilities), strict=False):
            assert text == f"{probabilities[index]:f}:{index}:{CELL_CLASSES[index].id}"
    wish = triton.InferRequestedOutput("logits", class_count=99)
    assert client.infer("tiny", [tensor], outputs=[wish]).as_numpy("logits").shape == (11, 20)
    with pytest.raises(triton.InferenceServerException, match="no labels"):
        client.infer("tiny", [tensor], outputs=[triton.InferRequestedOutput("embedding", class_count=1)])


def test_triton_s_client_reads_configuration_statistics_and_the_repository(
    bundle: Bundle, cells: NDArray[np.uint8]
) -> None:
    tensor = triton.InferInput("image", list(cells.shape), "UINT8")
    tensor.set_data_from_numpy(cells)
    with (
        serving(bundle, max_batch=4) as live,
        contextlib.closing(triton.InferenceServerClient(f"127.0.0.1:{live.port}")) as client,
    ):
        assert client.get_model_repository_index() == [{"name": "tiny", "version": "1", "state": "READY", "reason": ""}]
        config = client.get_model_config("tiny")
        assert (config["max_batch_size"], config["input"][0]["dims"]) == (1024, [256, 256, 3])
        (before,) = client.get_inference_statistics()["model_stats"]
        assert before["inference_count"] == 0
        client.infer("tiny", [tensor])
        (after,) = client.get_inference_statistics("tiny", "1")["model_stats"]
        spent = after["inference_stats"]
        assert after["inference_count"] == spent["success"]["count"] == spent["queue"]["count"] == 11
        assert 3 <= after["execution_count"] <= 11
        assert 0 < spent["compute_infer"]["ns"] <= spent["success"]["ns"]
        with pytest.raises(triton.InferenceServerException, match="no model 'other'"):
            client.get_inference_statistics("other")


def request(data: Any, shape: tuple[int, ...] = (1, 256, 256, 3), **more: Any) -> dict[str, Any]:
    return {"inputs": [{"name": "image", "shape": list(shape), "datatype": "UINT8", "data": data}], **more}


@pytest.mark.parametrize("nested", [True, False])
def test_plain_json_in_and_out(live: LiveServer, network: TinyNetwork, cells: NDArray[np.uint8], nested: bool) -> None:
    data = cells[:1].tolist() if nested else cells[:1].ravel().tolist()
    response = live.http.post(INFER, json=request(data, id="x", outputs=[{"name": "logits"}]))
    assert response.status_code == 200
    assert response.headers["content-type"] == "application/json"
    assert "inference-header-content-length" not in response.headers
    answer = response.json()
    assert (answer["id"], answer["model_name"]) == ("x", "tiny")
    (output,) = answer["outputs"]
    assert (output["name"], output["datatype"], output["shape"]) == ("logits", "FP32", [1, 20])
    np.testing.assert_allclose(output["data"], network.logits(cells[:1])[0], rtol=1e-5)


def test_a_byte_order_mark_before_the_json_does_not_matter(live: LiveServer, cells: NDArray[np.uint8]) -> None:
    body = b"\xef\xbb\xbf" + json.dumps(request(cells[0].ravel().tolist())).encode()
    assert live.http.post(INFER, content=body).status_code == 200


def post_binary(live: LiveServer, images: NDArray[np.uint8], **changes: Any) -> httpx.Response:
    entry = {
        "name": "image",
        "shape": list(images.shape),
        "datatype": "UINT8",
        "parameters": {"binary_data_size": images.nbytes},
    }
    head = json.dumps({"inputs": [entry | changes.pop("entry", {})]}).encode()
    headers = {"Inference-Header-Content-Length": str(changes.pop("length", len(head)))}
    return live.http.post(INFER, content=head + images.tobytes() + changes.pop("tail", b""), headers=headers)


def error_of(response: httpx.Response, status: int) -> str:
    assert response.status_code == status, response.text[:300]
    assert set(response.json()) == {"error"}
    assert response.headers["x-request-id"]
    return str(response.json()["error"])


def test_what_is_wrong_is_told_in_the_protocol_s_form(live: LiveServer, cells: NDArray[np.uint8]) -> None:
    one = cells[:1]
    assert post_binary(live, one).status_code == 200
    assert "binary_data_size" in error_of(post_binary(live, one, tail=b"x"), 400)
    assert "Inference-Header-Content-Length" in error_of(post_binary(live, one, length=999_999_999), 400)
    assert "Inference-Header-Content-Length" in error_of(post_binary(live, one, length="-1"), 400)
    assert "not JSON" in error_of(post_binary(live, one, length=3), 400)
    assert "FP32" in error_of(post_binary(live, one, entry={"datatype": "FP32"}), 400)
    assert "expected input 'image'" in error_of(post_binary(live, one, entry={"name": "pixels"}), 400)
    for shape in ([0, 256, 256, 3], [-1, 256, 256, 3], [2, 256, 256, 3], [256, 256, 3], [], [10**12, 256, 256, 3]):
        error_of(post_binary(live, one, entry={"shape": shape}), 400)
    for body in (b"", b"{", b"[]", b"null", b'{"inputs": []}', b'{"inputs": [{}]}', b"\xff"):
        error_of(live.http.post(INFER, content=body), 400)
    huge = post_binary(live, one, entry={"parameters": {"binary_data_size": one.nbytes, "x": "x" * 65536}})
    assert "at most 65536" in error_of(huge, 400)
    flat = one.ravel().tolist()
    for wrong in ([], 1, flat[1:], [*flat, 0], [flat], [flat[:3], flat[3:]], [[1], *flat[1:]]):
        error_of(live.http.post(INFER, json=request(wrong)), 400)
    assert "expected 196608" in error_of(live.http.post(INFER, json=request(flat[1:])), 400)
    assert "does not exist" in error_of(live.http.post(INFER, json=request(flat, outputs=[{"name": "x"}])), 400)
    classification = [{"name": "logits", "parameters": {"classification": -1}}]
    assert "classification" in error_of(live.http.post(INFER, json=request(flat, outputs=classification)), 400)
    assert "Content-Encoding" in error_of(
        live.http.post(INFER, content=b"x", headers={"Content-Encoding": "gzip"}), 415
    )


def test_unknown_models_paths_and_methods_are_told_too(live: LiveServer) -> None:
    assert "'tiny'" in error_of(live.http.get("/v2/models/other"), 404)
    assert "version 1 or 1.2.3" in error_of(live.http.get("/v2/models/tiny/versions/7/ready"), 404)
    error_of(live.http.post("/v2/models/other/infer", content=b"{}"), 404)
    error_of(live.http.get("/v2/nowhere"), 404)
    error_of(live.http.get(INFER), 405)


def test_too_much_is_refused_before_it_is_read(live: LiveServer) -> None:
    tensor = {"Inference-Header-Content-Length": "9"}
    assert "20000001" in error_of(live.http.post(INFER, content=b" " * 20_000_001, headers=tensor), 413)


def test_more_numbers_than_a_few_images_are_refused_with_the_way_that_takes_them(bundle: Bundle) -> None:
    with serving(bundle, max_json_bytes=1_000_000) as live:
        refused = error_of(live.http.post(INFER, content=b" " * 1_000_001), 413)
        assert "1000001 bytes" in refused
        assert "HAL_MAX_JSON_BYTES" in refused
        assert "binary_data=True" in refused
        assert post_binary(live, np.full((8, 256, 256, 3), 9, np.uint8)).status_code == 200


@pytest.mark.parametrize("nested", [True, False])
def test_what_is_no_pixel_is_refused(cells: NDArray[np.uint8], nested: bool) -> None:
    body = json.dumps(request(cells[:1].tolist() if nested else cells[0].ravel().tolist()))
    begin, _, end = body.rpartition(f" {cells[0, -1, -1, -2]},")
    for number in ("256", "1" + 30 * "0", "-1", "0.5", "1e2", "true", "null", '"1"', "[]", "{}"):
        with pytest.raises(InferenceRequestError, match="whole numbers from 0 to 255"):
            read_request(f"{begin} {number},{end}".encode(), None, 1)


@pytest.mark.parametrize("layout", [{}, {"separators": (",", ":")}, {"indent": 1}])
def test_every_layout_of_json_is_read(cells: NDArray[np.uint8], layout: dict[str, Any]) -> None:
    for data in (cells[:2].tolist(), cells[:2].ravel().tolist()):
        body = json.dumps(request(data, (2, 256, 256, 3)), **layout).encode()
        np.testing.assert_array_equal(read_request(body, None, 2).images, cells[:2])


def test_while_a_body_is_read_health_checks_are_answered_and_a_timeout_holds(
    live: LiveServer, cells: NDArray[np.uint8], monkeypatch: pytest.MonkeyPatch
) -> None:
    begun, go = threading.Event(), threading.Event()

    def read(*_: object) -> None:
        begun.set()
        go.wait(PATIENCE_S)

    monkeypatch.setattr(v2, "read_request", read)
    body = request(cells[:1].ravel().tolist())
    with ThreadPoolExecutor(1) as clients:
        late = clients.submit(live.http.post, INFER, json=body, headers={"X-Request-Timeout-Ms": "2000"})
        assert begun.wait(PATIENCE_S)
        assert live.http.get("/health/live").status_code == 200
        assert "X-Request-Timeout-Ms" in error_of(late.result(), 504)
        go.set()


def test_a_failing_image_fails_its_request_and_no_other(live: LiveServer, cells: NDArray[np.uint8]) -> None:
    poisoned = cells[:2].copy()
    poisoned[1] = POISON
    assert "network failed" in error_of(post_binary(live, poisoned), 500)
    assert post_binary(live, cells).status_code == 200


def test_a_failure_of_the_network_is_counted_and_recorded_for_each_image(
    bundle: Bundle, cells: NDArray[np.uint8], tmp_path: Path
) -> None:
    rows = tmp_path / "rows.db"
    poisoned = cells[:2].copy()
    poisoned[1] = POISON
    with serving(bundle, audit=f"sqlite:///{rows}") as live:
        error_of(post_binary(live, poisoned), 500)
        assert 'hal_images_total{outcome="model_failed"} 2.0' in live.http.get("/metrics").text
    with contextlib.closing(sqlite3.connect(rows)) as database:
        found = database.execute("SELECT image_sha256, error, predicted_class FROM hal_audit_images").fetchall()
    assert sorted(found) == sorted(
        (hashlib.sha256(image.tobytes()).hexdigest(), "model_failed", None) for image in poisoned
    )


def test_a_full_queue_and_a_key_are_told_in_the_protocol_s_form(bundle: Bundle, cells: NDArray[np.uint8]) -> None:
    device = SlowDevice(held=True)
    with serving(bundle, open_engine=lambda *_: device, queue_limit=2, max_batch=2) as live:
        first = threading.Thread(target=post_binary, args=(live, cells))
        first.start()
        device.wait_until_busy()
        response = post_binary(live, cells[:1])
        assert "are waiting already" in error_of(response, 429)
        assert int(response.headers["retry-after"]) >= 1
        device.let_go()
        first.join()
        live.hal.begin_drain()
        assert live.http.get("/v2/health/ready").status_code == 503
        assert live.http.get("/v2/health/live").status_code == 200
        error_of(live.http.get("/v2/models/tiny/ready"), 503)


def test_requests_of_the_protocol_are_counted_by_what_became_of_them(bundle: Bundle, cells: NDArray[np.uint8]) -> None:
    """By the pattern of the path: a client's names become no labels."""
    route = "/v2/models/{name}/infer"
    with serving(bundle, max_json_bytes=2_000_000) as live:
        error_of(live.http.post(INFER, content=b"{"), 400)
        error_of(live.http.post("/v2/models/other/infer", content=b"{}"), 404)
        error_of(live.http.post(INFER, content=b" " * 2_000_001), 413)
        error_of(post_binary(live, np.full_like(cells[:1], POISON)), 500)
        assert post_binary(live, cells[:1]).status_code == 200
        live.hal.begin_drain()
        error_of(post_binary(live, cells[:1]), 503)
        text = live.http.get("/metrics").text
    for outcome in ("bad_request", "not_found", "too_large", "failed", "ok", "unavailable"):
        assert f'hal_requests_total{{outcome="{outcome}",route="{route}"}} 1.0' in text or (
            f'hal_requests_total{{route="{route}",outcome="{outcome}"}} 1.0' in text
        ), outcome
