"""Log lines as JSON, one a line; never a file name, never an image."""

import asyncio
import contextlib
import logging
import sys
from datetime import UTC, datetime
from typing import Final, TextIO

import msgspec

from service.observe.tracing import NOBODY, current

_encode: Final = msgspec.json.Encoder().encode


class JsonFormatter(logging.Formatter):
    """A record as one JSON object; ``extra={"fields": {...}}`` adds keys.

    Args:
        process: which of several processes it comes from.
    """

    def __init__(self, process: str | None = None) -> None:
        super().__init__()
        self._process = process
        self._second = -1
        self._until_second = ""

    def format(self, record: logging.LogRecord) -> str:
        """The record as one line."""
        line: dict[str, object] = {
            "time": self._time(record.created),
            "level": record.levelname.lower(),
            "logger": record.name,
            "message": record.getMessage(),
        }
        if self._process is not None:
            line["process"] = self._process
        fields: dict[str, object] = getattr(record, "fields", {})
        if "request_id" not in fields and (context := current.get()) is not NOBODY:
            line |= context.fields()
        line |= fields
        if record.exc_info:
            line["exception"] = self.formatException(record.exc_info)
        return _encode(line).decode()

    def _time(self, created: float) -> str:
        # Written once a second: it would be a third of the time that a line takes.
        second = int(created)
        if second != self._second:
            self._second = second
            self._until_second = datetime.fromtimestamp(second, UTC).strftime("%Y-%m-%dT%H:%M:%S")
        return f"{self._until_second}.{int(1000 * (created - second)):03d}+00:00"


class LineHandler(logging.StreamHandler[TextIO]):
    """Writes lines; one that cannot be written, for example because the disk is full, is counted and gone.

    The lines of one turn of an event loop are written together at its end: a batch answers many requests in a turn,
    and a system call for each would let go of the interpreter's lock as often. Warnings and worse are written at once.

    Attributes:
        lost: lines that could not be written.
    """

    def __init__(self, stream: TextIO) -> None:
        super().__init__(stream)
        self.lost = 0
        self._kept: list[str] = []
        self._flushes: asyncio.AbstractEventLoop | None = None

    def emit(self, record: logging.LogRecord) -> None:
        """Write a record's line, now or at the end of the event loop's turn."""
        try:
            self._kept.append(self.format(record) + self.terminator)
        except Exception:
            self.handleError(record)
            return
        loop = asyncio._get_running_loop() if record.levelno < logging.WARNING else None
        if loop is None:
            self.flush()
        elif self._flushes is not loop:
            self._flushes = loop
            loop.call_soon(self.flush)

    def flush(self) -> None:
        """Write what was kept."""
        with self.lock or contextlib.nullcontext():
            kept, self._kept, self._flushes = self._kept, [], None
            if not kept:
                return
            try:
                self.stream.write("".join(kept))
                self.stream.flush()
            except (OSError, ValueError):
                self.lost += len(kept)

    def handleError(self, record: logging.LogRecord) -> None:  # noqa: D102, N802, ARG002 - logging's own name
        self.lost += 1


def lost_lines() -> int:
    """Lines that could not be written since the start."""
    return sum(handler.lost for handler in logging.getLogger().handlers if isinstance(handler, LineHandler))


def configure(level: str, process: str | None = None) -> None:
    """Send every log line of the process to standard error, at ``level`` and above; ``process`` is said in each."""
    handler = LineHandler(sys.stderr)
    handler.setFormatter(JsonFormatter(process))
    logging.basicConfig(level=level.upper(), handlers=[handler], force=True)
    logging.captureWarnings(capture=True)
    # What no line says is not found out for each (https://docs.python.org/3/howto/logging.html#optimization).
    logging._srcfile = None
    logging.logThreads = logging.logProcesses = logging.logMultiprocessing = False
    for chatty in ("PIL", "uvicorn.access", "python_multipart"):
        logging.getLogger(chatty).setLevel(logging.WARNING)
