"""The web application: routes, errors, and the door that every request passes."""

import asyncio
import contextlib
from collections.abc import AsyncIterator
from typing import Final

from fastapi import APIRouter, FastAPI
from fastapi.routing import APIRoute
from starlette.types import Receive, Scope, Send

from service.auth.authorise import Authorisation
from service.http import errors
from service.http.direct import ShortWay
from service.http.middleware import FrontDoor
from service.http.routes import admin, classify, health, metrics, model, page, slides, v2
from service.http.upload_budget import UploadRoom
from service.serving.lifecycle import Hal
from service.serving.observer import service_version
from service.serving.service import Service

_DESCRIPTION: Final = (
    "Pre-classifies images of blood cells into 20 classes and flags possible hairy cells. "
    "For research use, assists a qualified technologist."
)


class Application(FastAPI):
    """FastAPI behind the front door, with a short way to one route.

    Attributes:
        short_way: how requests of that route go, if they have one: past everything of FastAPI's, not past the door.
    """

    short_way: ShortWay | None = None

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if self.short_way is not None and self.short_way.leads_to(scope):
            scope["app"] = self
            await self.short_way(scope, receive, send)
        else:
            await super().__call__(scope, receive, send)


def create_app(hal: Hal) -> FastAPI:
    """The application that serves ``hal``; the network is loaded after the server listens, so that it can be asked.

    Raises:
        KeysError: the file of keys cannot be used.
    """
    return create_app_for(hal)


def create_app_for(hal: Service) -> FastAPI:
    """The application of any service.

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

    app = Application(
        title="HAL",
        summary="Images of blood cells in, 20 probabilities and a hairy-cell flag out.",
        description=_DESCRIPTION,
        version=service_version(),
        lifespan=lifespan,
        docs_url=None,
        redoc_url=None,
        # Its redirect would repeat whatever Host the client sent as the address to go to.
        redirect_slashes=False,
        license_info={"name": "Apache-2.0", "identifier": "Apache-2.0"},
    )
    app.state.hal = hal
    app.state.upload_room = room = UploadRoom(hal.settings.max_uploads_bytes)
    errors.install(app)
    for routes in (classify, slides, health, model, metrics, v2, admin, page):
        app.include_router(routes.router)
    gate = Authorisation.of(hal.settings)
    app.add_middleware(FrontDoor, gate=gate, observer=hal.observer, room=room)
    app.short_way = ShortWay(_route_of(classify.router, "/classify"), gate, hal.observer, room)
    return app


def _route_of(router: APIRouter, path: str) -> APIRoute:
    return next(route for route in router.routes if isinstance(route, APIRoute) and route.path == path)
