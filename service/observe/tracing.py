"""The name of a request, its place in a trace that began elsewhere, and spans for an OpenTelemetry collector.

A ``traceparent`` (W3C Trace Context) is kept in the log and answered as ``traceresponse`` whether or not OpenTelemetry
is there. Spans are made when the extra ``otel`` is installed and ``OTEL_EXPORTER_OTLP_ENDPOINT`` (or the one for
traces) is set; otherwise a span costs a look at a variable.
"""

import contextlib
import contextvars
import logging
import os
import re
import secrets
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Final

logger = logging.getLogger("hal.tracing")

_TRACEPARENT: Final = re.compile(r"([0-9a-f]{2})-([0-9a-f]{32})-([0-9a-f]{16})-([0-9a-f]{2})(-.*)?", re.ASCII)
_ENDPOINTS: Final = ("OTEL_EXPORTER_OTLP_ENDPOINT", "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT")


@dataclass(frozen=True, slots=True)
class TraceParent:
    """Where a request stands in a trace."""

    trace_id: str
    parent_id: str
    flags: str

    @classmethod
    def read(cls, header: str | None) -> "TraceParent | None":
        """What the header says; ``None`` if it is missing or not one, which the standard asks to ignore."""
        found = _TRACEPARENT.fullmatch(header.strip()) if header else None
        if found is None:
            return None
        version, trace_id, parent_id, flags, rest = found.groups()
        if version == "ff" or (version == "00" and rest) or not int(trace_id, 16) or not int(parent_id, 16):
            return None
        return cls(trace_id, parent_id, flags)

    def answered_by(self, span_id: str) -> str:
        """The ``traceresponse`` of our part of the trace."""
        return f"00-{self.trace_id}-{span_id}-{self.flags}"


@dataclass(frozen=True, slots=True)
class RequestContext:
    """What belongs to a request wherever it goes.

    Attributes:
        request_id: its id.
        key: the name of its API key, if it needed one.
        trace_id: of the trace that it came with.
        span: OpenTelemetry's span of the request, ``None`` where nothing is traced.
    """

    request_id: str = "-"
    key: str | None = None
    trace_id: str | None = None
    span: Any = None

    def fields(self) -> dict[str, str]:
        """What a log line says about it."""
        said = {"request_id": self.request_id}
        if self.key is not None:
            said["key"] = self.key
        if self.trace_id is not None:
            said["trace_id"] = self.trace_id
        return said


NOBODY: Final = RequestContext()
current: contextvars.ContextVar[RequestContext] = contextvars.ContextVar("hal-request", default=NOBODY)
"""The request that is being worked on; :data:`NOBODY` between requests."""


def current_span() -> Any:
    """OpenTelemetry's span of the present request, or ``None``."""
    return current.get().span


_NO_SPAN: Final = contextlib.nullcontext()


class Tracer:
    """Makes spans, or nothing. :meth:`from_environment` decides which."""

    def __init__(self, provider: Any = None) -> None:
        self._provider = provider
        self._tracer = None if provider is None else provider.get_tracer("hal")

    @classmethod
    def from_environment(cls, environment: Mapping[str, str] = os.environ) -> "Tracer":
        """A tracer that sends spans where OpenTelemetry's variables say, or one that does nothing."""
        wanted = any(environment.get(name) for name in _ENDPOINTS)
        if not wanted or environment.get("OTEL_SDK_DISABLED", "").lower() == "true":
            return cls()
        try:
            from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
            from opentelemetry.sdk.resources import Resource
            from opentelemetry.sdk.trace import TracerProvider
            from opentelemetry.sdk.trace.export import BatchSpanProcessor
        except ImportError as error:
            logger.warning("no spans are sent: %s; install the extra: pip install 'hal-cells[service,otel]'", error)
            return cls()
        named = {} if environment.get("OTEL_SERVICE_NAME") else {"service.name": "hal"}
        provider = TracerProvider(resource=Resource.create(named))
        provider.add_span_processor(BatchSpanProcessor(OTLPSpanExporter()))
        return cls(provider)

    @property
    def on(self) -> bool:
        """Whether spans are made."""
        return self._tracer is not None

    def begin_request(self, method: str, parent: TraceParent | None) -> Any:
        """The span of a request, to be ended by :meth:`end_request`; ``None`` if nothing is traced."""
        if self._tracer is None:
            return None
        from opentelemetry import trace

        context = None if parent is None else trace.set_span_in_context(self.remote(parent))
        return self._tracer.start_span(method, context=context, kind=trace.SpanKind.SERVER)

    def remote(self, parent: TraceParent | None) -> Any:
        """A span of another process, to put spans below; ``None`` if there is none or nothing is traced."""
        if self._tracer is None or parent is None:
            return None
        from opentelemetry import trace

        return trace.NonRecordingSpan(
            trace.SpanContext(
                int(parent.trace_id, 16), int(parent.parent_id, 16), True, trace.TraceFlags(int(parent.flags, 16))
            )
        )

    @staticmethod
    def end_request(span: Any, method: str, route: str, status: int, images: int) -> None:
        """End the span of a request with what is known at its end."""
        span.update_name(f"{method} {route}")
        span.set_attributes(
            {
                "http.request.method": method,
                "http.route": route,
                "http.response.status_code": status,
                "hal.images": images,
            }
        )
        if status >= 500:
            from opentelemetry.trace import Status, StatusCode

            span.set_status(Status(StatusCode.ERROR))
        span.end()

    def past(self, name: str, parent: Any, begin: float, end: float, **attributes: int) -> None:
        """A span of something that has ended, below the span ``parent``; times by ``time.perf_counter``."""
        if self._tracer is None or parent is None:
            return
        from opentelemetry import trace

        epoch_ns = time.time_ns() - time.perf_counter_ns()
        span = self._tracer.start_span(
            name,
            context=trace.set_span_in_context(parent),
            start_time=epoch_ns + int(begin * 1e9),
            attributes={f"hal.{key}": value for key, value in attributes.items()},
        )
        span.end(epoch_ns + int(end * 1e9))

    def span(self, name: str) -> contextlib.AbstractContextManager[None]:
        """A span of the block, below that of the present request."""
        parent = current_span()
        return _NO_SPAN if parent is None else self._span(name, parent)

    @contextlib.contextmanager
    def _span(self, name: str, parent: Any) -> Iterator[None]:
        begin = time.perf_counter()
        try:
            yield
        finally:
            self.past(name, parent, begin, time.perf_counter())

    def close(self) -> None:
        """Send what has not been sent yet, in a few seconds at most."""
        if self._provider is not None:
            self._provider.force_flush(3000)
            self._provider.shutdown()


def traceparent_of(span: Any) -> str | None:
    """What names ``span`` to another process, as in the header; ``None`` without one."""
    if span is None:
        return None
    context = span.get_span_context()
    return f"00-{context.trace_id:032x}-{context.span_id:016x}-{int(context.trace_flags):02x}"


def new_span_id() -> str:
    """An id for our part of a trace that OpenTelemetry does not give one."""
    return secrets.token_hex(8)


def span_id_of(span: Any) -> str:
    """The id of OpenTelemetry's span, or a new one where there is none."""
    return new_span_id() if span is None else f"{span.get_span_context().span_id:016x}"
