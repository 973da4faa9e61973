"""What a service says of itself at one moment, as plain values that can go from process to process."""

from dataclasses import dataclass, field
from typing import Final, Self

from service.batching.queue import Priority
from service.batching.rate import Statistics
from service.observe.audit.trail import AuditState
from service.observe.drift import EmbeddingDrift
from service.observe.logs import lost_lines
from service.observe.metrics import Metrics
from service.serving.service import Service
from service.serving.states import State

MODEL_LABELS: Final = ("name", "version", "sha256", "precision", "device", "calibration", "decision_policy")


@dataclass(frozen=True, slots=True)
class DriftReading:
    """See :class:`service.observe.drift.EmbeddingDrift`."""

    overall: float
    within_class: float
    images: int

    @classmethod
    def of(cls, drift: EmbeddingDrift) -> Self:
        """How far it has come."""
        return cls(drift.overall(), drift.within_class(), drift.images)


@dataclass(frozen=True, slots=True)
class EngineReading:
    """What the process that has the network knows.

    Attributes:
        reloads: bundles that took over from another one.
        reloads_refused: bundles that should have and could not.
        waiting: images that wait for the device, by priority.
        seats_taken: images accepted and not yet answered, by priority.
        batch_limit: most images in the next batch.
        counts: what happened to images so far.
        model: what serves, by :data:`MODEL_LABELS`.
        drift: ``None`` where embeddings are not compared.
        audit: ``None`` where no trail is kept.
    """

    reloads: int = 0
    reloads_refused: int = 0
    waiting: dict[str, int] = field(default_factory=lambda: {str(priority): 0 for priority in Priority})
    seats_taken: dict[str, int] = field(default_factory=lambda: {str(priority): 0 for priority in Priority})
    batch_limit: int = 0
    counts: Statistics = field(default_factory=Statistics)
    model: dict[str, str] = field(default_factory=lambda: dict.fromkeys(MODEL_LABELS, ""))
    drift: DriftReading | None = None
    audit: AuditState | None = None

    @classmethod
    def of(cls, hal: Service) -> Self:
        """What it knows now."""
        description, file, batcher, observer = hal.bundle.description, hal.file, hal.batcher, hal.observer
        labels = (
            *(description.name, description.version, file.sha256, file.precision, hal.device or "none"),
            *(description.calibration.id, description.policy.version),
        )
        return cls(
            reloads=hal.reloads,
            reloads_refused=hal.reloads_refused,
            waiting={str(priority): batcher.waiting_of(priority) if batcher else 0 for priority in Priority},
            seats_taken={
                str(priority): batcher.admission.taken_by(priority) if batcher else 0 for priority in Priority
            },
            batch_limit=batcher.batch_limit if batcher else 0,
            counts=hal.statistics,
            model=dict(zip(MODEL_LABELS, map(str, labels), strict=True)),
            drift=None if observer.drift is None else DriftReading.of(observer.drift),
            audit=None if observer.audit is None else observer.audit.state(),
        )


@dataclass(frozen=True, slots=True)
class Reading:
    """Everything that ``/metrics`` tells.

    Attributes:
        metrics: what was counted.
        state: what the service is doing.
        seats: images that may be accepted at once.
        engine: what the process that has the network knows.
        lost_lines: log lines that could not be written.
    """

    metrics: Metrics
    state: State
    seats: int
    engine: EngineReading
    lost_lines: int

    @classmethod
    def of(cls, hal: Service) -> Self:
        """Of a service in one process."""
        return cls(hal.observer.metrics, hal.state, hal.settings.queue_limit, EngineReading.of(hal), lost_lines())
