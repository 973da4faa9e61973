"""Why an image is used neither for training nor for an answer."""

from enum import StrEnum


class RefusalCode(StrEnum):
    """One word for software; some are the service's alone (bytes, size, contrast)."""

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
    """An image cannot be used; ``code`` is for software, the message for people."""

    def __init__(self, code: RefusalCode, message: str) -> None:
        self.code = code
        super().__init__(message)
