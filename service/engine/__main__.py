"""``python -m service.engine``: the engine without HTTP, to be measured; settings as for ``hal serve``.

Once the bundle is verified and every batch size has been seen it prints a line of JSON about itself. Each line that it
then reads is a list of batch sizes, which it runs one after the other; it answers with the list of their milliseconds.
"""

import json
import sys
import time
from typing import Any

import numpy as np

from contract.bundle import BundleError, load
from contract.parts import IMAGE_SIDE
from service.engine.onnx import OnnxEngine
from service.engine.sessions import check_device, providers
from service.environment import load_settings
from service.errors import UserError


def main() -> None:
    settings = load_settings()
    check_device(settings.device)
    bundle = load(settings.bundle)
    engine = OnnxEngine.open(bundle, settings)
    most = settings.batch_limit(engine.device)
    images = np.resize(bundle.golden()["images"], (most, IMAGE_SIDE, IMAGE_SIDE, 3))
    _say(
        {
            "device": engine.device,
            "precision": engine.file.precision,
            "max_batch": most,
            "providers": providers(engine.device, engine.file, settings),
        }
    )
    for line in sys.stdin:
        took = []
        for size in json.loads(line):
            begin = time.perf_counter()
            engine.run(images[:size])
            took.append(1000 * (time.perf_counter() - begin))
        _say(took)


def _say(what: Any) -> None:
    sys.stdout.write(json.dumps(what) + "\n")
    sys.stdout.flush()


if __name__ == "__main__":
    try:
        main()
    except (BundleError, UserError) as error:
        sys.exit(str(error))
