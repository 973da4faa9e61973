"""What every error has that a client is told of."""


class ServiceError(Exception):
    """Answered over HTTP with ``status`` and ``code``; the message is for people.

    A subclass names its status and code once, or gives each instance its own.
    """

    status: int = 500
    code: str = "internal_error"
    retry_after_s: int | None = None
