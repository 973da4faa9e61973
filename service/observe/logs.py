"""Log lines on standard error, as JSON or as text; never a file name, never an image."""

import json
import logging
import sys
from datetime import UTC, datetime
from typing import Any, Literal, TextIO

from service.observe.tracing import NOBODY, current


def _fields_of(record: logging.LogRecord) -> dict[str, Any]:
    """What ``extra={"fields": {...}}`` adds, with the request that is being worked on."""
    fields: dict[str, Any] = getattr(record, "fields", {})
    context = current.get()
    return fields if "request_id" in fields or context is NOBODY else context.fields() | fields


class JsonFormatter(logging.Formatter):
    """A record as one JSON object; ``extra={"fields": {...}}`` adds keys."""

    def format(self, record: logging.LogRecord) -> str:
        """The record as one line."""
        line = {
            "time": datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds"),
            "level": record.levelname.lower(),
            "logger": record.name,
            "message": record.getMessage(),
        } | _fields_of(record)
        if record.exc_info:
            line["exception"] = self.formatException(record.exc_info)
        return json.dumps(line, ensure_ascii=False, separators=(",", ":"), default=str)


class TextFormatter(logging.Formatter):
    """A record as a line to read, its fields behind it."""

    def __init__(self) -> None:
        super().__init__("%(asctime)s %(levelname)-8s %(name)s: %(message)s")

    def formatMessage(self, record: logging.LogRecord) -> str:  # noqa: N802 - logging's own name
        """The line without its exception."""
        fields = "".join(f" {key}={value}" for key, value in _fields_of(record).items())
        return super().formatMessage(record) + fields


class LineHandler(logging.StreamHandler[TextIO]):
    """Writes lines; one that cannot be written, for example because the disk is full, is counted and gone.

    Attributes:
        lost: lines that could not be written.
    """

    def __init__(self, stream: TextIO) -> None:
        super().__init__(stream)
        self.lost = 0

    def handleError(self, record: logging.LogRecord) -> None:  # noqa: ARG002, D102, N802 - logging's own name
        self.lost += 1


def lost_lines() -> int:
    """Lines that could not be written since the start."""
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
    for chatty in ("PIL", "uvicorn.access", "python_multipart"):
        logging.getLogger(chatty).setLevel(logging.WARNING)
