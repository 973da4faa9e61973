"""The web application: routes, errors, and the middleware that names and logs every request."""

import asyncio
import contextlib
import logging
import re
import secrets
import time
from collections.abc import AsyncIterator
from importlib.metadata import PackageNotFoundError, version
from typing import Final

from fastapi import APIRouter, FastAPI
from fastapi.routing import APIRoute
from starlette.datastructures import Headers, MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from service import errors
from service.direct import ShortWay
from service.lifecycle import Hal
from service.routes import admin, classify, health, model
from service.security import Gate, RefusedError, headers_for

logger = logging.getLogger("hal.requests")

_REQUEST_ID: Final = re.compile(r"[A-Za-z0-9._:+/=-]{1,128}", re.ASCII)
_DESCRIPTION: Final = (
    "Pre-classifies images of blood cells into 20 classes and flags possible hairy cells. "
    "For research use, assists a qualified technologist."
)


class FrontDoor:
    """What every request passes: its id (``X-Request-ID``, the client's if it is sensible), the gate that asks for keys
    before the body is read, headers for browsers, a log line and a last resort.
    """

    def __init__(self, app: ASGIApp, gate: Gate) -> None:
        self._app = app
        self._gate = gate

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:  # noqa: D102
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        start = time.perf_counter()
        given = Headers(scope=scope).get("x-request-id", "")
        request_id = given if _REQUEST_ID.fullmatch(given) else secrets.token_hex(16)
        state = scope.setdefault("state", {})
        state["request_id"] = request_id
        security_headers = headers_for(scope["path"])
        status = 0

        async def send_named(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                headers = MutableHeaders(scope=message)
                headers["X-Request-ID"] = request_id
                headers.raw.extend(security_headers)
            await send(message)

        try:
            state["key"] = self._gate.check(scope)
            await self._app(scope, receive, send_named)
        except RefusedError as refusal:
            await errors.refusal(request_id, scope["path"], refusal)(scope, receive, send_named)
        except Exception:
            response = errors.internal_error(request_id, scope["path"])
            if not status:
                await response(scope, receive, send_named)
        except asyncio.CancelledError:
            logger.warning("cancelled", extra={"fields": {"request_id": request_id}})
            raise
        finally:
            fields = {
                "request_id": request_id,
                "method": scope["method"],
                "path": getattr(scope.get("route"), "path", "-"),
                "status": status,
                "images": state.get("images", 0),
                "ms": round(1000 * (time.perf_counter() - start), 1),
            }
            if key := state.get("key"):
                fields["key"] = key
            level = logging.DEBUG if scope["path"].startswith("/health/") else logging.INFO
            logger.log(level, "request", extra={"fields": fields})


def create_app(hal: Hal) -> FastAPI:
    """The application that serves ``hal``; the network is loaded after the server listens, so that it can be asked.

    Raises:
        KeysError: the file of keys cannot be used.
    """

    @contextlib.asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[None]:
        opening = asyncio.create_task(hal.open(), name="hal-open")
        try:
            yield
        finally:
            opening.cancel()
            await asyncio.wait([opening])
            await hal.close()

    app = FastAPI(
        title="HAL",
        summary="Images of blood cells in, 20 probabilities and a hairy-cell flag out.",
        description=_DESCRIPTION,
        version=_package_version(),
        lifespan=lifespan,
        license_info={"name": "Apache-2.0", "identifier": "Apache-2.0"},
    )
    app.state.hal = hal
    errors.install(app)
    for routes in (classify, health, model, admin):
        app.include_router(routes.router)
    # The one added first is the innermost.
    app.add_middleware(ShortWay, route=_route_of(classify.router, "/classify"))
    app.add_middleware(FrontDoor, gate=Gate.of(hal.settings))
    return app


def _route_of(router: APIRouter, path: str) -> APIRoute:
    return next(route for route in router.routes if isinstance(route, APIRoute) and route.path == path)


def _package_version() -> str:
    try:
        return version("hal-cells")
    except PackageNotFoundError:
        return "0"
