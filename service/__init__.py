"""Images in, 20 probabilities and a hairy-cell flag out."""

import os

# ONNX Runtime sends telemetry unless this is set before its first import.
os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")
