"""A stand-in for a network whose timing belongs to the test: a batch ends when the test says so."""

import threading

import numpy as np
from numpy.typing import NDArray

from contract.parts import EMBEDDING_SIZE
from service.engine.onnx import Outputs
from service.settings import Device
from tests.service.live_server import LiveServer

PATIENCE_S = 20
POISON = 255


class SlowDevice:
    """Gives logits whose argmax is the image's first value modulo 20; raises if an image's first pixel is pure red.

    While it is held, each batch waits for one :meth:`release`.
    """

    device = Device.CPU

    def __init__(self, *, held: bool = False) -> None:
        self.batches: list[list[int]] = []
        self.threads: set[int] = set()
        self._held = held
        self._begun = threading.Semaphore(0)
        self._permits = threading.Semaphore(0)

    def run(self, images: NDArray[np.uint8]) -> Outputs:
        assert images.shape[1:] == (256, 256, 3)
        self.threads.add(threading.get_ident())
        firsts = images[:, 0, 0, 0].astype(int)
        self.batches.append(firsts.tolist())
        self._begun.release()
        if self._held:
            assert self._permits.acquire(timeout=PATIENCE_S), "the test never released this batch"
        if (images[:, 0, 0] == (POISON, 0, 0)).all(axis=1).any():
            raise RuntimeError("poisoned batch")
        return np.eye(20, dtype=np.float32)[firsts % 20] * 10, np.zeros((len(images), EMBEDDING_SIZE), np.float32)

    def wait_until_busy(self) -> None:
        """Until one more batch has begun."""
        assert self._begun.acquire(timeout=PATIENCE_S), "no batch began"

    def release(self, batches: int = 1) -> None:
        """Let so many batches end."""
        self._permits.release(batches)

    def let_go(self) -> None:
        """End this batch and never wait again."""
        self._held = False
        self._permits.release(1000)


def image(first: int) -> NDArray[np.uint8]:
    """An image that the device tells by its first value."""
    pixels = np.zeros((256, 256, 3), np.uint8)
    pixels[0, 0, 0] = first
    return pixels


def withdrawn(live: LiveServer, device: SlowDevice) -> bool:
    """Whether all images have left the queue; lets a batch end first, since a line tells whether its client is gone."""
    device.release()
    return live.hal.batcher.admission.taken == 0
