"""What can go wrong with a request as a whole. One refused image is no error: see :class:`client.answers.Refused`."""


class HalError(Exception):
    """A request was not answered.

    Attributes:
        request_id: the id under which the service's log has the request.
    """

    def __init__(self, message: str, request_id: str) -> None:
        self.request_id = request_id
        super().__init__(f"{message} (request {request_id})")


class RefusedRequestError(HalError):
    """The service refuses the request and would refuse it again.

    Attributes:
        status: HTTP status, such as 401 or 413.
        code: the service's code, such as ``request_too_large``.
    """

    def __init__(self, status: int, code: str, message: str, request_id: str) -> None:
        self.status = status
        self.code = code
        super().__init__(f"{status} {code}: {message}", request_id)


class OtherModelError(HalError):
    """Results of one slide were made with another model than the one that is served, or with several.

    It happens when the service's model is replaced meanwhile. Classify the images again.
    """


class UnavailableError(HalError):
    """The service did not take the request within the retries; ``__cause__`` is the last failure of the connection.

    Attributes:
        attempts: how often it was sent.
        status: the last HTTP status, ``None`` if there was no whole answer.
        retry_after_s: when the service wants to be asked again, if it said so.
    """

    def __init__(
        self, message: str, request_id: str, *, attempts: int, status: int | None, retry_after_s: float | None
    ) -> None:
        self.attempts = attempts
        self.status = status
        self.retry_after_s = retry_after_s
        super().__init__(message, request_id)


class AnswerError(HalError):
    """An answer is complete but not one that this client understands: another service, or another version of HAL."""
