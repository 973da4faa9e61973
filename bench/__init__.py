"""Measurements: ``hal load-test`` and ``hal bench``. They see a service from outside, as a process and over HTTP."""

import os

# ONNX Runtime sends telemetry unless this is set before its first import.
os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")


class BenchError(Exception):
    """A measurement cannot be made as asked; the message says what was wrong, what was expected and what to do."""
