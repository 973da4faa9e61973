"""The service before a device that takes ``A + B * n`` ms for ``n`` images, which it spends asleep.

``python simulated.py A+Bn OPTIONS``: ONNX Runtime runs the null graph and then waits; everything else is ``hal serve``.
"""

import runpy
import sys
import time
from typing import Any

import onnxruntime as ort

FIXED_MS, IMAGE_MS = (float(part) for part in sys.argv.pop(1).removesuffix("n").split("+"))
_run = ort.InferenceSession.run


def run(session: Any, names: Any, inputs: Any, options: Any = None) -> Any:
    """``InferenceSession.run``, later."""
    outputs = _run(session, names, inputs, options)
    time.sleep((FIXED_MS + IMAGE_MS * len(inputs["image"])) / 1000)
    return outputs


ort.InferenceSession.run = run
runpy.run_module("service", run_name="__main__", alter_sys=True)
