"""The running service: starting, ready, draining or failed; and the way of one image through it."""

import asyncio
import functools
import hashlib
import logging
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from enum import StrEnum
from typing import Final

import numpy as np
from numpy.typing import NDArray

from contract.bundle import Bundle
from contract.decision import decide
from service.batching import Batcher
from service.engine import OnnxEngine
from service.engine_thread import EngineThread
from service.imaging import ImageRefusedError, decode
from service.refusals import ModelFailedError
from service.schemas import ClassifiedImage, Fault, ModelStamp, RefusedImage
from service.served import OpenEngine, ServedModel
from service.settings import Device, Settings, available_cores
from service.waiting import Priority

logger = logging.getLogger("hal.lifecycle")

MODEL_FAILED: Final = "model_failed"
_MOST_DECODERS: Final = 8
_LAST_WAIT_S: Final = 1.0
"""For cancelled requests to leave and for the last batch to end; accepted work was given HAL_DRAIN_S before."""


class State(StrEnum):
    """What the service is doing."""

    STARTING = "starting"
    READY = "ready"
    DRAINING = "draining"
    FAILED = "failed"


_EXPLANATIONS: Final = {
    State.STARTING: "The model is being loaded, verified and warmed up; try again in a few seconds.",
    State.DRAINING: "The service is stopping; send the request again, to another instance if there is one.",
    State.FAILED: "The model could not be loaded and the service is stopping; see its log.",
}


class NotReadyError(Exception):
    """The service cannot classify now; ``state`` says why."""

    def __init__(self, state: State) -> None:
        self.state = state
        super().__init__(_EXPLANATIONS[state])


@dataclass(frozen=True, slots=True)
class Classified:
    """The results of a request, in the order of its images, and the one model that made them all."""

    model: ModelStamp
    results: tuple[ClassifiedImage | RefusedImage, ...]


class Hal:
    """A bundle at work.

    Args:
        settings: the service's settings.
        bundle: the verified bundle.
        open_engine: gives the network; runs in the engine's thread.

    Attributes:
        bundle: what is served; another one after a reload.
        file: the file of it that runs.
        device: what the network runs on, ``None`` until it is opened.
        state: what the service is doing.
        failure: why the network could not be opened, or ``None``.
        on_failure: called once when ``failure`` is set.
        abandoned: at the end, whether an engine's thread was left at work.
    """

    def __init__(self, settings: Settings, bundle: Bundle, *, open_engine: OpenEngine = OnnxEngine.open) -> None:
        self.settings = settings
        self.bundle = bundle
        self.file = bundle.file(settings.precision)
        self.state = State.STARTING
        self.failure: Exception | None = None
        self.on_failure: Callable[[], None] = lambda: None
        self.abandoned = False
        self.device: Device | None = None
        self._model: ServedModel | None = None
        self._batcher: Batcher | None = None
        self._open_engine = open_engine
        self._networks: list[EngineThread] = []
        decoders = settings.decode_threads or min(available_cores(), _MOST_DECODERS)
        self._decoders = ThreadPoolExecutor(decoders, "hal-decode")
        self._decode = functools.partial(
            decode, fit=settings.fit, max_bytes=settings.max_image_bytes, max_pixels=settings.max_pixels
        )

    async def open(self) -> None:
        """Load, verify and warm up the network; afterwards the state is ready, or failed with ``failure`` set."""
        bundle = self.bundle
        try:
            model = await self._open_model(lambda: bundle)
        except Exception as error:
            self.failure = error
            self.state = State.FAILED
            self.on_failure()
            return
        self._serve(model)
        self._batcher = Batcher(
            model.network,
            queue_limit=self.settings.queue_limit,
            bulk_limit=self.settings.bulk_limit,
            deadline_s=self.settings.deadline_ms / 1000,
        )
        if self.state is State.STARTING:
            self.state = State.READY
            logger.info("ready on %s", self.device)

    async def _open_model(self, read: Callable[[], Bundle]) -> ServedModel:
        network = EngineThread(self.settings.max_batch)
        self._networks.append(network)
        try:
            return await ServedModel.open(network, read, self.settings, self._open_engine)
        except Exception:
            network.close()
            self._networks.remove(network)
            raise

    def _serve(self, model: ServedModel) -> None:
        self._model = model
        self.bundle, self.file, self.device = model.bundle, model.file, model.device

    def begin_drain(self) -> None:
        """Stop accepting requests; those under way are finished. Safe to call in a signal handler."""
        if self.state is not State.FAILED:
            self.state = State.DRAINING

    async def close(self) -> None:
        """Finish what was accepted and stop; what then still runs after a second is given up."""
        self.begin_drain()
        try:
            async with asyncio.timeout(_LAST_WAIT_S):
                if self._batcher is not None:
                    await self._batcher.drain()
                for network in self._networks:
                    await network.until_free()
        except TimeoutError:
            self.abandoned = True
            logger.error("the engine is still at work and is given up")
        self._decoders.shutdown(wait=False, cancel_futures=True)
        for network in self._networks:
            network.close()

    @property
    def batcher(self) -> Batcher:
        """The batcher of a service that is ready.

        Raises:
            NotReadyError: it is not.
        """
        if self.state is not State.READY or self._batcher is None:
            raise NotReadyError(self.state)
        return self._batcher

    async def classify(
        self,
        batcher: Batcher,
        images: Sequence[bytes],
        *,
        priority: Priority = Priority.ROUTINE,
        due: float | None = None,
    ) -> Classified:
        """Classify encoded images, each on its own: a refused one does not affect the others.

        Raises:
            QueueFullError, DrainingError, DeadlineExceededError: see :meth:`Batcher.spread`.
        """
        model = self._model
        if model is None:
            raise NotReadyError(self.state)

        async def one(numbered: tuple[int, bytes]) -> ClassifiedImage | RefusedImage:
            return await self._classify_one(batcher, model, priority, *numbered)

        with model.in_use():
            results = await batcher.spread(list(enumerate(images)), one, priority=priority, due=due)
        return Classified(model.stamp, tuple(results))

    async def _classify_one(
        self, batcher: Batcher, model: ServedModel, priority: Priority, index: int, data: bytes
    ) -> ClassifiedImage | RefusedImage:
        loop = asyncio.get_running_loop()
        sha256, pixels = await loop.run_in_executor(self._decoders, self._hash_and_decode, data)
        if isinstance(pixels, ImageRefusedError):
            return RefusedImage(index=index, image_sha256=sha256, error=Fault(code=pixels.code, message=str(pixels)))
        try:
            logits = await batcher.infer(pixels, network=model.network, priority=priority)
        except ModelFailedError as error:
            return RefusedImage(index=index, image_sha256=sha256, error=Fault(code=MODEL_FAILED, message=str(error)))
        (decision,) = decide(logits[np.newaxis], model.bundle.manifest)
        return ClassifiedImage.of(index, sha256, decision)

    def _hash_and_decode(self, data: bytes) -> tuple[str, NDArray[np.uint8] | ImageRefusedError]:
        sha256 = hashlib.sha256(data).hexdigest()
        try:
            return sha256, self._decode(data)
        except ImageRefusedError as refusal:
            return sha256, refusal
