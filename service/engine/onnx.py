"""A verified network on one device.

This module, :mod:`service.engine.sessions` and :mod:`service.engine.cuda` are the only ones that know ONNX Runtime.
"""

import hashlib
import logging
from typing import Any, Final, Protocol, Self, TypeAlias

import numpy as np
from numpy.typing import NDArray

from contract.bundle import Bundle, BundleCorruptError
from contract.decision import calibrated_probabilities
from contract.parts import IMAGE_SIDE, ModelFile, in_order
from service.engine.cuda import BoundBatches, bucket_sizes
from service.engine.sessions import EngineError, check_signature, open_session, resolved, served_file
from service.settings import Device, Settings

logger = logging.getLogger("hal.engine")

_OUT_OF_MEMORY: Final = ("failed to allocate memory", "bad_alloc", "out of memory", "out_of_memory", "alloc_failed")
"""What ONNX Runtime, CUDA, cuBLAS and cuDNN say; there is no type for it (onnxruntime #16307)."""


class GoldenMismatchError(EngineError):
    """The network does not reproduce the golden sample, so its answers on this machine cannot be trusted."""


class DeviceMemoryError(EngineError, MemoryError):
    """The device has no memory for a batch of this size; a smaller one may still succeed."""


Outputs: TypeAlias = tuple[NDArray[np.float32], NDArray[np.float32]]
"""Logits ``[n, 20]`` and features ``[n, 2048]`` or more: the embedding, and behind it the middle flow."""


class Engine(Protocol):
    """A network on its device; called from one thread only."""

    @property
    def device(self) -> Device: ...

    def run(self, images: NDArray[np.uint8]) -> Outputs:
        """What the network gives for images ``[n, 256, 256, 3]``."""
        ...


class OnnxEngine:
    """A verified network on one device: it has reproduced the golden sample and seen every batch size."""

    def __init__(
        self, session: Any, device: Device, max_batch: int, file: ModelFile, bound: BoundBatches | None = None
    ) -> None:
        self._session = session
        self._names = in_order(output.name for output in session.get_outputs()) if bound is None else []
        self._bound = bound
        self._max_batch = max_batch
        self.device = device
        self.file = file

    @classmethod
    def open(cls, bundle: Bundle, settings: Settings) -> Self:
        """Load a file of the bundle, verify it and warm it up; takes seconds, with TensorRT minutes.

        Raises:
            BundleError: the bundle has no file of that precision, or the file was changed since it was verified.
            DeviceUnavailableError, GraphMismatchError, GoldenMismatchError: see there.
        """
        device = resolved(settings.device, tell=True)
        file = served_file(bundle, device, settings.precision)
        graph = bundle.path(file).read_bytes()
        if (found := hashlib.sha256(graph).hexdigest()) != file.sha256:
            raise BundleCorruptError(bundle.root, [f"{file.path} has SHA-256 {found}, expected {file.sha256}"])
        session = open_session(device, graph, file, settings)
        check_signature(session, bundle.description)
        max_batch, bound = settings.batch_limit(device), None
        if device is not Device.CPU:
            if file.precision == "int8":
                logger.warning("int8 on %s: most of the graph may stay on the CPU; prefer float16 or float32", device)
            graphs = settings.cuda_graphs and device is Device.CUDA
            bound = BoundBatches(session, bucket_sizes(max_batch), "cuda", graphs=graphs)
        engine = cls(session, device, max_batch, file, bound)
        engine.warm_up()
        engine.check_golden(bundle)
        return engine

    def run(self, images: NDArray[np.uint8]) -> Outputs:
        """What the network gives for images ``[n, 256, 256, 3]``, ``n`` from 1 to ``max_batch``.

        Raises :class:`DeviceMemoryError`, or whatever else ONNX Runtime raises; the session stays usable.
        """
        try:
            if self._bound is not None:
                return self._bound.run(images)
            logits, *features = self._session.run(self._names, {"image": images})
            return logits, np.concatenate(features, axis=1)
        except Exception as error:
            if any(sign in str(error).lower() for sign in _OUT_OF_MEMORY):
                raise DeviceMemoryError(f"{self.device} has no memory for a batch of {len(images)}") from error
            raise

    def warm_up(self) -> None:
        """Run every batch size once, so that no request pays for a first time."""
        for size in {1, self._max_batch} if self._bound is None else self._bound.sizes:
            self.run(np.zeros((size, IMAGE_SIDE, IMAGE_SIDE, 3), np.uint8))

    def check_golden(self, bundle: Bundle) -> None:
        """Raise if a calibrated probability of the golden sample differs from the bundle's by more than allowed.

        Raises:
            GoldenMismatchError: one differs by more than the file's tolerance.
        """
        golden = bundle.golden()
        images, expected = golden["images"], golden[f"logits_{self.file.precision}"]
        starts = range(0, len(images), self._max_batch)
        logits = np.concatenate([self.run(images[start : start + self._max_batch])[0] for start in starts])
        description = bundle.description
        temperature, suppressed = description.calibration.temperature, description.suppressed
        try:
            difference = np.abs(
                calibrated_probabilities(logits, temperature, suppressed)
                - calibrated_probabilities(expected, temperature, suppressed)
            ).max()
        except ValueError as error:
            raise GoldenMismatchError(f"{self.file.path} on {self.device}: {error}") from error
        if difference > self.file.golden_tolerance:
            raise GoldenMismatchError(
                f"{self.file.path} on {self.device} differs from the golden sample by {difference:.4f} in a "
                f"probability, at most {self.file.golden_tolerance} is allowed; it does not serve. Try HAL_DEVICE=cpu "
                "or another HAL_PRECISION, and report the device and driver with this message."
            )
