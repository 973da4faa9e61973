"""What can be measured."""

from enum import StrEnum


class Part(StrEnum):
    """A part of ``hal bench service``."""

    NULL = "null"
    """The ceiling of the HTTP path: a graph that costs nothing."""
