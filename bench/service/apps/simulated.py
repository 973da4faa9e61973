"""The service in front of a device that takes ``A + B * n`` milliseconds for ``n`` images, and spends them asleep.

``python simulated.py BUNDLE PORT A+Bn greedy|timer``: ``timer`` forms batches as LitServe and others do, waiting up
to 5 ms from the first image for more, so that only that differs.
"""

import asyncio
import socket
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import uvicorn
from numpy.typing import NDArray

from contract.bundle import Bundle, load
from contract.classes import CLASS_COUNT
from service.batching.batcher import Batcher
from service.engine.onnx import EngineOptions
from service.http.app import create_app
from service.http.server import config_for
from service.serving import lifecycle
from service.serving.service import Service
from service.settings import Device, Settings

_TIMER_S = 0.005


class SimulatedDevice:
    """Classifies nothing, in the time that a fast device would take."""

    device = Device.CUDA

    def __init__(self, fixed_s: float, image_s: float) -> None:
        self._fixed_s, self._image_s = fixed_s, image_s

    def run(self, images: NDArray[np.uint8]) -> NDArray[np.float32]:
        """Logits of zero."""
        time.sleep(self._fixed_s + self._image_s * len(images))
        return np.zeros((len(images), CLASS_COUNT), np.float32)


class TimerBatcher(Batcher):
    """Waits for a full batch or for 5 ms, whichever comes first, though the device is free."""

    async def _work(self) -> None:
        while True:
            await self._arrived.wait()
            give_up = self._loop.time() + _TIMER_S
            while len(self._queue) < self.batch_limit and (left := give_up - self._loop.time()) > 0:
                self._arrived.clear()
                try:
                    await asyncio.wait_for(self._arrived.wait(), left)
                except TimeoutError:
                    break
            batch = self._queue.next_batch(self.batch_limit)
            if self._queue:
                self._arrived.set()
            else:
                self._arrived.clear()
            if batch:
                await self._answer(batch)


def main() -> None:
    """Serve until told to stop."""
    bundle, port, times, policy = load(Path(sys.argv[1])), int(sys.argv[2]), sys.argv[3], sys.argv[4]
    fixed_s, image_s = (float(part) / 1000 for part in times.removesuffix("n").split("+"))

    def open_engine(_bundle: Bundle, _options: EngineOptions) -> Any:
        return SimulatedDevice(fixed_s, image_s)

    if policy == "timer":
        lifecycle.Batcher = TimerBatcher  # type: ignore[attr-defined]
    hal = Service(Settings(bundle=bundle.root, log_level="warning"), bundle, open_engine=open_engine)
    listener = socket.create_server(("127.0.0.1", port))
    uvicorn.Server(config_for(create_app(hal), hal.settings)).run(sockets=[listener])


if __name__ == "__main__":
    main()
