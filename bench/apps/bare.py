"""ONNX Runtime alone, with IO binding: the most that the engine could reach. It speaks as ``service.engine`` does.

``python bare.py MODEL GOLDEN PROVIDERS``, where PROVIDERS are the engine's, as JSON. What it says first is which
provider ran how many nodes, and for how many milliseconds.
"""

import functools
import json
import os
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")

import numpy as np
import onnxruntime as ort

MODEL, GOLDEN, PROVIDERS = sys.argv[1:]
providers = [(name, options | {"enable_cuda_graph": "0"} if "CUDA" in name else options)
             for name, options in json.loads(PROVIDERS)]  # fmt: skip
device = "cpu" if providers[0][0] == "CPUExecutionProvider" else "cuda"
golden = np.load(GOLDEN)["images"]
options = ort.SessionOptions()
cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
options.intra_op_num_threads, options.inter_op_num_threads = cores if device == "cpu" else 1, 1
options.add_session_config_entry("session.force_spinning_stop", "1")
options.log_severity_level, options.enable_profiling = 3, True


@functools.cache
def bound(size: int) -> Callable[[], Any]:
    """Runs a batch of this size: pixels to the device, where outputs have their places, and logits back."""
    host = np.resize(golden, (size, *golden.shape[1:]))
    images, binding = ort.OrtValue.ortvalue_from_numpy(host, device, 0), session.io_binding()
    binding.bind_ortvalue_input("image", images)
    outputs = {
        output.name: ort.OrtValue.ortvalue_from_shape_and_type([size, output.shape[1]], np.float32, device, 0)
        for output in session.get_outputs()
    }
    for name, value in outputs.items():
        binding.bind_ortvalue_output(name, value)

    def run() -> Any:
        images.update_inplace(host)
        session.run_with_iobinding(binding)
        return outputs["logits"].numpy()

    return run


def say(what: Any) -> None:
    """A line of JSON."""
    sys.stdout.write(json.dumps(what) + "\n")
    sys.stdout.flush()


if device == "cuda":
    ort.preload_dlls(directory="")
with tempfile.TemporaryDirectory() as folder:
    options.profile_file_prefix = f"{folder}/profile"
    session = ort.InferenceSession(Path(MODEL).read_bytes(), options, providers=providers)
    for _ in range(2):
        bound(1)()
    events = json.loads(Path(session.end_profiling()).read_text())
# Of each node the last run, without the plans that a first one makes.
last = {event["name"]: event for event in events if event["cat"] == "Node" and event["args"].get("provider")}
nodes: dict[str, dict[str, float]] = {}
for event in last.values():
    ran = nodes.setdefault(event["args"]["provider"], {"nodes": 0, "ms": 0.0})
    ran["nodes"] += 1
    ran["ms"] += event["dur"] / 1000
say({"onnxruntime": ort.__version__, "nodes": nodes})
for line in sys.stdin:
    took = []
    for run in map(bound, json.loads(line)):
        begin = time.perf_counter()
        run()
        took.append(1000 * (time.perf_counter() - begin))
    say(took)
