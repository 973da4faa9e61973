import asyncio
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


class Stream(io.StringIO):
    """Remembers what each write was given."""

    def __init__(self) -> None:
        super().__init__()
        self.written: list[list[str]] = []

    def write(self, text: str) -> int:
        self.written.append([json.loads(line)["message"] for line in text.splitlines() if line[0] == "{"])
        return super().write(text)


@pytest.fixture
def stream() -> Stream:
    return Stream()


@pytest.fixture
def handler(stream: Stream) -> LineHandler:
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


def test_a_line_is_one_json_object_whatever_is_in_it(logger: logging.Logger, stream: Stream) -> None:
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
    logger: logging.Logger, handler: LineHandler, stream: Stream
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


def test_the_lines_of_one_turn_of_the_loop_are_written_together_at_its_end(
    logger: logging.Logger, stream: Stream
) -> None:
    async def turns() -> None:
        logger.info("a")
        logger.info("b")
        assert stream.written == []
        await asyncio.sleep(0)
        assert stream.written == [["a", "b"]]
        logger.info("c")
        await asyncio.sleep(0)

    asyncio.run(turns())
    assert stream.written == [["a", "b"], ["c"]]


def test_a_warning_is_written_at_once_and_behind_the_lines_before_it(logger: logging.Logger, stream: Stream) -> None:
    async def turn() -> None:
        logger.info("a")
        logger.warning("b")
        assert stream.written == [["a", "b"]]

    asyncio.run(turn())
    assert stream.written == [["a", "b"]]


def test_outside_of_a_loop_no_line_waits_and_what_its_end_left_is_written_by_a_flush(
    logger: logging.Logger, handler: LineHandler, stream: Stream
) -> None:
    logger.info("a")
    assert stream.written == [["a"]]

    async def last_turn() -> None:
        logger.info("b")

    asyncio.run(last_turn())
    handler.flush()
    assert stream.written == [["a"], ["b"]]


def test_what_a_loop_left_at_its_end_goes_out_with_the_first_turn_of_the_next(
    logger: logging.Logger, stream: Stream
) -> None:
    loop = asyncio.new_event_loop()

    def last() -> None:
        logger.info("a")
        loop.stop()

    loop.call_soon(last)
    loop.run_forever()
    loop.close()

    async def turn() -> None:
        logger.info("b")
        await asyncio.sleep(0)
        assert stream.written == [["a", "b"]]

    asyncio.run(turn())


class Full(io.StringIO):
    """A disk without room."""

    def write(self, _: str) -> int:
        raise OSError(errno.ENOSPC, "No space left on device")


def test_every_line_that_cannot_be_written_is_counted(logger: logging.Logger, handler: LineHandler) -> None:
    handler.setStream(Full())

    async def turn() -> None:
        logger.info("a")
        logger.info("b")
        await asyncio.sleep(0)

    asyncio.run(turn())
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
