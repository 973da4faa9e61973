"""A request has a name, the client's or one of the service's, and one line in the log."""

import json
import logging
import logging.handlers
import queue

import pytest

from service.observe.logs import JsonFormatter
from tests.service.classify_requests import form
from tests.service.live_server import LiveServer


def test_a_sensible_request_id_is_kept(live: LiveServer, cell: bytes) -> None:
    response = live.http.post("/classify", files=form(cell), headers={"X-Request-ID": "lis-4711:cell_2"})
    assert response.headers["x-request-id"] == response.json()["request_id"] == "lis-4711:cell_2"


@pytest.mark.parametrize("given", ["", "a b", "x" * 129, "<script>", 'a"b'])
def test_another_request_id_is_replaced(live: LiveServer, given: str) -> None:
    response = live.http.get("/health/live", headers={"X-Request-ID": given})
    assert len(response.headers["x-request-id"]) == 32


def test_a_request_is_one_log_line_without_file_names(live: LiveServer, cell: bytes) -> None:
    lines: queue.SimpleQueue[logging.LogRecord] = queue.SimpleQueue()
    handler = logging.handlers.QueueHandler(lines)
    logger = logging.getLogger("hal")
    logger.addHandler(handler)
    logger.setLevel(logging.INFO)
    try:
        files = [("file", ("doe-jane-1970.png", cell)), ("file", ("doe-jane-1970.png", b""))]
        named = {"client_ref": ["jane-doe", "jane-doe"]}
        live.http.post("/classify", files=files, data=named, headers={"X-Request-ID": "r-1"})
        line = json.loads(JsonFormatter().format(lines.get(timeout=20)))
    finally:
        logger.removeHandler(handler)
        logger.setLevel(logging.NOTSET)
    assert line.pop("ms") > 0
    assert line.pop("time")
    assert line == {
        "level": "info",
        "logger": "hal.requests",
        "message": "request",
        "request_id": "r-1",
        "method": "POST",
        "path": "/classify",
        "status": 200,
        "images": 2,
    }
    assert lines.empty()
