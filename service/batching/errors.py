"""Why a request or an image of it gets no answer."""

from service.errors import ServiceError


class QueueFullError(ServiceError):
    """No permit is free; ``retry_after_s`` is when half of the queue should have been worked off.

    429 and not 503, which makes load balancers take a healthy host out.
    """

    status, code = 429, "queue_full"

    def __init__(self, taken: int, retry_after_s: int, *, bulk: bool) -> None:
        self.retry_after_s = retry_after_s
        kind = "bulk images" if bulk else "images"
        super().__init__(f"{taken} {kind} are waiting already; send the request again in {retry_after_s} s.")


class DrainingError(ServiceError):
    """The service is stopping and takes no more work."""

    status, code = 503, "draining"

    def __init__(self) -> None:
        super().__init__("The service is stopping; send the request again, to another instance if there is one.")


class DeadlineExceededError(ServiceError):
    """An image was not answered in time; it has left the queue."""

    status, code = 504, "deadline_exceeded"

    def __init__(self, limit: str | None = None) -> None:
        """``limit`` names the service's own deadline, ``None`` stands for the request's."""
        within = f"within {limit}" if limit else "in the time that X-Request-Timeout-Ms allows"
        super().__init__(f"An image was not classified {within}; send it again later.")


class ModelFailedError(ServiceError):
    """The network failed on this image, alone as in its batch."""

    status, code = 500, "model_failed"

    def __init__(self) -> None:
        super().__init__("The network failed on this image; report it with the request id.")
