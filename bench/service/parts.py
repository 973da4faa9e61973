"""What can be measured."""

from enum import StrEnum


class Part(StrEnum):
    """A part of ``hal bench service``."""

    NULL = "null"
    """The ceiling of the HTTP path: a graph that costs nothing."""
    REAL = "real"
    """The real bundle beside decoding and ONNX Runtime in a loop without HTTP."""
    DEVICE = "device"
    """Batches and waits in front of a simulated fast device."""
    SOAK = "soak"
    """Memory at saturation, for as long as you like; only measured when it is asked for."""


USUAL = (Part.NULL, Part.REAL, Part.DEVICE)
