"""What watches a running service: metrics, spans, the audit trail. The service tells it; it never holds the service up.

The way of an image calls :meth:`Observer.ran` once a batch and :meth:`Observer.answered` once a request.
"""

import time
from collections.abc import Callable, Sequence
from importlib.metadata import PackageNotFoundError, version
from typing import Any, Final, Literal

from contract.classes import CELL_CLASSES
from service.batching.queue import QueuedImage
from service.images.pool import Pixels
from service.observe.audit import AuditFullError
from service.observe.audit.rows import Row, SettingsVersion
from service.observe.audit.trail import AuditTrail, Trail
from service.observe.drift import EmbeddingDrift
from service.observe.metrics import Metrics
from service.observe.tracing import Tracer, current
from service.serving.answers import ClassifiedImage, ModelStamp, RefusedImage
from service.serving.model import ServedModel
from service.settings import Settings

_BY_NAME: Final = {cell.name: cell for cell in CELL_CLASSES}


def service_version() -> str:
    """The release of this package."""
    try:
        return version("hal-cells")
    except PackageNotFoundError:
        return "0"


class Observer:
    """Sees what a service does.

    Args:
        settings: of the service.
        audit: where rows of the audit trail go; ``None``: where the settings say, if they do.

    Attributes:
        metrics: what was counted.
        tracer: makes spans, if they are wanted.
        audit: keeps a row for each image, if that is wanted.
        drift: compares embeddings with the bundle's reference, if it has one.

    Raises:
        AuditError: the audit trail cannot be kept as asked.
    """

    def __init__(self, settings: Settings, audit: Trail | None = None) -> None:
        self.metrics = Metrics()
        self.tracer = Tracer.from_environment()
        self.audit = AuditTrail(settings) if audit is None and settings.audit is not None else audit
        self._settings = settings
        self.drift: EmbeddingDrift | None = None
        self._versions: dict[ModelStamp, SettingsVersion] = {}

    def serves(self, model: ServedModel) -> None:
        """Another model answers from now on."""
        described = SettingsVersion.of(
            self._settings, model.bundle.description, model.file, model.device, service_version()
        )
        self._versions[model.stamp] = described
        reference = model.bundle.reference() if self._settings.drift else None
        self.drift = None
        if model.network.gives_embeddings and reference is not None and model.bundle.description.reference is not None:
            self.drift = EmbeddingDrift(
                model.bundle.description.reference, reference, model.bundle.description.suppressed
            )
            model.network.watch = self.drift.add
        if self.audit is not None:
            self.audit.describe(described)

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
        """Find out whether the rows of more images could be kept.

        Raises:
            AuditFullError: they could not.
        """
        if self.audit is not None and self.audit.full:
            raise AuditFullError

    @property
    def audit_goes_to(self) -> Literal["database", "spool"] | None:
        """Where rows of the audit trail go now; ``None`` if none is kept."""
        if self.audit is None:
            return None
        return "spool" if self.audit.state().problem else "database"

    def ran(self, batch: Sequence[QueuedImage], begin: float, end: float) -> None:
        """The device has finished a batch; times by ``time.perf_counter``."""
        self.metrics.ran(end - begin, [begin - ticket.arrived for ticket in batch])
        if self.tracer.on:
            for ticket in batch:
                self.tracer.past("hal.queue", ticket.span, ticket.arrived, begin)
                self.tracer.past("hal.device", ticket.span, begin, end, batch_images=len(batch))

    def answered(self, stamp: ModelStamp, results: Sequence[ClassifiedImage | RefusedImage]) -> None:
        """A request is about to be answered with these results of one model."""
        for result in results:
            if isinstance(result, RefusedImage):
                self.metrics.refused(result.error.code)
            else:
                top = result.probabilities[result.predicted_class]
                flagged = result.hairy_cell.flag is True
                self.metrics.classified(_BY_NAME[result.predicted_class].index, top, flagged=flagged)
        if self.audit is not None:
            self.audit.record(self._rows(stamp, results))

    def _rows(self, stamp: ModelStamp, results: Sequence[ClassifiedImage | RefusedImage]) -> list[Row]:
        context = current.get()
        version = self._versions[stamp].version

        def row(result: ClassifiedImage | RefusedImage, **values: Any) -> Row:
            return Row(
                context.request_id,
                result.index,
                result.image_sha256,
                stamp.sha256,
                version,
                key=context.key,
                **values,
            )

        return [
            row(result, error=result.error.code)
            if isinstance(result, RefusedImage)
            else row(
                result,
                predicted_class=_BY_NAME[result.predicted_class].slug,
                probabilities={_BY_NAME[name].slug: round(value, 6) for name, value in result.probabilities.items()},
                hairy_flag=result.hairy_cell.flag,
            )
            for result in results
        ]

    def close(self) -> None:
        """Bring everything where it belongs; takes seconds at most."""
        if self.audit is not None:
            self.audit.close()
        self.tracer.close()
