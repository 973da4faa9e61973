"""Decoding and ONNX Runtime in a loop, without HTTP: what a service could reach at best.

``python bare.py BUNDLE SECONDS < files``: JSON ``[base64, ...]`` of images in, figures out. Decoder, session options
and threads are the service's own.
"""

import base64
import json
import sys
import time
from pathlib import Path
from statistics import median

import numpy as np

from contract.bundle import load
from service.engine.onnx import EngineOptions, OnnxEngine
from service.images.decode import decode
from service.settings import Fit, Settings

_SIZES = (1, 2, 4, 8, 16)
_PAUSE_S = 0.5


def main() -> None:
    """Measure each batch size for a part of the time, in turns, so that a disturbance hits all of them."""
    bundle, seconds = load(Path(sys.argv[1])), float(sys.argv[2])
    files = [base64.b64decode(file) for file in json.load(sys.stdin)]
    engine = OnnxEngine.open(bundle, EngineOptions.of(Settings(max_batch=16)))
    limits = {"max_bytes": 1 << 24, "max_pixels": 1 << 24}
    spent = {size: [0.0, 0.0] for size in _SIZES}
    batch_ms: dict[int, list[float]] = {size: [] for size in _SIZES}
    one_ms = []
    turn, end = 0, time.perf_counter() + seconds
    while time.perf_counter() < end or turn < 2:
        for size in _SIZES:
            begin = time.perf_counter()
            images = np.stack([decode(files[place % len(files)], fit=Fit.STRICT, **limits) for place in range(size)])
            decoded = time.perf_counter()
            engine.run(images)
            done = time.perf_counter()
            if turn == 0:
                continue
            spent[size][0] += done - begin
            spent[size][1] += size
            batch_ms[size].append(1000 * (done - decoded))
            if size == 1:
                one_ms.append(1000 * (done - begin))
        turn += 1
    rested_ms = []
    for place in range(max(int(seconds / _PAUSE_S), 3)):
        time.sleep(_PAUSE_S)
        begin = time.perf_counter()
        engine.run(decode(files[place % len(files)], fit=Fit.STRICT, **limits)[np.newaxis])
        rested_ms.append(1000 * (time.perf_counter() - begin))
    rates = {size: images / elapsed for size, (elapsed, images) in spent.items()}
    json.dump(
        {
            "images_per_second": max(rates.values()),
            "by_batch": {str(size): rates[size] for size in _SIZES},
            "batch_ms": {str(size): median(batch_ms[size]) for size in _SIZES},
            "one_image_ms": median(one_ms),
            "one_image_after_a_pause_ms": median(rested_ms),
        },
        sys.stdout,
    )


if __name__ == "__main__":
    main()
