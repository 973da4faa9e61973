"""What every request passes on its way in and out."""

import asyncio
import logging
import random
import re
import time
from collections.abc import Mapping
from typing import Final

from fastapi import FastAPI
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect, Request
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from service.auth.authorise import Authorisation
from service.batching.errors import DrainingError
from service.errors import ServiceError
from service.http.errors import response_to
from service.http.requests import headers_of
from service.http.uploads import Reservation, UploadBudget
from service.observe.metrics import OTHER_ROUTE
from service.observe.tracing import RequestContext, current, traceresponse
from service.serving.service import Service

logger = logging.getLogger("hal.requests")

_REQUEST_ID: Final = re.compile(r"[A-Za-z0-9._:+/=-]{1,128}")
_names: Final = random.Random()  # noqa: S311 - a request's name is no secret
"""Asking the system for each name would let go of the interpreter's lock, at 100 microseconds under load."""
_QUIET: Final = ("/health/", "/v2/health/", "/metrics")


_POLICY: Final = (
    "default-src 'none'; script-src 'self'; connect-src 'self'; base-uri 'none'; form-action 'none'; "
    "frame-ancestors 'none'; "
)
_PAGE_POLICY: Final = _POLICY + "style-src 'self'; img-src 'self' blob:"
_DOCS_POLICY: Final = _POLICY + "style-src 'self' 'unsafe-inline'; img-src 'self' data:"
"""Swagger UI sets style attributes and draws its icons from data URLs."""


def _headers(policy: str, cache: str = "no-store") -> tuple[tuple[bytes, bytes], ...]:
    return (
        (b"x-content-type-options", b"nosniff"),
        (b"x-frame-options", b"DENY"),
        (b"referrer-policy", b"no-referrer"),
        (b"cross-origin-resource-policy", b"same-origin"),
        (b"cache-control", cache.encode()),
        (b"content-security-policy", policy.encode()),
    )


_PAGE_HEADERS: Final = _headers(_PAGE_POLICY)
_DOCS_HEADERS: Final = _headers(_DOCS_POLICY)
_STATIC_HEADERS: Final = _headers(_PAGE_POLICY, "no-cache")


def headers_for(path: str) -> tuple[tuple[bytes, bytes], ...]:
    """What every answer tells a browser: take nothing from elsewhere, show it in no frame, keep no copy.

    Copies of the page's own files are kept, but asked about each time, so that an update shows at once.
    """
    if path.startswith("/static/"):
        return _STATIC_HEADERS
    return _DOCS_HEADERS if path.startswith("/docs") else _PAGE_HEADERS


class RequestMiddleware:
    """The application as the server sees it.

    It names a request (``X-Request-ID``, the client's if it is sensible), asks it for a key before its body is read,
    reserves its body's part of the upload budget, tells browsers what they must not do with the answer, counts it, logs
    it, and answers when it fails. ``api`` is ``scope["app"]`` of every request: the routes read its state.
    """

    def __init__(self, routes: ASGIApp, api: FastAPI, service: Service) -> None:
        self._routes = routes
        self._api = api
        self._service = service
        self.observer = service.observer
        self._authorisation = Authorisation(service.settings.keys_file)
        self.budget = UploadBudget(service.settings.max_uploads_bytes)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        scope["app"] = self._api
        if scope["type"] != "http":
            await self._routes(scope, receive, send)
            return
        begin = time.perf_counter()
        headers, method = headers_of(scope), scope["method"]
        if method == "HEAD":
            # Answered as GET is; the server leaves the body out.
            scope = {**scope, "method": "GET"}
        context, added = self._begin(scope, method, headers)
        status = 0

        async def answer(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                message["headers"] = [*message.get("headers", ()), *added]
            await send(message)

        token = current.set(context)
        reservation = Reservation(self.budget)
        try:
            context.key = self._authorisation.check(scope)
            await self._routes(scope, reservation.receiving(headers, receive), answer)
        except (ServiceError, HTTPException, ClientDisconnect) as error:
            await response_to(error, Request(scope))(scope, receive, answer)
        except Exception as error:
            logger.exception("unexpected error", extra={"fields": context.fields()})
            if not status:
                await response_to(error, Request(scope))(scope, receive, answer)
        except asyncio.CancelledError:
            # The server cancels what has not ended when HAL_DRAIN_S is over: who waits is told to ask elsewhere.
            if status or not self._service.draining:
                logger.warning("cancelled")
                raise
            await response_to(DrainingError(), Request(scope))(scope, receive, answer)
        finally:
            reservation.release()
            self._end(scope, method, context, status, time.perf_counter() - begin)
            current.reset(token)

    def _begin(
        self, scope: Scope, method: str, headers: Mapping[str, str]
    ) -> tuple[RequestContext, list[tuple[bytes, bytes]]]:
        """Who asks, and the headers of every answer."""
        given = headers.get("x-request-id", "")
        request_id = given if _REQUEST_ID.fullmatch(given) else f"{_names.getrandbits(128):032x}"
        scope.setdefault("state", {})["request_id"] = request_id
        traceparent = headers.get("traceparent", "")
        span = self.observer.tracer.begin_request(method, traceparent)
        added = [(b"x-request-id", request_id.encode()), *headers_for(scope["path"])]
        if traceparent and span.get_span_context().is_valid:
            added.append((b"traceresponse", traceresponse(span).encode()))
        return RequestContext(request_id, span=span), added

    def _end(self, scope: Scope, method: str, context: RequestContext, status: int, seconds: float) -> None:
        path = scope["path"]
        route = getattr(scope.get("route"), "path", None) or OTHER_ROUTE
        images = scope["state"].get("images", 0)
        self.observer.metrics.request(route, status, seconds, images)
        self.observer.tracer.end_request(context.span, method, route, status, images)
        level = logging.DEBUG if path.startswith(_QUIET) else logging.INFO
        if logger.isEnabledFor(level):
            path = "-" if route == OTHER_ROUTE else route
            fields = {"method": method, "path": path, "status": status, "images": images}
            logger.log(level, "request", extra={"fields": context.fields() | fields | {"ms": round(1000 * seconds, 1)}})
