"""What ``/metrics`` says: the counts of :mod:`service.metrics` and the state of the service at that moment."""

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Final

from prometheus_client import CollectorRegistry, ProcessCollector
from prometheus_client.exposition import choose_encoder
from prometheus_client.metrics_core import CounterMetricFamily, GaugeMetricFamily, InfoMetricFamily, Metric
from prometheus_client.registry import Collector

from service.audit.trail import AuditState
from service.batching import Batcher
from service.counts import Counts
from service.drift import EmbeddingDrift
from service.lifecycle import Hal
from service.logs import lost_lines
from service.metrics import Metrics
from service.observer import service_version
from service.states import State
from service.waiting import Priority

_MODEL_LABELS: Final = ("name", "version", "sha256", "precision", "device", "calibration", "decision_policy")


@dataclass(frozen=True)
class _Reading(Collector):
    hal: Hal

    def collect(self) -> Iterator[Metric]:
        hal, observer = self.hal, self.hal.observer
        yield from observer.metrics.families()
        yield from _states(hal.state, hal.reloads, hal.reloads_refused)
        yield from _queue(hal.settings.queue_limit, hal.observed_batcher)
        yield from _model(_labels(hal))
        if observer.drift is not None:
            yield from _drift(observer.drift)
        if observer.audit is not None:
            yield from _audit(observer.audit.state())
        yield from _log()


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


def catalogue() -> Iterator[Metric]:
    """Every family of ours, with a sample of each label where they are known beforehand; for the documentation."""
    yield from Metrics().families()
    yield from _states(State.STARTING, 0, 0)
    yield from _queue(0, None)
    yield from _model(dict.fromkeys(_MODEL_LABELS, ""))
    yield from _drift(None)
    yield from _audit(AuditState(None, full=False, waiting=0, spooled_bytes=0, written=0, logged=0))
    yield from _log()


def _states(current: State, reloads: int, refused: int) -> Iterator[Metric]:
    yield _gauges(
        "hal_state",
        "1 for what the service is doing, 0 for what it is not.",
        "state",
        {state: float(state is current) for state in State},
    )
    yield _counters(
        "hal_reloads", "Bundles that took over from another one, or were refused.", "outcome",
        {"done": reloads, "refused": refused},
    )  # fmt: skip


def _queue(limit: int, batcher: Batcher | None) -> Iterator[Metric]:
    counts = batcher.counts if batcher else Counts()
    yield _gauges(
        "hal_queue_images",
        "Images that wait for the device.",
        "priority",
        {priority: float(batcher.waiting_of(priority) if batcher else 0) for priority in Priority},
    )
    yield _gauges(
        "hal_seats_taken",
        "Images accepted and not yet answered.",
        "priority",
        {priority: float(batcher.seats.taken_by(priority) if batcher else 0) for priority in Priority},
    )
    yield _gauge("hal_seats", "Images that may be accepted at once (HAL_QUEUE_LIMIT).", limit)
    yield _gauge("hal_batch_limit", "Most images in the next batch.", batcher.batch_limit if batcher else 0)
    yield _counters(
        "hal_images_left",
        "Images that left before they were answered: their client went away or they were withdrawn with others, or "
        "their deadline passed.",
        "reason",
        {"withdrawn": counts.withdrawn, "expired": counts.expired},
    )
    yield CounterMetricFamily(
        "hal_clients_gone", "Requests whose client went away, sending or waiting.", value=counts.disconnected
    )
    yield _counters(
        "hal_batches_failed",
        "Batches that failed and were tried again in parts.",
        "reason",
        {"out_of_memory": counts.out_of_memory, "other": max(0, counts.retried_batches - counts.out_of_memory)},
    )


def _labels(hal: Hal) -> Mapping[str, str]:
    manifest, file = hal.bundle.manifest, hal.file
    values = (
        *(manifest.name, manifest.version, file.sha256, file.precision, hal.device or "none"),
        *(manifest.calibration.id, manifest.policy.version),
    )
    return dict(zip(_MODEL_LABELS, values, strict=True))


def _model(labels: Mapping[str, str]) -> Iterator[Metric]:
    yield InfoMetricFamily("hal_model", "The model that answers.", value=dict(labels))
    yield InfoMetricFamily("hal_service", "The service's release.", value={"version": service_version()})


def _drift(drift: EmbeddingDrift | None) -> Iterator[Metric]:
    yield _gauges(
        "hal_embedding_drift",
        "Distance of the recent mean embedding from the bundle's, in spreads of single images: overall, and within "
        "the predicted classes, which a change of stain or microscope moves and another mix of cells does not. Only "
        "where the bundle has a reference (HAL_DRIFT).",
        "scope",
        {
            "overall": drift.overall() if drift else math.nan,
            "within_class": drift.within_class() if drift else math.nan,
        },
    )
    yield CounterMetricFamily(
        "hal_embedding_images", "Images whose embedding was compared.", value=drift.images if drift else 0
    )


def _audit(state: AuditState) -> Iterator[Metric]:
    yield _gauge(
        "hal_audit_database_up", "1 while the audit trail's database takes rows (HAL_AUDIT).", state.problem is None
    )
    yield _gauge("hal_audit_full", "1 while neither database nor spool takes rows; no images are taken.", state.full)
    yield _gauge("hal_audit_waiting_rows", "Rows of the audit trail in memory.", state.waiting)
    yield _gauge("hal_audit_spool_bytes", "Rows of the audit trail on disk.", state.spooled_bytes)
    yield CounterMetricFamily("hal_audit_rows", "Rows of the audit trail in the database.", value=state.written)


def _log() -> Iterator[Metric]:
    yield CounterMetricFamily(
        "hal_log_lines_lost", "Log lines that could not be written, as on a full disk.", value=lost_lines()
    )


def _gauge(name: str, text: str, value: float) -> Metric:
    return GaugeMetricFamily(name, text, value=float(value))


def _gauges(name: str, text: str, label: str, values: Mapping[str, float]) -> Metric:
    family = GaugeMetricFamily(name, text, labels=(label,))
    for key, value in values.items():
        family.add_metric((key,), value)
    return family


def _counters(name: str, text: str, label: str, values: Mapping[str, int]) -> Metric:
    family = CounterMetricFamily(name, text, labels=(label,))
    for key, value in values.items():
        family.add_metric((key,), value)
    return family
