import asyncio
import errno
import io
import json
import logging
from collections.abc import Iterator
from datetime import datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from service.observe.logs import JsonFormatter, LineHandler


class Stream(io.StringIO):
    """Remembers what each write was given."""

    def __init__(self) -> None:
        super().__init__()
        self.written: list[list[str]] = []

    def write(self, text: str) -> int:
        self.written.append([json.loads(line)["message"] for line in text.splitlines()])
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


def test_every_line_of_a_write_that_fails_is_counted(logger: logging.Logger, handler: LineHandler) -> None:
    handler.setStream(Full())

    async def turn() -> None:
        logger.info("a")
        logger.info("b")
        await asyncio.sleep(0)

    asyncio.run(turn())
    assert handler.lost == 2


@given(st.lists(st.floats(0, 4e9), min_size=1))
def test_a_line_has_the_time_of_its_record_to_the_millisecond(times: list[float]) -> None:
    formatter = JsonFormatter()
    for created in times:
        record = logging.makeLogRecord({"msg": "a", "created": created})
        said = datetime.fromisoformat(json.loads(formatter.format(record))["time"])
        assert abs(said.timestamp() - created) < 0.0011
