"""A short way to ``POST /classify``, past FastAPI's router.

FastAPI's way to a handler (routing through included routers, two exit stacks, dependencies, handlers of exceptions)
costs as much as parsing the request, answering it and writing the answer together. It is left to all other paths. The
route stays registered there too, which is where the documentation comes from; every middleware of the application
comes before the short way, so nothing that guards or watches requests is passed by.
"""

from typing import Final

from fastapi.routing import APIRoute
from starlette.requests import Request
from starlette.types import ASGIApp, Receive, Scope, Send

_METHOD: Final = "POST"


class ShortWay:
    """Middleware, to be the innermost: calls the endpoint of one route itself.

    Args:
        app: everything else.
        route: of method POST, without parameters; its endpoint takes the request and gives the response.
    """

    def __init__(self, app: ASGIApp, route: APIRoute) -> None:
        self._app = app
        self._route = route

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:  # noqa: D102
        if scope["type"] != "http" or scope["path"] != self._route.path or scope["method"] != _METHOD:
            await self._app(scope, receive, send)
            return
        scope["route"] = self._route
        request = Request(scope, receive)
        try:
            response = await self._route.endpoint(request)
        except Exception as error:
            handlers = scope["app"].exception_handlers
            answer = next((handlers[kind] for kind in type(error).__mro__ if kind in handlers), None)
            if answer is None:
                raise
            response = await answer(request, error)
        await response(scope, receive, send)
