"""Request ids, W3C trace context and spans, over real sockets to a real collector's endpoint."""

import http.server
import json
import logging
import re
import threading
from collections.abc import Iterator
from typing import Any

import pytest

from contract.bundle import Bundle
from service.observe.logs import JsonFormatter
from service.observe.tracing import RequestContext, Tracer
from tests.service.live_server import serving
from tests.service.process import running
from tests.service.tiny_bundle import TinyNetwork, encoded

TRACE, SPAN = "0af7651916cd43dd8448eb211c80319c", "b7ad6b7169203331"
HEADER = f"00-{TRACE}-{SPAN}-01"


@pytest.mark.parametrize("header", ["", "00-0-0-01", f"ff-{TRACE}-{SPAN}-01", f"00-{'0' * 32}-{SPAN}-01", "\xff"])
def test_what_is_no_place_in_a_trace_is_ignored(header: str) -> None:
    span = Tracer().begin_request("GET", header)
    assert RequestContext("r", span=span).fields() == {"request_id": "r"}


@pytest.fixture
def lines() -> Iterator[list[dict[str, Any]]]:
    seen: list[dict[str, Any]] = []

    class Keep(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            seen.append(json.loads(JsonFormatter().format(record)))

    handler, logger = Keep(logging.INFO), logging.getLogger("hal")
    logger.addHandler(handler)
    logger.setLevel(logging.INFO)
    yield seen
    logger.removeHandler(handler)
    logger.setLevel(logging.NOTSET)


def test_a_trace_goes_into_the_log_and_into_the_answer(
    bundle: Bundle, network: TinyNetwork, lines: list[dict[str, Any]]
) -> None:
    with serving(bundle) as live:
        headers = {"Content-Type": "image/png", "traceparent": HEADER, "X-Request-ID": "r-7"}
        response = live.http.post("/classify", content=encoded(network.cell(1)), headers=headers)
        without = live.http.post("/classify", content=encoded(network.cell(1)), headers={"Content-Type": "image/png"})
    assert re.fullmatch(f"00-{TRACE}-(?!{SPAN})[0-9a-f]{{16}}-01", response.headers["traceresponse"])
    assert "traceresponse" not in without.headers
    requests = [line for line in lines if line["logger"] == "hal.requests"]
    assert requests[0]["trace_id"] == TRACE
    assert requests[0]["request_id"] == "r-7"
    assert "trace_id" not in requests[1]


class Collector(http.server.BaseHTTPRequestHandler):
    received: list[bytes]

    def do_POST(self) -> None:
        assert self.path == "/v1/traces"
        self.received.append(self.rfile.read(int(self.headers["Content-Length"])))
        self.send_response(200)
        self.send_header("Content-Length", "0")
        self.end_headers()

    def log_message(self, *_: object) -> None:
        pass


def test_spans_of_decoding_queue_and_device_reach_a_collector(bundle: Bundle, network: TinyNetwork) -> None:
    import httpx
    from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

    received: list[bytes] = []
    handler = type("Handler", (Collector,), {"received": received})
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as collector:
        threading.Thread(target=collector.serve_forever, daemon=True).start()
        endpoint = f"http://127.0.0.1:{collector.server_port}"
        with running(bundle.root, OTEL_EXPORTER_OTLP_ENDPOINT=endpoint) as served:
            headers = {"Content-Type": "image/png", "traceparent": HEADER}
            response = httpx.post(f"{served.url}/classify", content=encoded(network.cell(1)), headers=headers)
            assert response.status_code == 200
            assert served.stop() == 0
        collector.shutdown()
    spans = [
        (resource.resource, span)
        for body in received
        for resource in ExportTraceServiceRequest.FromString(body).resource_spans
        for scope in resource.scope_spans
        for span in scope.spans
        if span.trace_id.hex() == TRACE
    ]
    by_name = {span.name: span for _, span in spans}
    assert set(by_name) == {"POST /classify", "hal.decode", "hal.queue", "hal.device"}
    request = by_name["POST /classify"]
    assert request.parent_span_id.hex() == SPAN
    assert response.headers["traceresponse"].split("-")[2] == request.span_id.hex()
    attributes = {pair.key: pair.value for pair in request.attributes}
    assert attributes["http.response.status_code"].int_value == 200
    assert attributes["hal.images"].int_value == 1
    for name in ("hal.decode", "hal.queue", "hal.device"):
        child = by_name[name]
        assert child.parent_span_id == request.span_id
        margin = 5_000_000  # the two clocks are read one after the other
        assert request.start_time_unix_nano - margin <= child.start_time_unix_nano <= child.end_time_unix_nano
        assert child.end_time_unix_nano <= request.end_time_unix_nano + margin
    assert by_name["hal.decode"].end_time_unix_nano <= by_name["hal.queue"].start_time_unix_nano + 5_000_000
    assert by_name["hal.queue"].end_time_unix_nano <= by_name["hal.device"].start_time_unix_nano + 5_000_000
    names = {pair.value.string_value for pair in spans[0][0].attributes if pair.key == "service.name"}
    assert names == {"hal"}


def test_without_an_endpoint_nothing_is_traced() -> None:
    assert not Tracer.from_environment({}).on
    disabled = {"OTEL_EXPORTER_OTLP_ENDPOINT": "http://127.0.0.1:1", "OTEL_SDK_DISABLED": "true"}
    assert not Tracer.from_environment(disabled).on
