"""What the service counts, and how Prometheus reads it.

Each service has a registry of its own. Every label has few values, all known beforehand: routes, outcomes, classes.
Nothing that a client sends becomes one.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from typing import Final, Literal

from prometheus_client import (
    CollectorRegistry,
    Counter,
    Gauge,
    Histogram,
    Info,
    ProcessCollector,
    Summary,
    disable_created_metrics,
)
from prometheus_client.exposition import choose_encoder
from prometheus_client.metrics import MetricWrapperBase
from prometheus_client.metrics_core import Metric
from prometheus_client.registry import Collector

from contract.classes import CELL_CLASSES

OTHER_ROUTE: Final = "other"
"""The route of a request that none of ours answers."""

_OUTCOMES: Final = {
    401: "unauthorized",
    403: "forbidden",
    404: "not_found",
    408: "upload_timeout",
    413: "too_large",
    415: "unsupported_type",
    422: "nothing_classified",
    429: "queue_full",
    431: "head_too_large",
    499: "client_gone",
    503: "unavailable",
    504: "deadline_exceeded",
}
_SHORT_S: Final = (0.0001, 0.00025, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 1.0)
_LONG_S: Final = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0)
_IMAGES: Final = (1.0, 2.0, 4.0, 8.0, 16.0, 32.0, 64.0, 128.0, 256.0, 512.0, 1024.0)
MODEL_LABELS: Final = ("name", "version", "sha256", "precision", "device", "calibration", "decision_policy")
_PRIORITIES: Final = ("routine", "bulk")


def outcome_of(status: int) -> str:
    """What became of a request, from its status (0: given up); one of some fifteen words."""
    if status in _OUTCOMES:
        return _OUTCOMES[status]
    if 200 <= status < 400:
        return "ok"
    return "bad_request" if 400 <= status < 500 else "failed" if status else "cancelled"


class Polled(Collector):
    """A metric whose values somebody else keeps: they are asked for when ``/metrics`` is read.

    ``read`` gives a number for each value of its one label, or for "" where it has none. Until it is set each of
    ``values`` is 0.
    """

    def __init__(
        self,
        kind: Literal["counter", "gauge"],
        name: str,
        documentation: str,
        label: str = "",
        values: Sequence[str] = (),
    ) -> None:
        self._family = (name, documentation, kind)
        self._labelnames = (label,) if label else ()
        self.read: Callable[[], Mapping[str, float]] = lambda: dict.fromkeys(values, 0)

    def collect(self) -> Iterator[Metric]:
        metric = Metric(*self._family)
        sample = metric.name + ("_total" if metric.type == "counter" else "")
        for value, number in self.read().items():
            metric.add_sample(sample, dict.fromkeys(self._labelnames, value), float(number))
        yield metric


class Metrics:
    """Everything that a running service counts. Safe to call from any thread."""

    def __init__(self) -> None:
        disable_created_metrics()  # type: ignore[no-untyped-call]
        # Registered below, all in one way.
        counter, histogram = partial(Counter, registry=None), partial(Histogram, registry=None)
        self._requests = counter("hal_requests", "Requests.", ("route", "outcome"))
        self._images = counter(
            "hal_images", "Images by outcome: classified, or the code of the error in the image's place.", ("outcome",)
        )
        self._predicted = counter("hal_cells_predicted", "Classified cells.", ("class",))
        self._flagged = counter("hal_cells_flagged", "Cells flagged as possible hairy cells.")
        self._unfamiliar = counter(
            "hal_images_unfamiliar",
            "Classified images that look unlike the training images; 0 where the bundle cannot tell.",
        )
        self._top_probability = Summary("hal_top_probability", "Probability of the predicted class.", registry=None)
        self._request_s = histogram(
            "hal_request_seconds", "Seconds from the head of a request with images to its answer.", buckets=_LONG_S
        )
        self._decode_s = histogram("hal_decode_seconds", "Seconds to decode or refuse an image.", buckets=_SHORT_S)
        self._queue_s = histogram("hal_queue_seconds", "Seconds that an image waited for the device.", buckets=_LONG_S)
        self._device_s = histogram("hal_device_seconds", "Seconds of the network on one batch.", buckets=_LONG_S)
        self._batch = histogram("hal_batch_images", "Images in a batch.", buckets=_IMAGES)
        self._device_image_s = 0.0
        self.state = Polled(
            "gauge",
            "hal_state",
            "1 for the present state, 0 for the others.",
            "state",
            ("starting", "ready", "stalled", "draining", "failed"),
        )
        self.reloads = Polled("counter", "hal_reloads", "Reloads.", "outcome", ("done", "refused"))
        self.queue_images = Polled(
            "gauge", "hal_queue_images", "Images that wait for the device.", "priority", _PRIORITIES
        )
        self.images_accepted = Polled(
            "gauge", "hal_images_accepted", "Images accepted and not yet answered.", "priority", _PRIORITIES
        )
        self.queue_limit = Gauge(
            "hal_queue_limit", "Images that may be accepted at once (HAL_QUEUE_LIMIT).", registry=None
        )
        self.batch_limit = Polled("gauge", "hal_batch_limit", "Most images in the next batch.", values=("",))
        self.images_left = Polled(
            "counter",
            "hal_images_left",
            "Images not answered: withdrawn with their request, or past their deadline.",
            "reason",
            ("withdrawn", "expired"),
        )
        self.clients_gone = Polled("counter", "hal_clients_gone", "Requests whose client disconnected.", values=("",))
        self.batches_failed = Polled(
            "counter",
            "hal_batches_failed",
            "Batches that failed and were retried in parts.",
            "reason",
            ("out_of_memory", "other"),
        )
        self.model = Info("hal_model", "The model that answers.", registry=None)
        self.model.info(dict.fromkeys(MODEL_LABELS, ""))
        self.service = Info("hal_service", "The service's release.", registry=None)
        self.service.info({"version": ""})
        self.embedding_drift = Polled(
            "gauge",
            "hal_embedding_drift",
            "Distance of the recent mean embedding from the bundle's, in standard deviations of single images: "
            "overall, within_class (HAL_DRIFT).",
            "scope",
        )
        self.embedding_images = Polled("counter", "hal_embedding_images", "Images whose embedding was compared.")
        self.audit_database_up = Polled(
            "gauge", "hal_audit_database_up", "1 while the audit database takes rows (HAL_AUDIT)."
        )
        self.audit_full = Polled(
            "gauge", "hal_audit_full", "1 while the service refuses images since the audit journal is full."
        )
        self.audit_waiting_rows = Polled(
            "gauge", "hal_audit_waiting_rows", "Rows in the audit journal that wait for the database."
        )
        self.audit_journal_bytes = Polled("gauge", "hal_audit_journal_bytes", "Bytes in use in the audit journal.")
        self.audit_rows = Polled("counter", "hal_audit_rows", "Rows written to the audit database.")
        self.log_lines_lost = Polled(
            "counter", "hal_log_lines_lost", "Log lines not written, as on a full disk.", values=("",)
        )
        # Looked up once: the look-up costs more than the count. Every class has a series from the start.
        self._count_classified = self._images.labels("classified").inc
        self._count_predicted = [self._predicted.labels(cell.id).inc for cell in CELL_CLASSES]
        self.collectors = [each for each in vars(self).values() if isinstance(each, MetricWrapperBase | Polled)]
        self._registry = CollectorRegistry(auto_describe=False)
        for collector in self.collectors:
            self._registry.register(collector)
        ProcessCollector(registry=self._registry)

    def render(self, accept: str) -> tuple[bytes, str]:
        """The text and its content type, in the newest form that ``accept`` names."""
        encoder, content_type = choose_encoder(accept)
        return encoder(self._registry), content_type

    def spent(self) -> dict[str, tuple[int, float]]:
        """Images and seconds in ``decode``, ``queue`` and ``device``, where each spends the time of its batch."""

        def of(histogram: Histogram) -> tuple[int, float]:
            (metric,) = histogram.collect()
            values = {sample.name.rpartition("_")[2]: sample.value for sample in metric.samples}
            return int(values["count"]), values["sum"]

        queue = of(self._queue_s)
        return {"decode": of(self._decode_s), "queue": queue, "device": (queue[0], self._device_image_s)}

    def request(self, route: str, status: int, seconds: float, images: int) -> None:
        """Count a request that was answered or given up (status 0); timed if it brought images."""
        self._requests.labels(route, outcome_of(status)).inc()
        if images:
            self._request_s.observe(seconds)

    def refused_below(self, status: int) -> None:
        """Count what was no request yet when it was refused: a head that did not arrive, did not end or is no HTTP."""
        self.request(OTHER_ROUTE, status, 0.0, 0)

    def decoded(self, seconds: float) -> None:
        self._decode_s.observe(seconds)

    def ran(self, device_s: float, waits_s: Sequence[float]) -> None:
        """Count one batch: how long the device took and how long each of its images had waited for it."""
        self._batch.observe(len(waits_s))
        self._device_image_s += device_s * len(waits_s)
        self._device_s.observe(device_s)
        for wait in waits_s:
            self._queue_s.observe(wait)

    def classified(self, class_index: int, top_probability: float, *, flagged: bool, unfamiliar: bool = False) -> None:
        self._count_classified()
        self._count_predicted[class_index]()
        self._top_probability.observe(top_probability)
        if flagged:
            self._flagged.inc()
        if unfamiliar:
            self._unfamiliar.inc()

    def refused(self, code: str) -> None:
        """Count one image without an answer; ``code`` is one of ours."""
        self._images.labels(code).inc()
