"""What ``/metrics`` says: the counts of :mod:`service.observe.metrics` and the state of the service at that moment."""

import math
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass

from prometheus_client import CollectorRegistry, ProcessCollector
from prometheus_client.exposition import choose_encoder
from prometheus_client.metrics_core import CounterMetricFamily, GaugeMetricFamily, InfoMetricFamily, Metric
from prometheus_client.registry import Collector

from service.observe.audit.trail import AuditState
from service.observe.metrics import Metrics
from service.observe.readings import MODEL_LABELS, DriftReading, EngineReading, Reading
from service.serving.observer import service_version
from service.serving.states import State


@dataclass(frozen=True)
class _Families(Collector):
    read: Callable[[], Reading]

    def collect(self) -> Iterator[Metric]:
        reading = self.read()
        yield from reading.metrics.families()
        yield from _states(reading.state, reading.engine)
        yield from _queue(reading.seats, reading.engine)
        yield from _model(reading.engine.model)
        if reading.engine.drift is not None:
            yield from _drift(reading.engine.drift)
        if reading.engine.audit is not None:
            yield from _audit(reading.engine.audit)
        yield from _log(reading.lost_lines)


class Exposition:
    """Renders the metrics of one service.

    Args:
        read: asks the service.
        process: the metrics of its process or processes; not given: those of this one.
    """

    def __init__(self, read: Callable[[], Reading], process: Collector | None = None) -> None:
        self._registry = CollectorRegistry(auto_describe=False)
        self._registry.register(_Families(read))
        self._registry.register(ProcessCollector(registry=None) if process is None else process)

    def render(self, accept: str) -> tuple[bytes, str]:
        """The text and its content type, in the newest form that ``accept`` names."""
        encoder, content_type = choose_encoder(accept)
        return encoder(self._registry), content_type


def catalogue() -> Iterator[Metric]:
    """Every family of ours, with a sample of each label where they are known beforehand; for the documentation."""
    yield from Metrics().families()
    yield from _states(State.STARTING, EngineReading())
    yield from _queue(0, EngineReading())
    yield from _model(dict.fromkeys(MODEL_LABELS, ""))
    yield from _drift(DriftReading(math.nan, math.nan, 0))
    yield from _audit(AuditState(None, full=False, waiting=0, spooled_bytes=0, written=0, logged=0))
    yield from _log(0)


def _states(current: State, engine: EngineReading) -> Iterator[Metric]:
    yield _gauges(
        "hal_state",
        "1 for what the service is doing, 0 for what it is not.",
        "state",
        {state: float(state is current) for state in State},
    )
    yield _counters(
        "hal_reloads", "Bundles that took over from another one, or were refused.", "outcome",
        {"done": engine.reloads, "refused": engine.reloads_refused},
    )  # fmt: skip


def _queue(limit: int, engine: EngineReading) -> Iterator[Metric]:
    counts = engine.counts
    yield _gauges(
        "hal_queue_images",
        "Images that wait for the device.",
        "priority",
        engine.waiting,
    )
    yield _gauges(
        "hal_seats_taken",
        "Images accepted and not yet answered.",
        "priority",
        engine.seats_taken,
    )
    yield _gauge("hal_seats", "Images that may be accepted at once (HAL_QUEUE_LIMIT).", limit)
    yield _gauge("hal_batch_limit", "Most images in the next batch.", engine.batch_limit)
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


def _model(labels: Mapping[str, str]) -> Iterator[Metric]:
    yield InfoMetricFamily("hal_model", "The model that answers.", value=dict(labels))
    yield InfoMetricFamily("hal_service", "The service's release.", value={"version": service_version()})


def _drift(drift: DriftReading) -> Iterator[Metric]:
    yield _gauges(
        "hal_embedding_drift",
        "Distance of the recent mean embedding from the bundle's, in spreads of single images: overall, and within "
        "the predicted classes, which a change of stain or microscope moves and another mix of cells does not. Only "
        "where the bundle has a reference (HAL_DRIFT).",
        "scope",
        {"overall": drift.overall, "within_class": drift.within_class},
    )
    yield CounterMetricFamily("hal_embedding_images", "Images whose embedding was compared.", value=drift.images)


def _audit(state: AuditState) -> Iterator[Metric]:
    yield _gauge(
        "hal_audit_database_up", "1 while the audit trail's database takes rows (HAL_AUDIT).", state.problem is None
    )
    yield _gauge("hal_audit_full", "1 while neither database nor spool takes rows; no images are taken.", state.full)
    yield _gauge("hal_audit_waiting_rows", "Rows of the audit trail in memory.", state.waiting)
    yield _gauge("hal_audit_spool_bytes", "Rows of the audit trail on disk.", state.spooled_bytes)
    yield CounterMetricFamily("hal_audit_rows", "Rows of the audit trail in the database.", value=state.written)


def _log(lost: int) -> Iterator[Metric]:
    yield CounterMetricFamily(
        "hal_log_lines_lost", "Log lines that could not be written, as on a full disk.", value=lost
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
