"""From labelled cell images to a bundle: data, networks, the three steps, evaluation and export."""

import os

# ONNX Runtime sends telemetry unless this is set before its first import.
os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")
