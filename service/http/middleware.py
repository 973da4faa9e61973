"""What every request passes on its way in and out."""

import asyncio
import logging
import random
import re
import time
from typing import Any, Final

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from service.auth.security import Gate, headers_for
from service.batching.errors import DrainingError
from service.errors import ServiceError
from service.http.errors import UnexpectedError, error_response
from service.http.upload_budget import Share, UploadRoom
from service.observe.metrics import OTHER_ROUTE
from service.observe.tracing import RequestContext, TraceParent, current, span_id_of
from service.serving.observer import Observer

logger = logging.getLogger("hal.requests")

_REQUEST_ID: Final = re.compile(rb"[A-Za-z0-9._:+/=-]{1,128}")
_names: Final = random.Random()  # noqa: S311 - a request's name is no secret
"""Seeded by the system once. Asking the system for each would let go of the interpreter's lock for each."""
_QUIET: Final = ("/health/", "/v2/health/", "/metrics")


class FrontDoor:
    """Names a request (``X-Request-ID``, the client's if it is sensible), asks it for a key before its body is read,
    takes no more of that than there is room for, tells browsers what they must not do with the answer, counts it, logs
    it, and is the last resort when it fails.
    """

    def __init__(self, app: ASGIApp, gate: Gate, observer: Observer, room: UploadRoom) -> None:
        self._app = app
        self._room = room
        self._gate = gate
        self._observer = observer

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:  # noqa: D102
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        start = time.perf_counter()
        given = traceparent = declared = b""
        has_body = False
        for name, value in reversed(scope["headers"]):  # The first of a name is the one that counts.
            if name == b"x-request-id":
                given = value
            elif name == b"traceparent":
                traceparent = value
            elif name == b"content-length":
                declared, has_body = value, value != b"0"
            elif name == b"transfer-encoding":
                has_body = True
        request_id = given.decode() if _REQUEST_ID.fullmatch(given) else f"{_names.getrandbits(128):032x}"
        state = scope.setdefault("state", {})
        state["request_id"] = request_id
        method, path = scope["method"], scope["path"]
        trace = TraceParent.read(traceparent.decode("latin-1")) if traceparent else None
        span = self._observer.tracer.begin_request(method, trace) if self._observer.tracer.on else None
        added = [(b"x-request-id", request_id.encode()), *headers_for(path)]
        if trace is not None:
            added.append((b"traceresponse", trace.answered_by(span_id_of(span)).encode()))
        status = 0

        async def send_named(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                message["headers"] = [*message.get("headers", ()), *added]
            await send(message)

        context = RequestContext(request_id, trace_id=None if trace is None else trace.trace_id, span=span)
        token = current.set(context)
        share = Share(self._room) if has_body else None
        try:
            if (key := self._gate.check(scope)) is not None:
                context = RequestContext(request_id, key, context.trace_id, span)
                current.set(context)
            await self._app(scope, receive if share is None else share.of(declared, receive), send_named)
        except ServiceError as refusal:
            await error_response(request_id, path, refusal)(scope, receive, send_named)
        except Exception:
            logger.exception("unexpected error", extra={"fields": {"request_id": request_id}})
            if not status:
                await error_response(request_id, path, UnexpectedError())(scope, receive, send_named)
        except asyncio.CancelledError:
            # The server cancels what has not ended when HAL_DRAIN_S is over: who waits is told to ask elsewhere.
            if status or not scope["app"].state.hal.draining:
                logger.warning("cancelled")
                raise
            await error_response(request_id, path, DrainingError())(scope, receive, send_named)
        finally:
            if share is not None:
                share.give_back()
            seconds = time.perf_counter() - start
            route = getattr(scope.get("route"), "path", None)
            images = state.get("images", 0)
            self._observer.metrics.request(route or OTHER_ROUTE, status, seconds, images)
            if span is not None:
                self._observer.tracer.end_request(span, method, route or OTHER_ROUTE, status, images)
            level = logging.DEBUG if path.startswith(_QUIET) else logging.INFO
            if logger.isEnabledFor(level):
                fields: dict[str, Any] = {
                    "method": method,
                    "path": route or "-",
                    "status": status,
                    "images": images,
                    "ms": round(1000 * seconds, 1),
                }
                logger.log(level, "request", extra={"fields": context.fields() | fields})
            current.reset(token)
