"""Measurements: ``hal load-test`` and ``hal bench``. They see a service from outside, as a process and over HTTP."""

import os
from enum import StrEnum

# ONNX Runtime sends telemetry unless this is set before its first import.
os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")


class BenchError(Exception):
    """A measurement cannot be made as asked; the message says what was wrong, what was expected and what to do."""


class Part(StrEnum):
    """A part of ``hal bench service``."""

    NULL = "null"
    """The ceiling of the HTTP path: a graph that costs nothing."""
    REAL = "real"
    """The real bundle beside decoding and ONNX Runtime in a loop without HTTP."""
    DEVICE = "device"
    """Batches and waits before a simulated fast device."""
    SOAK = "soak"
    """Memory at saturation; only measured when it is asked for."""


class Provider(StrEnum):
    """What ``hal bench gpu`` runs the network on."""

    CPU = "cpu"
    """To try every line of the report without a GPU."""
    CUDA = "cuda"
    CUDA_GRAPHS = "cuda-graphs"
    """CUDA with HAL_CUDA_GRAPHS."""
    TENSORRT = "tensorrt"
