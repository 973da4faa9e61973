"""A running service as the routes see it, and the way of the images of a request through it.

:class:`service.serving.lifecycle.Hal` is the one that has the network in its own process.
"""

import functools
from abc import ABC, abstractmethod
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from typing import Final, Protocol, TypeVar

import numpy as np

from contract.bundle import Bundle
from contract.decision import decide
from contract.description import BundleDescription, ModelFile
from service.batching.counts import Counts
from service.batching.errors import ModelFailedError
from service.batching.queue import Image, Logits, Network, Priority
from service.engine.tuning import Tuning
from service.http.schemas import ModelStamp
from service.images.decode import decode
from service.images.pool import Decoders
from service.images.refusals import ImageRefusedError
from service.serving.answers import ClassifiedImage, Fault, RefusedImage, Writer
from service.serving.model import ServedModel
from service.serving.observer import Observer
from service.serving.states import NotReadyError, State
from service.settings import Device, Settings

Item = TypeVar("Item")
Result = TypeVar("Result")

MODEL_FAILED: Final = "model_failed"


@dataclass(frozen=True, slots=True)
class Classified:
    """The results of a request, in the order of its images, the one model that made them all, and what writes them."""

    model: ModelStamp
    description: BundleDescription
    results: tuple[ClassifiedImage | RefusedImage, ...]
    writer: Writer


@dataclass(frozen=True, slots=True)
class Reloaded:
    """What answered before a reload, and what answers now."""

    before: ModelStamp
    now: ModelStamp


class Seating(Protocol):
    """Where a request finds seats for its images: :class:`service.batching.admission.Seats`, whose methods these are."""

    def check_room(self, priority: Priority = Priority.ROUTINE) -> None:
        """Find out whether a request would be accepted now."""
        ...

    async def spread(
        self,
        items: Sequence[Item],
        work: Callable[[Item], Awaitable[Result]],
        *,
        priority: Priority = Priority.ROUTINE,
        due: float | None = None,
    ) -> list[Result]:
        """``await work(item)`` for each item, each in a seat of its own."""
        ...


class Intake(Protocol):
    """Where images come in and find the device: :class:`service.batching.batcher.Batcher`, as the routes see it."""

    counts: Counts

    @property
    def seats(self) -> Seating:
        """Through which requests come."""
        ...

    async def infer(
        self, image: Image, *, network: Network | None = None, priority: Priority = Priority.ROUTINE
    ) -> Logits:
        """Logits ``[20]`` of one image ``[256, 256, 3]``."""
        ...


class Service(ABC):
    """A bundle at work.

    Args:
        settings: the service's settings.
        bundle: the verified bundle.
        observer: watches what is done.
        decoders: threads that decode.

    Attributes:
        bundle: what is served; another one after a reload.
        file: the file of it that runs.
        device: what the network runs on, ``None`` until it is opened.
        observer: watches what is done.
    """

    def __init__(self, settings: Settings, bundle: Bundle, observer: Observer, *, decoders: int) -> None:
        self.settings = settings
        self.bundle = bundle
        self.file: ModelFile = bundle.file(settings.precision)
        self.device: Device | None = None
        self.observer = observer
        self._decoders = Decoders(
            decoders,
            observer.timing(
                functools.partial(
                    decode, fit=settings.fit, max_bytes=settings.max_image_bytes, max_pixels=settings.max_pixels
                )
            ),
        )

    @abstractmethod
    async def open(self) -> None:
        """Become ready, or failed."""

    @abstractmethod
    async def close(self) -> None:
        """Finish what was accepted and stop."""

    @abstractmethod
    async def reload(self) -> Reloaded:
        """Read HAL_BUNDLE again and let what is there take over.

        Raises:
            NotReadyError: there is nothing to take over from, or the service stops.
            ReloadUnderWayError: another reload has not ended.
            BundleRefusedError: the bundle cannot be served; the old one stays.
        """

    @property
    @abstractmethod
    def state(self) -> State:
        """What the service is doing."""

    @property
    @abstractmethod
    def stalled(self) -> bool:
        """Whether nothing is answered any more, though the process lives: only a restart helps."""

    @property
    @abstractmethod
    def draining(self) -> bool:
        """Whether the service was told to stop."""

    @property
    @abstractmethod
    def batcher(self) -> Intake:
        """Where a service that accepts requests takes images.

        Raises:
            NotReadyError: it does not.
            AuditFullError: nobody would be able to tell later what was answered.
        """

    @property
    @abstractmethod
    def model(self) -> ServedModel:
        """The model that serves; there is one once there is a batcher."""

    @property
    def tuning(self) -> Tuning | None:
        """Why batches are as large as they are now, ``None`` until the network is opened."""
        return None if self.device is None else self.model.tuning

    def require_ready(self) -> None:
        """Find out whether images should be sent here.

        Raises:
            NotReadyError: the service starts, drains, has stalled or failed.
            AuditFullError: nobody would be able to tell later what was answered.
        """
        if (state := self.state) is not State.READY:
            raise NotReadyError(state)
        self.observer.check_room()

    async def classify(
        self,
        batcher: Intake,
        images: Sequence[bytes],
        *,
        priority: Priority = Priority.ROUTINE,
        due: float | None = None,
    ) -> Classified:
        """Classify encoded images, each on its own: a refused one does not affect the others.

        Raises:
            QueueFullError, DrainingError, DeadlineExceededError: see :meth:`service.batching.admission.Seats.spread`.
        """
        model = self.model

        async def one(numbered: tuple[int, bytes]) -> ClassifiedImage | RefusedImage:
            return await self._classify_one(batcher, model, priority, *numbered)

        with model.in_use():
            results = await batcher.seats.spread(list(enumerate(images)), one, priority=priority, due=due)
        self.observer.answered(model.stamp, results)
        return Classified(model.stamp, model.bundle.description, tuple(results), model.writer)

    async def _classify_one(
        self, batcher: Intake, model: ServedModel, priority: Priority, index: int, data: bytes
    ) -> ClassifiedImage | RefusedImage:
        with self.observer.tracer.span("hal.decode"):
            sha256, pixels = await self._decoders.decode(data, priority)
        if isinstance(pixels, ImageRefusedError):
            return RefusedImage(index=index, image_sha256=sha256, error=Fault(code=pixels.code, message=str(pixels)))
        try:
            logits = await batcher.infer(pixels, network=model.network, priority=priority)
        except ModelFailedError as error:
            return RefusedImage(index=index, image_sha256=sha256, error=Fault(code=MODEL_FAILED, message=str(error)))
        (decision,) = decide(logits[np.newaxis], model.bundle.description)
        return ClassifiedImage.of(index, sha256, decision)
