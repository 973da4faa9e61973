"""What ``/metrics`` says: the counts of :mod:`service.metrics` and the state of the service at that moment."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from prometheus_client import CollectorRegistry, ProcessCollector
from prometheus_client.exposition import choose_encoder
from prometheus_client.metrics_core import CounterMetricFamily, GaugeMetricFamily, InfoMetricFamily, Metric
from prometheus_client.registry import Collector

from service.audit.trail import AuditState
from service.drift import EmbeddingDrift
from service.lifecycle import Hal
from service.logs import lost_lines
from service.observer import service_version
from service.states import State
from service.waiting import Priority


@dataclass(frozen=True)
class _Reading(Collector):
    hal: Hal

    def collect(self) -> Iterator[Metric]:
        hal = self.hal
        yield from hal.observer.metrics.families()
        yield from _states(hal)
        yield from _queue(hal)
        yield from _model(hal)
        if hal.observer.drift is not None:
            yield from _drift(hal.observer.drift)
        if hal.observer.audit is not None:
            yield from _audit(hal.observer.audit.state())
        yield CounterMetricFamily(
            "hal_log_lines_lost", "Log lines that could not be written, as on a full disk.", value=lost_lines()
        )


class Exposition:
    """Renders the metrics of one service.

    Args:
        hal: the service.
    """

    def __init__(self, hal: Hal) -> None:
        self._registry = CollectorRegistry(auto_describe=False)
        self._registry.register(_Reading(hal))
        ProcessCollector(registry=self._registry)

    def render(self, accept: str) -> tuple[bytes, str]:
        """The text and its content type, in the newest form that ``accept`` names."""
        encoder, content_type = choose_encoder(accept)
        return encoder(self._registry), content_type


def _states(hal: Hal) -> Iterator[Metric]:
    family = GaugeMetricFamily("hal_state", "1 for what the service is doing, 0 for what it is not.", labels=("state",))
    for state in State:
        family.add_metric((state,), float(state is hal.state))
    yield family


def _queue(hal: Hal) -> Iterator[Metric]:
    settings, batcher = hal.settings, hal.observed_batcher
    waiting = GaugeMetricFamily("hal_queue_images", "Images that wait for the device.", labels=("priority",))
    seats = GaugeMetricFamily("hal_seats_taken", "Images accepted and not yet answered.", labels=("priority",))
    for priority in Priority:
        waiting.add_metric((priority,), float(batcher.waiting_of(priority)) if batcher else 0.0)
        seats.add_metric((priority,), float(batcher.seats_taken_by(priority)) if batcher else 0.0)
    yield waiting
    yield seats
    yield _gauge("hal_seats", "Images that may be accepted at once (HAL_QUEUE_LIMIT).", settings.queue_limit)
    yield _gauge("hal_batch_limit", "Most images in the next batch.", batcher.batch_limit if batcher else 0)
    if batcher is None:
        return
    counts = batcher.counts
    left = CounterMetricFamily("hal_images_left", "Images that left before they were answered.", labels=("reason",))
    left.add_metric(("withdrawn",), counts.withdrawn)
    left.add_metric(("expired",), counts.expired)
    yield left
    yield CounterMetricFamily(
        "hal_clients_gone", "Requests whose client went away, sending or waiting.", value=counts.disconnected
    )
    failures = CounterMetricFamily(
        "hal_batches_failed", "Batches that failed and were tried again in parts.", labels=("reason",)
    )
    failures.add_metric(("out_of_memory",), counts.out_of_memory)
    failures.add_metric(("other",), max(0, counts.retried_batches - counts.out_of_memory))
    yield failures


def _model(hal: Hal) -> Iterator[Metric]:
    manifest, file = hal.bundle.manifest, hal.file
    yield InfoMetricFamily(
        "hal_model",
        "The model that answers.",
        value={
            "name": manifest.name,
            "version": manifest.version,
            "sha256": file.sha256,
            "precision": file.precision,
            "device": hal.device or "none",
            "calibration": manifest.calibration.id,
            "decision_policy": manifest.policy.version,
        },
    )
    yield InfoMetricFamily("hal_service", "The service's release.", value={"version": service_version()})


def _drift(drift: EmbeddingDrift) -> Iterator[Metric]:
    distances = GaugeMetricFamily(
        "hal_embedding_drift",
        "Distance of the recent mean embedding from the bundle's, in spreads of single images: overall, and within "
        "the predicted classes, which a change of stain or microscope moves and another mix of cells does not.",
        labels=("scope",),
    )
    distances.add_metric(("overall",), drift.overall())
    distances.add_metric(("within_class",), drift.within_class())
    yield distances
    yield CounterMetricFamily("hal_embedding_images", "Images whose embedding was compared.", value=drift.images)


def _audit(state: AuditState) -> Iterable[Metric]:
    yield _gauge("hal_audit_database_up", "1 while the audit trail's database takes rows.", state.problem is None)
    yield _gauge("hal_audit_full", "1 while neither database nor spool takes rows.", state.full)
    yield _gauge("hal_audit_waiting_rows", "Rows of the audit trail in memory.", state.waiting)
    yield _gauge("hal_audit_spool_bytes", "Rows of the audit trail on disk.", state.spooled_bytes)
    yield CounterMetricFamily("hal_audit_rows", "Rows of the audit trail in the database.", value=state.written)


def _gauge(name: str, text: str, value: float) -> Metric:
    return GaugeMetricFamily(name, text, value=float(value))
