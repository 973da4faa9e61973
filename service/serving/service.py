"""The service: images in, answers out."""

import asyncio
import functools
import hashlib
from collections.abc import AsyncGenerator, Awaitable, Callable, Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np

from contract.bundle import Bundle
from contract.classes import BY_ID, HAIRY_CELL
from contract.decision import Decision
from contract.description import BundleDescription
from contract.refusals import ImageRefusedError
from service.batching.admission import RequestOptions
from service.batching.batcher import Batcher
from service.batching.errors import ModelFailedError
from service.batching.queue import Image, Priority, Rows
from service.engine.onnx import OnnxEngine
from service.images.decode import decode
from service.images.pool import Decoders
from service.serving.answers import (
    Candidate,
    ClassifiedImage,
    Fault,
    HairyCell,
    HairyRule,
    ImageNovelty,
    ModelStamp,
    RefusedImage,
    Review,
)
from service.serving.lifecycle import Lifecycle
from service.serving.model import Judged, OpenEngine, ServedModel
from service.serving.states import NotReadyError, State
from service.settings import Settings, available_cores

MOST_DECODERS: Final = 8
_ANY: Final = RequestOptions()


@dataclass(frozen=True, slots=True)
class Classified:
    """The results of a request, in the order of its images, and the one model that made them all."""

    model: ModelStamp
    hairy_rule: HairyRule
    description: BundleDescription
    results: Sequence[ClassifiedImage | RefusedImage]


@dataclass(frozen=True, slots=True)
class Inferred:
    """What the network gives for the images of a request, and the one model that it was."""

    model: ModelStamp
    rows: Rows
    decisions: Sequence[Decision]


class Service(Lifecycle):
    """A bundle at work that takes images; what it is made of and what can be seen of it is :class:`Lifecycle`'s."""

    def __init__(self, settings: Settings, bundle: Bundle, *, open_engine: OpenEngine = OnnxEngine.open) -> None:
        super().__init__(settings, bundle, open_engine=open_engine)
        decode_one = functools.partial(
            decode, fit=settings.fit, max_bytes=settings.max_image_bytes, max_pixels=settings.max_pixels
        )
        threads = settings.decode_threads or min(available_cores(), MOST_DECODERS)
        self._decoders = Decoders(threads, self.observer.timing(decode_one))

    async def classify(
        self, images: Sequence[bytes], options: RequestOptions = _ANY, *, client_refs: Sequence[str | None] = ()
    ) -> Classified:
        """Classify encoded images, each on its own: a refused one does not affect the others.

        ``client_refs`` are what the client calls the images; they are given back and nothing else is done with them.

        Raises:
            NotReadyError: the network is not open.
            QueueFullError, DrainingError, DeadlineExceededError: see :class:`service.batching.admission.Admission`.
        """
        batcher, model = self._opened()
        priority = self._priority(options, len(images))
        classify_one = self._classifying(batcher, model, images, priority, client_refs)
        with model.in_use():
            indices = range(len(images))
            results = await batcher.admission.run_all(indices, classify_one, priority=priority, due=options.due)
        await self.observer.answered(model.stamp, results)
        return Classified(model.stamp, model.hairy_rule, model.bundle.description, results)

    async def classify_each(
        self, images: Sequence[bytes], options: RequestOptions = _ANY, *, client_refs: Sequence[str | None] = ()
    ) -> AsyncGenerator[Classified, None]:
        """As :meth:`classify`, but results are given as they come, in any order; one model makes all of them.

        To be closed, which withdraws the images that are left.
        """
        batcher, model = self._opened()
        priority = self._priority(options, len(images))
        classify_one = self._classifying(batcher, model, images, priority, client_refs)
        done: asyncio.Queue[ClassifiedImage | RefusedImage | None] = asyncio.Queue()

        async def tell(index: int) -> None:
            done.put_nowait(await classify_one(index))

        with model.in_use():
            indices = range(len(images))
            work = asyncio.create_task(
                batcher.admission.run_all(indices, tell, priority=priority, due=options.due), name="hal-classify-each"
            )
            work.add_done_callback(lambda _: done.put_nowait(None))
            try:
                ended = False
                while not ended:
                    found = [await done.get()]
                    while not done.empty():
                        found.append(done.get_nowait())
                    results = [result for result in found if result is not None]
                    ended = len(results) < len(found)
                    if results:
                        await self.observer.answered(model.stamp, results)
                        yield Classified(model.stamp, model.hairy_rule, model.bundle.description, results)
                await work
            finally:
                work.cancel()
                await asyncio.wait([work])

    def _classifying(
        self,
        batcher: Batcher,
        model: ServedModel,
        images: Sequence[bytes],
        priority: Priority,
        client_refs: Sequence[str | None],
    ) -> Callable[[int], Awaitable[ClassifiedImage | RefusedImage]]:
        async def classify_one(index: int) -> ClassifiedImage | RefusedImage:
            with self.observer.tracer.span("hal.decode"):
                sha256, pixels = await self._decoders.decode(images[index], priority)
            client_ref = client_refs[index] if client_refs else None
            if isinstance(pixels, ImageRefusedError):
                return RefusedImage(Fault(pixels.code, str(pixels)), index, client_ref, sha256)
            try:
                _, decision = await batcher.infer(pixels, network=model, priority=priority)
            except ModelFailedError as error:
                return RefusedImage(Fault(error.code, str(error)), index, client_ref, sha256)
            return _classified(decision, index, client_ref, sha256)

        return classify_one

    async def infer(self, images: Sequence[Image], options: RequestOptions = _ANY) -> Inferred:
        """What the network gives for images ``[256, 256, 3]``: rows of logits, embedding and what else it gives.

        Raises:
            ModelFailedError: the network failed on one of the images.
            Exception: otherwise as :meth:`classify`.
        """
        batcher, model = self._opened()
        priority = self._priority(options, len(images))

        async def infer_one(image: Image) -> Judged:
            judged: Judged = await batcher.infer(image, network=model, priority=priority)
            return judged

        try:
            with model.in_use():
                judged = await batcher.admission.run_all(images, infer_one, priority=priority, due=options.due)
        except ModelFailedError as error:
            hashes = await self.aside.call(lambda: _sha256s(images))
            fault = Fault(error.code, str(error))
            # One failed image fails the request: the protocol of pixels has no error of a single image.
            refused = [RefusedImage(fault, index, None, sha256) for index, sha256 in enumerate(hashes)]
            await self.observer.answered(model.stamp, refused)
            raise
        inferred, results = await self.aside.call(lambda: _inferred(model, images, judged))
        await self.observer.answered(model.stamp, results)
        return inferred

    def check_admission(self, options: RequestOptions = _ANY) -> None:
        """Find out whether images would be accepted now, before a request's body is read.

        Raises:
            QueueFullError, DrainingError: see :meth:`service.batching.admission.Admission.check`.
            Exception: otherwise as :meth:`check_accepting`.
        """
        self.check_accepting().admission.check(options.priority or Priority.ROUTINE)

    def check_accepting(self) -> Batcher:
        """What the images of a request would go through; NotReadyError or AuditFullError if none is accepted now."""
        state = self.state
        accepts = state is State.READY or (state is State.DRAINING and not self._turns_away)
        if not accepts or self.batcher is None:
            raise NotReadyError(state)
        self.observer.check_room()
        return self.batcher

    def _opened(self) -> tuple[Batcher, ServedModel]:
        batcher, model = self.batcher, self._models.current
        if batcher is None or model is None:
            raise NotReadyError(self.state)
        return batcher, model

    def _priority(self, options: RequestOptions, images: int) -> Priority:
        usual = Priority.BULK if images > self.settings.bulk_above else Priority.ROUTINE
        return options.priority or usual

    def start_threads(self) -> None:
        super().start_threads()
        self._decoders.start()

    async def close(self) -> None:
        await super().close()
        self._decoders.close()


def _classified(decision: Decision, index: int, client_ref: str | None, sha256: str) -> ClassifiedImage:
    predicted, hairy, novelty = decision.predicted_class, decision.hairy_cell, decision.novelty
    # Six digits, which round() takes four times as long for.
    shown = [(probability * 1e6 + 0.5) // 1 / 1e6 for probability in decision.probabilities]
    return ClassifiedImage(
        predicted.id,
        predicted.name,
        shown[predicted.index],
        tuple(Candidate(cell.id, shown[cell.index]) for cell in decision.candidates),
        HairyCell(None if hairy.flag is None else shown[HAIRY_CELL.index], hairy.flag),
        tuple(Review(reason.code, reason.message) for reason in decision.review),
        None if novelty is None else ImageNovelty(round(novelty.score, 6), novelty.unfamiliar),
        dict(zip(BY_ID, shown, strict=True)),
        index,
        client_ref,
        sha256,
    )


def _inferred(
    model: ServedModel, images: Sequence[Image], judged: Sequence[Judged]
) -> tuple[Inferred, Sequence[ClassifiedImage]]:
    rows, decisions = zip(*judged, strict=True)
    of_images = zip(_sha256s(images), decisions, strict=True)
    results = [_classified(decision, index, None, sha256) for index, (sha256, decision) in enumerate(of_images)]
    return Inferred(model.stamp, np.stack(rows), decisions), results


def _sha256s(images: Sequence[Image]) -> list[str]:
    return [hashlib.sha256(image.tobytes()).hexdigest() for image in images]
