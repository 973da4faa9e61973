"""What watches a running service: metrics, spans, drift, the audit trail.

The way of an image calls :meth:`Observer.ran` once a batch and :meth:`Observer.answered` once a request.
"""

import asyncio
import time
from collections.abc import Callable, Sequence
from importlib.metadata import PackageNotFoundError, version
from typing import Final

from msgspec.structs import asdict

from contract.classes import BY_ID
from service.batching.batcher import Batcher
from service.batching.queue import Priority, QueuedImage
from service.images.pool import Pixels
from service.observe.audit import AuditFullError
from service.observe.audit.rows import Row, SettingsVersion
from service.observe.audit.trail import AuditTrail
from service.observe.drift import EmbeddingDrift
from service.observe.logs import lost_lines
from service.observe.metrics import MODEL_LABELS, Metrics
from service.observe.tracing import Tracer, current
from service.serving.answers import ClassifiedImage, ModelStamp, RefusedImage
from service.serving.model import ServedModel
from service.settings import Settings

_AUDIT_S: Final = 10.0
"""What a disk that hangs is given to take the rows of an answer."""


def service_version() -> str:
    try:
        return version("hal-cells")
    except PackageNotFoundError:
        return "0"


class Observer:
    def __init__(self, settings: Settings) -> None:
        self.metrics = Metrics()
        self.metrics.service.info({"version": service_version()})
        self.metrics.queue_limit.set(settings.queue_limit)
        self.metrics.log_lines_lost.read = lambda: {"": lost_lines()}
        self.tracer = Tracer.from_environment()
        self.audit = None if settings.audit is None else AuditTrail(settings)
        if self.audit is not None:
            self.audit.show(self.metrics)
        self._settings = settings
        self._versions: dict[ModelStamp, SettingsVersion] = {}

    def watch_batcher(self, batcher: Batcher) -> None:
        metrics, counts = self.metrics, batcher.statistics
        metrics.queue_images.read = lambda: {each: batcher.waiting_of(each) for each in Priority}
        metrics.images_accepted.read = lambda: {each: batcher.admission.taken_by(each) for each in Priority}
        metrics.batch_limit.read = lambda: {"": batcher.batch_limit}
        metrics.images_left.read = lambda: {"withdrawn": counts.withdrawn, "expired": counts.expired}
        metrics.clients_gone.read = lambda: {"": counts.disconnected}
        metrics.batches_failed.read = lambda: {
            "out_of_memory": counts.out_of_memory,
            "other": max(0, counts.retried_batches - counts.out_of_memory),
        }

    def serves(self, model: ServedModel) -> None:
        """Another model answers from now on."""
        description, file = model.bundle.description, model.file
        self._versions[model.stamp] = SettingsVersion.of(
            self._settings, description, file, model.device, service_version()
        )
        known = {**asdict(model.stamp), "device": model.device}
        self.metrics.model.info({name: known[name] for name in MODEL_LABELS})
        drift = None
        if model.reference is not None and description.reference is not None:
            drift = EmbeddingDrift(description.reference, model.reference, description.suppressed)
            model.network.watch = drift.add
        self.metrics.embedding_drift.read = drift.distances if drift else dict
        self.metrics.embedding_images.read = (lambda: {"": drift.images}) if drift else dict

    def timing(self, decode: Callable[[bytes], Pixels]) -> Callable[[bytes], Pixels]:
        """``decode`` with its time counted, whether it succeeds or refuses."""
        count, clock = self.metrics.decoded, time.perf_counter

        def timed(data: bytes) -> Pixels:
            begin = clock()
            try:
                return decode(data)
            finally:
                count(clock() - begin)

        return timed

    def check_room(self) -> None:
        """Raise :class:`AuditFullError` if the rows of more images could not be kept."""
        if self.audit is not None:
            self.audit.check_room()

    def ran(self, batch: Sequence[QueuedImage], begin: float, end: float) -> None:
        """The device has finished a batch; times by ``time.perf_counter``."""
        self.metrics.ran(end - begin, [begin - queued.arrived for queued in batch])
        if self.tracer.on:
            for queued in batch:
                self.tracer.past("hal.queue", queued.span, queued.arrived, begin)
                self.tracer.past("hal.device", queued.span, begin, end, batch_images=len(batch))

    async def answered(self, stamp: ModelStamp, results: Sequence[ClassifiedImage | RefusedImage]) -> None:
        """A request may be answered with these results of one model once this returns: their rows are on the disk.

        After AuditFullError it must not.
        """
        if self.audit is not None:
            version = self._versions[stamp]
            rows = [self._row(stamp, version, result) for result in results]
            try:
                async with asyncio.timeout(_AUDIT_S):
                    await asyncio.wrap_future(self.audit.journal.record(version, rows))
            except TimeoutError:
                raise AuditFullError from None
        for result in results:
            if isinstance(result, RefusedImage):
                self.metrics.refused(result.error.code)
            else:
                flagged = result.hairy_cell.flag is True
                unfamiliar = result.novelty is not None and result.novelty.unfamiliar
                index = BY_ID[result.class_id].index
                self.metrics.classified(index, result.confidence, flagged=flagged, unfamiliar=unfamiliar)

    @staticmethod
    def _row(stamp: ModelStamp, version: SettingsVersion, result: ClassifiedImage | RefusedImage) -> Row:
        context = current.get()
        about = (context.request_id, result.index, result.image_sha256, stamp.sha256, version.version)
        if isinstance(result, RefusedImage):
            return Row.of(*about, error=result.error.code, key=context.key)
        return Row.of(
            *about,
            predicted_class=result.class_id,
            probabilities=result.probabilities,
            hairy_flag=result.hairy_cell.flag,
            novelty_score=None if result.novelty is None else round(result.novelty.score, 4),
            key=context.key,
        )

    def close(self) -> None:
        if self.audit is not None:
            self.audit.close()
        self.tracer.close()
