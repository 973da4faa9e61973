"""``/metrics`` as Prometheus's own parser reads it, after real requests."""

import threading
from collections.abc import Iterator

import numpy as np
import pytest
from prometheus_client.openmetrics.parser import text_string_to_metric_families as parse_openmetrics
from prometheus_client.parser import text_string_to_metric_families as parse

from contract.bundle import Bundle
from contract.classes import CELL_CLASSES, HAIRY_CELL
from contract.decision import decide
from service.auth.keys import Role, add
from service.batching.queue import Priority
from service.observe.metrics import Metrics
from service.serving.states import State
from tests.service.live_server import LiveServer, serving, until
from tests.service.slow_device import SlowDevice
from tests.service.tiny_bundle import TinyNetwork, encoded

Samples = dict[tuple[str, frozenset[tuple[str, str]]], float]


@pytest.fixture
def live(bundle: Bundle) -> Iterator[LiveServer]:
    with serving(bundle, max_batch=4) as server:
        yield server


def scraped(live: LiveServer) -> Samples:
    response = live.http.get("/metrics")
    assert response.status_code == 200
    return {
        (sample.name, frozenset(sample.labels.items())): sample.value
        for family in parse(response.text)
        for sample in family.samples
    }


def value(samples: Samples, name: str, **labels: str) -> float:
    return samples[name, frozenset((key.rstrip("_"), text) for key, text in labels.items())]


def post(live: LiveServer, *images: bytes) -> int:
    files = [("file", ("secret-patient-name.png", image)) for image in images]
    return live.http.post("/classify", files=files).status_code


def test_requests_images_and_cells_are_counted(live: LiveServer, bundle: Bundle, network: TinyNetwork) -> None:
    hairy, eosinophil = network.cell(HAIRY_CELL.index), network.cell(1)
    assert post(live, encoded(hairy), encoded(eosinophil), encoded(eosinophil)[:100]) == 200
    assert post(live, b"GIF") == 422
    assert live.http.post("/classify", content=b"x", headers={"Content-Type": "text/plain"}).status_code == 415
    assert live.http.get("/secret-patient-name").status_code == 404
    found = scraped(live)

    assert value(found, "hal_requests_total", route="/classify", outcome="ok") == 1
    assert value(found, "hal_requests_total", route="/classify", outcome="nothing_classified") == 1
    assert value(found, "hal_requests_total", route="/classify", outcome="unsupported_type") == 1
    assert value(found, "hal_requests_total", route="other", outcome="not_found") == 1
    assert value(found, "hal_images_total", outcome="classified") == 2
    assert value(found, "hal_images_total", outcome="truncated_image") == 1
    assert value(found, "hal_images_total", outcome="unsupported_type") == 1
    assert value(found, "hal_cells_predicted_total", class_="hairy-cell") == 1
    assert value(found, "hal_cells_predicted_total", class_="eosinophil") == 1
    assert value(found, "hal_cells_predicted_total", class_="blast") == 0
    assert value(found, "hal_cells_flagged_total") == 1
    decisions = decide(network.logits(np.stack([hairy, eosinophil])), bundle.description)
    assert value(found, "hal_top_probability_count") == 2
    expected = sum(max(decision.probabilities) for decision in decisions)
    assert value(found, "hal_top_probability_sum") == pytest.approx(expected, abs=1e-5)
    assert value(found, "hal_decode_seconds_count") == 4
    assert value(found, "hal_queue_seconds_count") == 2
    assert value(found, "hal_request_seconds_count") == 2
    assert value(found, "hal_state", state="ready") == 1
    assert value(found, "hal_state", state="draining") == 0
    model = next(dict(labels) for name, labels in found if name == "hal_model_info")
    assert model["sha256"] == bundle.file().sha256
    assert (model["name"], model["version"], model["device"]) == ("tiny", "1.2.3", "cpu")
    assert value(found, "process_resident_memory_bytes") > 0


def test_nothing_that_a_client_sends_becomes_a_label(live: LiveServer, network: TinyNetwork) -> None:
    image = encoded(network.cell(1))
    before = set(scraped(live))
    for place in range(20):
        live.http.get(f"/secret-{place}", headers={"X-Request-ID": f"secret-{place}"})
        live.http.post(f"/v2/models/secret-{place}/infer", content=b"{}")
        live.http.request(f"SECRET{place}", "/classify")
        live.http.post("/classify", files={f"secret-{place}": ("secret.png", image)})
        post(live, image)
    text = live.http.get("/metrics").text
    assert "secret" not in text.lower()
    assert len(set(scraped(live)) - before) < 20


def test_batches_and_queue_are_seen_while_the_device_is_busy(bundle: Bundle, network: TinyNetwork) -> None:
    device = SlowDevice(held=True)
    with serving(bundle, open_engine=lambda *_: device, max_batch=4, queue_limit=8) as live:
        image = encoded(network.cell(1))
        first = threading.Thread(target=post, args=(live, image))
        first.start()
        device.wait_until_busy()
        rest = threading.Thread(target=post, args=(live, *[image] * 6))
        rest.start()
        until(lambda: value(scraped(live), "hal_queue_images", priority="routine") == 6)
        found = scraped(live)
        assert value(found, "hal_images_accepted", priority="routine") == 7
        assert value(found, "hal_queue_limit") == 8
        assert value(found, "hal_batch_images_count") == 0
        device.let_go()
        first.join()
        rest.join()
        found = scraped(live)
    assert value(found, "hal_queue_images", priority="routine") == 0
    assert value(found, "hal_batch_images_count") == 3
    assert value(found, "hal_batch_images_sum") == 7
    assert value(found, "hal_batch_images_bucket", le="1.0") == 1
    assert value(found, "hal_batch_images_bucket", le="2.0") == 2
    assert value(found, "hal_batch_images_bucket", le="4.0") == 3
    assert value(found, "hal_device_seconds_count") == 3
    assert value(found, "hal_queue_seconds_count") == 7
    assert value(found, "hal_queue_seconds_sum") > 0


def test_openmetrics_is_spoken_to_those_who_ask_for_it(live: LiveServer, network: TinyNetwork) -> None:
    post(live, encoded(network.cell(1)))
    response = live.http.get("/metrics", headers={"Accept": "application/openmetrics-text; version=1.0.0"})
    assert response.headers["content-type"].startswith("application/openmetrics-text")
    families = {family.name: family for family in parse_openmetrics(response.text)}
    assert families["hal_batch_images"].type == "histogram"
    assert all(family.documentation for name, family in families.items() if name.startswith("hal_"))


def test_metrics_need_a_key_but_not_on_this_machine(bundle: Bundle, tmp_path_factory: pytest.TempPathFactory) -> None:
    file = tmp_path_factory.mktemp("keys") / "keys.json"
    secret = add(file, "prometheus", Role.METRICS)
    with serving(bundle, keys_file=file) as live:
        assert live.http.get("/metrics").status_code == 200
        # uvicorn takes a proxy's word for the client's address, if the proxy runs on this machine.
        elsewhere = {"X-Forwarded-For": "192.0.2.7"}
        assert live.http.get("/metrics", headers=elsewhere).status_code == 401
        with_key = elsewhere | {"Authorization": f"Bearer {secret}"}
        assert live.http.get("/metrics", headers=with_key).status_code == 200
        assert live.http.get("/model", headers=with_key).status_code == 403


def test_every_class_state_and_priority_has_a_series_from_the_start(live: LiveServer) -> None:
    found = scraped(live)
    for cell in CELL_CLASSES:
        assert value(found, "hal_cells_predicted_total", class_=cell.id) == 0
    for state in State:
        assert value(found, "hal_state", state=state) == (state is State.READY)
    for priority in Priority:
        assert value(found, "hal_images_accepted", priority=priority) == 0


def test_before_the_model_is_open_what_is_asked_for_when_it_is_read_is_zero() -> None:
    text = Metrics().render("")[0].decode()
    assert 'hal_queue_images{priority="bulk"} 0.0' in text
    assert "hal_audit" not in "".join(line for line in text.splitlines() if not line.startswith("#"))


def test_two_services_of_one_process_count_apart() -> None:
    one, other = Metrics(), Metrics()
    one.refused("cmyk")
    assert b'hal_images_total{outcome="cmyk"} 1.0' in one.render("")[0]
    assert b"cmyk" not in other.render("")[0]
