"""Log lines on standard error, as JSON or as text; never a file name, never an image."""

import asyncio
import contextlib
import logging
import sys
from datetime import UTC, datetime
from typing import Any, Final, Literal, TextIO

import msgspec

from service.observe.tracing import NOBODY, current

_ENCODER: Final = msgspec.json.Encoder(enc_hook=str)


def _fields_of(record: logging.LogRecord) -> dict[str, Any]:
    """What ``extra={"fields": {...}}`` adds, with the request that is being worked on."""
    fields: dict[str, Any] = getattr(record, "fields", {})
    context = current.get()
    return fields if "request_id" in fields or context is NOBODY else context.fields() | fields


class JsonFormatter(logging.Formatter):
    """A record as one JSON object; ``extra={"fields": {...}}`` adds keys."""

    def format(self, record: logging.LogRecord) -> str:
        line = {
            "time": datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds"),
            "level": record.levelname.lower(),
            "logger": record.name,
            "message": record.getMessage(),
        } | _fields_of(record)
        if record.exc_info:
            line["exception"] = self.formatException(record.exc_info)
        return _ENCODER.encode(line).decode()


class TextFormatter(logging.Formatter):
    """A record as a line to read, its fields behind it."""

    def __init__(self) -> None:
        super().__init__("%(asctime)s %(levelname)-8s %(name)s: %(message)s")

    def formatMessage(self, record: logging.LogRecord) -> str:  # noqa: N802 - logging's own name
        fields = "".join(f" {key}={value}" for key, value in _fields_of(record).items())
        return super().formatMessage(record) + fields


class LineHandler(logging.StreamHandler[TextIO]):
    """Writes lines; one that cannot be written, for example because the disk is full, is counted and gone.

    The lines of one turn of an event loop are written together at its end: a batch answers many requests in a turn, and
    a system call for each lets go of the interpreter's lock as often. Warnings and worse are written at once.
    """

    def __init__(self, stream: TextIO) -> None:
        super().__init__(stream)
        self.lost = 0
        self._kept: list[str] = []
        self._flushes: asyncio.AbstractEventLoop | None = None

    def emit(self, record: logging.LogRecord) -> None:
        """Write a record's line, now or at the end of the event loop's turn."""
        self._kept.append(self.format(record) + self.terminator)
        loop = asyncio._get_running_loop() if record.levelno < logging.WARNING else None
        if loop is None:
            self.flush()
        elif self._flushes is not loop:
            self._flushes = loop
            loop.call_soon(self.flush)

    def flush(self) -> None:
        with self.lock or contextlib.nullcontext():
            kept, self._kept, self._flushes = self._kept, [], None
            if not kept:
                return
            try:
                self.stream.write("".join(kept))
                self.stream.flush()
            except (OSError, ValueError):
                self.lost += len(kept)


def say(text: str, *, err: bool = False) -> None:
    """Print for a person; a stream that takes nothing, for example because its disk is full, is no reason to stop."""
    with contextlib.suppress(OSError, ValueError):
        print(text, file=sys.stderr if err else sys.stdout, flush=True)


def say_on_terminal(text: str) -> None:
    """Print only where a person sees it at once."""
    for stream in (sys.stdout, sys.stderr):
        if stream.isatty():
            say(text, err=stream is sys.stderr)
            return


def lost_lines() -> int:
    return sum(handler.lost for handler in logging.getLogger().handlers if isinstance(handler, LineHandler))


def configure(level: str, form: Literal["auto", "json", "text"] = "auto") -> None:
    """Send every log line of the process to standard error, at ``level`` and above.

    ``auto`` is text where a person reads it on a terminal and JSON elsewhere.
    """
    handler = LineHandler(sys.stderr)
    text = form == "text" or (form == "auto" and sys.stderr.isatty())
    handler.setFormatter(TextFormatter() if text else JsonFormatter())
    logging.basicConfig(level=level.upper(), handlers=[handler], force=True)
    logging.captureWarnings(capture=True)
    # No line says these: https://docs.python.org/3/howto/logging.html#optimization
    logging._srcfile = None
    logging.logThreads = logging.logProcesses = logging.logMultiprocessing = False
    for chatty in ("PIL", "uvicorn.access", "python_multipart"):
        logging.getLogger(chatty).setLevel(logging.WARNING)
