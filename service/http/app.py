"""The web application: routes, errors, and the middleware that every request passes."""

import asyncio
import contextlib
from collections.abc import AsyncIterator
from typing import Final

from fastapi import FastAPI

from service.auth.security import Authorisation
from service.http import documentation, errors
from service.http.middleware import RequestMiddleware, UploadBudget
from service.http.routes import admin, classify, health, metrics, page, slides, v2
from service.observe.exposition import Exposition
from service.observe.readings import Reading
from service.serving.observer import service_version
from service.serving.service import Service

_DESCRIPTION: Final = (
    "Pre-classifies images of blood cells into 20 classes and flags possible hairy cells. "
    "For research use, assists a qualified technologist."
)


def create_app(service: Service) -> FastAPI:
    """The application that serves ``service``; the network is loaded after the server listens, so that it can be asked.

    Raises:
        KeysError: the file of keys cannot be used.
    """

    @contextlib.asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[None]:
        opening = asyncio.create_task(service.open(), name="hal-open")
        try:
            yield
        finally:
            opening.cancel()
            await asyncio.wait([opening])
            await service.close()

    app = FastAPI(
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
    app.state.hal = service
    app.state.exposition = Exposition(lambda: Reading.of(service))
    app.state.upload_budget = budget = UploadBudget(service.settings.max_uploads_bytes)
    app.state.json_readers = asyncio.Semaphore(v2.JSON_READERS)
    errors.install(app)
    documentation.install(app)
    for routes in (classify, slides, health, metrics, v2, admin, page):
        app.include_router(routes.router)
    app.add_middleware(
        RequestMiddleware,
        authorisation=Authorisation.of(service.settings),
        observer=service.observer,
        budget=budget,
    )
    return app
