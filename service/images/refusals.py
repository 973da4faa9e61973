"""Why an image or a request gets no answer, as :mod:`service.images.decode`, ``seats`` and ``batching`` tell it."""

from enum import StrEnum

from service.batching.queue import Priority


class RefusalCode(StrEnum):
    """Why an image was not classified."""

    EMPTY = "empty_image"
    TOO_LARGE = "image_too_large"
    UNSUPPORTED_TYPE = "unsupported_type"
    CORRUPT = "corrupt_image"
    TRUNCATED = "truncated_image"
    TOO_MANY_PIXELS = "too_many_pixels"
    ANIMATED = "animated_image"
    BIT_DEPTH = "bit_depth"
    CMYK = "cmyk"
    GREYSCALE = "greyscale"
    TRANSPARENT = "transparent"
    COLOUR_SPACE = "colour_space"
    WRONG_SIZE = "wrong_size"
    BLANK = "blank_image"


class ImageRefusedError(Exception):
    """An image cannot be classified; ``code`` is for software, the message for people."""

    def __init__(self, code: RefusalCode, message: str) -> None:
        self.code = code
        super().__init__(message)


class QueueFullError(Exception):
    """No seat is free; ``retry_after_s`` is when half of the queue should have been worked off."""

    def __init__(self, taken: int, priority: Priority, retry_after_s: int) -> None:
        self.taken = taken
        self.priority = priority
        self.retry_after_s = retry_after_s
        kind = "bulk images" if priority is Priority.BULK else "images"
        super().__init__(f"{taken} {kind} are waiting already; send the request again in {retry_after_s} s.")


class DrainingError(Exception):
    """The service is stopping and takes no more work."""

    def __init__(self) -> None:
        super().__init__("The service is stopping; send the request again, to another instance if there is one.")


class DeadlineExceededError(Exception):
    """An image was not answered in time; it has left the queue."""

    def __init__(self, limit: str | None) -> None:
        """``limit`` names the service's own deadline, ``None`` stands for the request's."""
        self.limit = limit
        within = f"within {limit}" if limit else "in the time that X-Request-Timeout-Ms allows"
        super().__init__(f"An image was not classified {within}; send it again later.")


class ModelFailedError(Exception):
    """The network failed on this image, alone as in its batch."""

    def __init__(self) -> None:
        super().__init__("The network failed on this image; report it with the request id.")
