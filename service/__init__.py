"""Images in, 20 probabilities and a hairy-cell flag out."""

import os

import contract  # noqa: F401 - before NumPy, whose threads it limits

# ONNX Runtime sends telemetry unless this is set before its first import.
os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")
