"""The two kinds of errors that people are told of: on a terminal, and over HTTP."""


class UserError(Exception):
    """What was asked for cannot be done; the message says what was wrong, what was expected and what to do."""


class ServiceError(Exception):
    """Answered over HTTP with ``status`` and ``code``; the message is for people.

    A subclass names its status and code once, or gives each instance its own.
    """

    status: int = 500
    code: str = "internal_error"
    retry_after_s: int | None = None


class RequestError(ServiceError):
    """A request cannot be answered as it is."""

    def __init__(self, status: int, code: str, message: str) -> None:
        self.status = status
        self.code = code
        super().__init__(message)
