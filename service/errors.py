"""What every error has that a client is told of."""


class ServiceError(Exception):
    """Answered over HTTP with ``status`` and ``code``; the message is for people.

    A subclass names its status and code once, or gives each instance its own.

    Attributes:
        status: the HTTP status.
        code: the word for software.
        retry_after_s: seconds after which the request may be sent again, if that is known.
    """

    status: int = 500
    code: str = "internal_error"
    retry_after_s: int | None = None
