"""What belongs to a request wherever it goes, and spans for an OpenTelemetry collector.

A ``traceparent`` (W3C Trace Context) is read by OpenTelemetry's API and is in the log and in ``traceresponse`` whether
or not spans are made. They are made when ``OTEL_EXPORTER_OTLP_ENDPOINT`` (or the one for traces) is set; otherwise the
API does nothing.
"""

import contextlib
import contextvars
import logging
import os
import secrets
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Final

from opentelemetry import trace
from opentelemetry.context import Context
from opentelemetry.trace import INVALID_SPAN, Span, SpanKind, StatusCode, format_span_id, format_trace_id
from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

from service.threads import NoThreadError, require_threads

logger = logging.getLogger("hal.tracing")

_ENDPOINTS: Final = ("OTEL_EXPORTER_OTLP_ENDPOINT", "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT")
_THREADS: Final = 3
"""Of OpenTelemetry's at the start: one sends, two look at the process and go."""
_PROPAGATOR: Final = TraceContextTextMapPropagator()


@dataclass(slots=True)
class RequestContext:
    """What belongs to a request wherever it goes.

    ``key`` is the name of its API key, once that was checked; ``span``, where none is made, that of the trace that it
    came with or an invalid one.
    """

    request_id: str = "-"
    key: str | None = None
    span: Span = INVALID_SPAN

    def fields(self) -> dict[str, str]:
        said = {"request_id": self.request_id}
        if self.key is not None:
            said["key"] = self.key
        if (context := self.span.get_span_context()).is_valid:
            said["trace_id"] = format_trace_id(context.trace_id)
        return said


NOBODY: Final = RequestContext()
current: contextvars.ContextVar[RequestContext] = contextvars.ContextVar("hal-request", default=NOBODY)
"""The request that is being worked on; :data:`NOBODY` between requests."""


def current_span() -> Span:
    return current.get().span


def traceresponse(span: Span) -> str:
    """Our part of the trace that ``span`` belongs to, as a header; where no span is made, it gets an id of its own."""
    context = span.get_span_context()
    span_id = secrets.token_hex(8) if context.is_remote else format_span_id(context.span_id)
    return f"00-{format_trace_id(context.trace_id)}-{span_id}-{context.trace_flags:02x}"


class Tracer:
    """Makes spans by OpenTelemetry's provider; without one they do nothing."""

    def __init__(self, provider: Any = None) -> None:
        self.on = provider is not None
        self._provider = provider
        self._tracer: trace.Tracer = (provider or trace.NoOpTracerProvider()).get_tracer("hal")

    @classmethod
    def from_environment(cls, environment: Mapping[str, str] = os.environ) -> "Tracer":
        """A tracer that sends spans where OpenTelemetry's variables say, or one that does nothing."""
        wanted = any(environment.get(name) for name in _ENDPOINTS)
        if not wanted or environment.get("OTEL_SDK_DISABLED", "").lower() == "true":
            return cls()
        from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
        from opentelemetry.sdk.resources import Resource
        from opentelemetry.sdk.trace import TracerProvider
        from opentelemetry.sdk.trace.export import BatchSpanProcessor

        named = {} if environment.get("OTEL_SERVICE_NAME") else {"service.name": "hal"}
        try:
            require_threads(_THREADS)
            provider = TracerProvider(resource=Resource.create(named))
            provider.add_span_processor(BatchSpanProcessor(OTLPSpanExporter()))
        except (NoThreadError, RuntimeError) as error:
            logger.warning("no spans are sent until the next start: %s", error)
            return cls()
        return cls(provider)

    def begin_request(self, method: str, traceparent: str) -> Span:
        """The span of a request, to be ended by :meth:`end_request`; ``traceparent`` is the header, "" without one."""
        if not traceparent and not self.on:
            return INVALID_SPAN
        parent = _PROPAGATOR.extract({"traceparent": traceparent}, Context())
        return self._tracer.start_span(method, parent, SpanKind.SERVER)

    @staticmethod
    def end_request(span: Span, method: str, route: str, status: int, images: int) -> None:
        if not span.is_recording():
            return
        span.update_name(f"{method} {route}")
        span.set_attributes({"http.request.method": method, "http.route": route, "hal.images": images})
        span.set_attribute("http.response.status_code", status)
        if status >= 500:
            span.set_status(StatusCode.ERROR)
        span.end()

    def past(self, name: str, parent: Span, begin: float, end: float, **attributes: int) -> None:
        """A span of something that has ended, below the span ``parent``; times by ``time.perf_counter``."""
        if not (self.on and parent.get_span_context().is_valid):
            return
        epoch_ns = time.time_ns() - time.perf_counter_ns()
        self._tracer.start_span(
            name,
            trace.set_span_in_context(parent, Context()),
            attributes={f"hal.{key}": value for key, value in attributes.items()},
            start_time=epoch_ns + int(begin * 1e9),
        ).end(epoch_ns + int(end * 1e9))

    @contextlib.contextmanager
    def span(self, name: str) -> Iterator[None]:
        """A span of the block, below that of the present request."""
        begin = time.perf_counter()
        try:
            yield
        finally:
            self.past(name, current_span(), begin, time.perf_counter())

    def close(self) -> None:
        """Send what has not been sent yet, in a few seconds at most."""
        if self._provider is not None:
            self._provider.force_flush(3000)
            self._provider.shutdown()
