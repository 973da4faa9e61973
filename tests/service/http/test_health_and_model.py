import threading
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import httpx
import msgspec
import pytest

from contract.bundle import Bundle
from contract.classes import CLASS_NAMES
from service.serving import answers
from tests.service.live_server import PATIENCE_S, LiveServer, serving, until
from tests.service.slow_device import SlowDevice
from tests.service.tiny_bundle import TinyNetwork, encoded


@pytest.fixture(scope="module")
def document(live: LiveServer) -> dict[str, Any]:
    found: dict[str, Any] = live.http.get("/openapi.json").json()
    return found


def test_live_at_once_and_ready_only_when_the_network_is_open(bundle: Bundle) -> None:
    warm = threading.Event()

    def open_engine(*_: Any) -> SlowDevice:
        assert warm.wait(PATIENCE_S)
        return SlowDevice()

    with serving(bundle, open_engine=open_engine, wait=False) as live:
        assert live.http.get("/health/live").json() == {"status": "live"}
        for response in (
            live.http.get("/health/ready"),
            live.http.get("/health/startup"),
            live.http.post("/classify", content=b""),
            live.http.post("/admin/reload"),
        ):
            assert response.status_code == 503
            assert response.json()["error"]["code"] == "starting"
        assert live.http.get("/model").json()["device"] is None
        warm.set()
        until(lambda: live.http.get("/health/ready").json() == {"status": "ready"})
        assert live.http.get("/health/startup").json() == {"status": "started"}
        assert live.http.get("/model").json()["device"] == "cpu"


def test_not_ready_as_soon_as_the_service_is_told_to_stop(bundle: Bundle) -> None:
    with serving(bundle) as live:
        live.hal.begin_drain()
        assert live.http.get("/health/live").status_code == 200
        assert live.http.get("/health/startup").status_code == 200, "it has started"
        for response in (live.http.get("/health/ready"), live.http.post("/classify", content=b"")):
            assert response.status_code == 503
            assert response.json()["error"]["code"] == "draining"


def code_of(response: httpx.Response) -> str:
    return str(response.json()["error"]["code"]) if response.status_code == 503 else "ok"


def test_an_engine_that_hangs_is_seen_by_live_and_ready_and_so_is_its_coming_back(
    bundle: Bundle, network: TinyNetwork
) -> None:
    device = SlowDevice(held=True)
    cell = {"file": encoded(network.cell(1))}
    with (
        serving(bundle, open_engine=lambda *_: device, stall_s=0.2) as live,
        ThreadPoolExecutor(1) as clients,
    ):
        assert code_of(live.http.get("/health/live")) == "ok"
        hanging = clients.submit(live.http.post, "/classify", files=cell)
        device.wait_until_busy()
        until(lambda: code_of(live.http.get("/health/live")) == "stalled")
        assert code_of(live.http.get("/health/ready")) == "stalled"
        assert code_of(live.http.post("/classify", files=cell)) == "stalled", "it would only wait for its deadline"
        assert live.http.get("/health/startup").status_code == 200
        device.let_go()
        assert hanging.result().status_code == 200
        assert code_of(live.http.get("/health/live")) == code_of(live.http.get("/health/ready")) == "ok"


def test_a_broken_batcher_is_seen_by_live_and_ready_and_leaves_nobody_waiting(
    bundle: Bundle, network: TinyNetwork
) -> None:
    device = SlowDevice(held=True)
    cell = {"file": encoded(network.cell(1))}
    with (
        serving(bundle, open_engine=lambda *_: device, max_batch=1) as live,
        ThreadPoolExecutor(2) as clients,
    ):
        answers = [clients.submit(live.http.post, "/classify", files=cell) for _ in range(2)]
        device.wait_until_busy()
        until(lambda: live.hal.batcher.waiting == 1)
        live.hal.batcher._queue.next_batch = None  # type: ignore[assignment, method-assign]
        device.let_go()
        assert sorted(answer.result().status_code for answer in answers) == [200, 500]
        assert code_of(live.http.get("/health/live")) == code_of(live.http.get("/health/ready")) == "stalled"


def test_never_ready_if_the_network_cannot_be_opened(bundle: Bundle) -> None:
    def fail(*_: Any) -> SlowDevice:
        raise RuntimeError("no such device")

    with serving(bundle, open_engine=fail) as live:
        assert str(live.hal.failure) == "no such device"
        response = live.http.get("/health/ready")
        assert response.json()["error"]["code"] == "failed"
        assert "no such device" not in response.text
        assert live.http.get("/health/startup").json()["error"]["code"] == "failed"
        assert live.http.get("/health/live").json()["error"]["code"] == "failed"


def test_the_model_says_what_it_is_and_what_it_was_learned_from(live: LiveServer, bundle: Bundle) -> None:
    model = live.http.get("/model").json()
    assert (model["name"], model["version"], model["device"], model["precision"]) == ("tiny", "1.2.3", "cpu", "float32")
    assert [entry["sha256"] for entry in model["files"]] == [bundle.file().sha256]
    assert [entry["name"] for entry in model["classes"]] == list(CLASS_NAMES)
    assert {entry["evidence"] for entry in model["classes"]} == {"real"}
    assert model["calibration"]["temperature"] == 1.5
    assert model["policy"]["hairy_threshold"] == 0.4
    assert model["limits"] == ["sees one pixel"]
    assert model["metrics"] == model["attributions"] == []


def test_unknown_paths_and_methods_have_the_same_body(live: LiveServer) -> None:
    for response, status, code in (
        (live.http.get("/nowhere"), 404, "not_found"),
        (live.http.get("/classify"), 405, "method_not_allowed"),
    ):
        assert response.status_code == status
        assert response.json()["error"]["code"] == code
        assert response.json()["request_id"] == response.headers["x-request-id"]
    assert live.http.get("/classify").headers["allow"] == "POST"
    assert live.http.put("/model").headers["allow"] == "GET, HEAD"


def test_a_mistake_of_ours_is_a_500_without_its_details(bundle: Bundle) -> None:
    with serving(bundle) as live:
        live.hal.bundle = None  # type: ignore[assignment]
        response = live.http.get("/model", headers={"X-Request-ID": "r-9"})
    assert response.status_code == 500
    assert response.json()["request_id"] == "r-9"
    assert response.json()["error"]["code"] == "internal_error"
    assert "NoneType" not in response.text


def test_openapi_describes_both_bodies_and_every_status(document: dict[str, Any]) -> None:
    assert set(document["paths"]) == {
        "/admin/reload",
        "/classify",
        "/health/live",
        "/health/ready",
        "/health/startup",
        "/model",
        "/slides/classify",
        "/slides/summary",
        "/v2/models/{name}/infer",
    }
    post = document["paths"]["/classify"]["post"]
    assert set(post["requestBody"]["content"]) == {
        "multipart/form-data",
        "image/jpeg",
        "image/png",
        "image/bmp",
        "image/tiff",
        "application/zip",
    }
    statuses = {"200", "400", "401", "403", "408", "413", "415", "422", "429", "500", "503", "504"}
    assert set(post["responses"]) == statuses
    for status, response in post["responses"].items():
        content = response["content"]["application/json"]
        expected = "ClassifyAnswer" if status in ("200", "422") else "ErrorAnswer"
        assert content["schema"] == {"$ref": f"#/components/schemas/{expected}"}
        assert content["example"]
    assert "Retry-After" in post["responses"]["429"]["headers"]
    for path in ("/health/startup", "/health/live", "/health/ready"):
        assert set(document["paths"][path]["get"]["responses"]) == {"200", "503"}
    assert set(document["paths"]["/admin/reload"]["post"]["responses"]) == {"200", "401", "403", "409", "503"}
    infer = document["paths"]["/v2/models/{name}/infer"]["post"]
    assert set(infer["requestBody"]["content"]) == {"application/json", "application/octet-stream"}
    assert set(infer["responses"]) >= {"200", "400", "401", "403", "404", "413", "429", "503", "504"}
    assert infer["externalDocs"]["url"].startswith("https://")
    assert [header["name"] for header in infer["parameters"]][-1] == "Inference-Header-Content-Length"


def test_openapi_says_where_a_key_is_needed_and_names_operations_shortly(document: dict[str, Any]) -> None:
    assert set(document["components"]["securitySchemes"]) == {"bearer", "apiKey"}
    tags = {tag["name"] for tag in document["tags"]}
    names = {}
    for path, operations in document["paths"].items():
        for operation in operations.values():
            names[path] = operation["operationId"]
            assert set(operation["tags"]) <= tags
            assert ("security" in operation) is ("401" in operation["responses"]) is not path.startswith("/health/")
    assert names == {
        "/admin/reload": "reload",
        "/classify": "classify",
        "/health/live": "live",
        "/health/ready": "ready",
        "/health/startup": "startup",
        "/model": "model",
        "/slides/classify": "classify_slide",
        "/slides/summary": "summarise_slide",
        "/v2/models/{name}/infer": "infer",
    }


def test_the_examples_of_openapi_are_answers(document: dict[str, Any]) -> None:
    for path in document["paths"].values():
        for operation in path.values():
            for response in operation["responses"].values():
                content = response["content"]["application/json"]
                if "example" in content:
                    kind = getattr(answers, content["schema"]["$ref"].rsplit("/", 1)[-1])
                    answer = msgspec.convert(content["example"], kind)
                    for result in getattr(answer, "results", ()):
                        one = answers.RefusedImage if "error" in result else answers.ClassifiedImage
                        msgspec.convert(result, one)


def test_every_reference_of_openapi_leads_somewhere(document: dict[str, Any]) -> None:

    def references(node: Any) -> set[str]:
        if isinstance(node, dict):
            own = {node["$ref"]} if isinstance(node.get("$ref"), str) else set()
            return own.union(*map(references, node.values()))
        return set().union(*map(references, node)) if isinstance(node, list) else set()

    for reference in references(document):
        assert reference.rsplit("/", 1)[-1] in document["components"]["schemas"]


@pytest.mark.parametrize(("settings", "most"), [({}, 8), ({"max_batch": 3}, 3), ({"queue_limit": 5}, 5)])
def test_the_model_says_how_large_its_batches_may_be(bundle: Bundle, settings: dict[str, int], most: int) -> None:
    with serving(bundle, **settings) as live:
        assert live.http.get("/model").json()["max_batch"] == most == live.hal.batcher.batch_limit


@pytest.mark.parametrize(
    "path", ["/health/startup", "/health/live", "/health/ready", "/model", "/metrics", "/", "/docs", "/v2", "/nothing"]
)
def test_head_answers_as_get_does_without_the_body(live: LiveServer, path: str) -> None:
    head, get = live.http.head(path), live.http.get(path)
    assert head.status_code == get.status_code
    assert head.content == b""
    passing = {"date", "x-request-id", "content-length"}
    assert {k: v for k, v in head.headers.items() if k not in passing} == {
        k: v for k, v in get.headers.items() if k not in passing
    }
    assert "content-length" in head.headers
    assert live.http.get("/health/live").status_code == 200, "the connection goes on"
