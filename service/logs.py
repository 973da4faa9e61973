"""Log lines as JSON, one a line; never a file name, never an image."""

import json
import logging
import sys
from datetime import UTC, datetime
from typing import TextIO

from service.tracing import NOBODY, current


class JsonFormatter(logging.Formatter):
    """A record as one JSON object; ``extra={"fields": {...}}`` adds keys.

    Args:
        process: which of several processes it comes from.
    """

    def __init__(self, process: str | None = None) -> None:
        super().__init__()
        self._process = process

    def format(self, record: logging.LogRecord) -> str:
        """The record as one line."""
        line: dict[str, object] = {
            "time": datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds"),
            "level": record.levelname.lower(),
            "logger": record.name,
            "message": record.getMessage(),
        }
        if self._process is not None:
            line["process"] = self._process
        if (context := current.get()) is not NOBODY:
            line |= context.fields()
        line |= getattr(record, "fields", {})
        if record.exc_info:
            line["exception"] = self.formatException(record.exc_info)
        return json.dumps(line, ensure_ascii=False)


class LineHandler(logging.StreamHandler[TextIO]):
    """Writes lines; one that cannot be written, for example because the disk is full, is counted and gone.

    Attributes:
        lost: lines that could not be written.
    """

    def __init__(self, stream: TextIO) -> None:
        super().__init__(stream)
        self.lost = 0

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
    for chatty in ("PIL", "uvicorn.access", "python_multipart"):
        logging.getLogger(chatty).setLevel(logging.WARNING)
