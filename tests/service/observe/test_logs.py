import errno
import io
import json
import logging
import os
import pty
import subprocess
import sys
from collections.abc import Iterator

import pytest

from service.observe.logs import JsonFormatter, LineHandler, TextFormatter
from service.observe.tracing import RequestContext, current


@pytest.fixture
def stream() -> io.StringIO:
    return io.StringIO()


@pytest.fixture
def handler(stream: io.StringIO) -> LineHandler:
    handler = LineHandler(stream)
    handler.setFormatter(JsonFormatter())
    return handler


@pytest.fixture
def logger(handler: LineHandler) -> Iterator[logging.Logger]:
    logger = logging.getLogger("hal.test-logs")
    logger.propagate, before = False, logger.level
    logger.setLevel(logging.INFO)
    logger.addHandler(handler)
    yield logger
    logger.removeHandler(handler)
    logger.propagate = True
    logger.setLevel(before)


def test_a_line_is_one_json_object_whatever_is_in_it(logger: logging.Logger, stream: io.StringIO) -> None:
    try:
        raise ValueError("two\nlines")
    except ValueError:
        logger.exception("caf\u00e9 %s", "a\nb", extra={"fields": {"status": 200}})
    (line,) = stream.getvalue().splitlines()
    said = json.loads(line)
    assert said["message"] == "caf\u00e9 a\nb"
    assert said["status"] == 200
    assert "ValueError: two\nlines" in said["exception"]
    assert said["time"].endswith("+00:00")


def test_a_line_names_the_request_that_is_being_worked_on(
    logger: logging.Logger, handler: LineHandler, stream: io.StringIO
) -> None:
    token = current.set(RequestContext("r-1", "analyser-1"))
    try:
        logger.info("a")
        handler.setFormatter(TextFormatter())
        logger.info("b", extra={"fields": {"images": 2}})
    finally:
        current.reset(token)
    as_json, as_text = stream.getvalue().splitlines()
    assert json.loads(as_json)["request_id"] == "r-1"
    assert as_text.endswith("INFO     hal.test-logs: b request_id=r-1 key=analyser-1 images=2")


class Full(io.StringIO):
    """A disk without room."""

    def write(self, _: str) -> int:
        raise OSError(errno.ENOSPC, "No space left on device")


def test_every_line_that_cannot_be_written_is_counted(logger: logging.Logger, handler: LineHandler) -> None:
    handler.setStream(Full())
    logger.info("a")
    logger.info("b")
    assert handler.lost == 2


@pytest.mark.parametrize(
    ("form", "on_terminal", "is_json"),
    [("auto", True, False), ("auto", False, True), ("json", True, True), ("text", False, False)],
)
def test_lines_are_text_on_a_terminal_and_json_elsewhere_unless_told(
    form: str, on_terminal: bool, is_json: bool
) -> None:
    program = (
        f"from service.observe import logs; import logging; logs.configure('info', {form!r}); logging.info('said')"
    )
    ours, theirs = pty.openpty() if on_terminal else os.pipe()
    finished = subprocess.run([sys.executable, "-c", program], stderr=theirs, check=True)
    assert finished.returncode == 0
    said = os.read(ours, 4096)
    os.close(ours)
    os.close(theirs)
    assert said.startswith(b"{") is is_json
    assert b"said" in said
