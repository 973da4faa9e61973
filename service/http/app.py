"""The web application: routes, errors, and the middleware that every request passes."""

import asyncio
import contextlib
from collections.abc import AsyncIterator

from fastapi import FastAPI
from starlette.routing import Mount, Route, Router

from service.http import documentation, errors
from service.http.middleware import RequestMiddleware
from service.http.routes import operate, page, slides, v2
from service.http.routes.classify import ClassifyEndpoint
from service.serving.observer import service_version
from service.serving.service import Service


def create_app(service: Service) -> RequestMiddleware:
    """The application that serves ``service``; the network is loaded after the server listens, so that it can be asked.

    ``/classify`` is routed past FastAPI, whose way to a handler costs as much as parsing the request, answering it and
    writing the answer together. Everything else is FastAPI's.

    Raises:
        KeysError: the file of keys cannot be used.
    """

    @contextlib.asynccontextmanager
    async def lifespan(_: object) -> AsyncIterator[None]:
        opening = asyncio.create_task(service.open(), name="hal-open")
        try:
            yield
        finally:
            opening.cancel()
            await asyncio.wait([opening])
            await service.close()

    api = FastAPI(
        title="HAL",
        summary="Images of blood cells in, 20 probabilities and a hairy-cell flag out.",
        description="Pre-classifies images of blood cells into 20 classes and flags possible hairy cells. "
        "For research use, assists a qualified technologist.",
        version=service_version(),
        docs_url=None,
        redoc_url=None,
        # Its redirect would repeat whatever Host the client sent as the address to go to.
        redirect_slashes=False,
        license_info={"name": "Apache-2.0", "identifier": "Apache-2.0"},
        exception_handlers=errors.HANDLERS,
        openapi_tags=documentation.TAGS,
        generate_unique_id_function=lambda route: route.name,
    )
    documentation.install(api)
    page.assets()  # Read now, and not by the event loop at the first request.
    for routes in (slides, operate, v2, page):
        api.include_router(routes.router)
    api.state.service = service
    router = Router([Route("/classify", ClassifyEndpoint()), Mount("/", api)], lifespan=lifespan)
    return RequestMiddleware(router, api, service)
