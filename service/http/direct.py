"""A short way to ``POST /classify``, past FastAPI.

FastAPI's way to a handler (its own middlewares, routing through included routers, two exit stacks, dependencies,
handlers of exceptions) costs as much as parsing the request, answering it and writing the answer together. It is left
to all other paths. The route stays registered there too, which is where the documentation comes from; the front door,
which guards and watches requests, stands before both ways.
"""

from typing import Final

from fastapi.routing import APIRoute
from starlette.requests import Request
from starlette.types import Receive, Scope, Send

from service.auth.authorise import Authorisation
from service.http.middleware import FrontDoor
from service.http.upload_budget import UploadRoom
from service.serving.observer import Observer

_METHOD: Final = "POST"


class ShortWay:
    """Calls the endpoint of one route itself, behind a front door.

    Args:
        route: of method POST, without parameters; its endpoint takes the request and gives the response.
        gate: of the door.
        observer: of the door.
        room: of the door.
    """

    def __init__(self, route: APIRoute, gate: Authorisation, observer: Observer, room: UploadRoom) -> None:
        self._route = route
        self._path = route.path
        self._door = FrontDoor(self._answer, gate, observer, room)

    def leads_to(self, scope: Scope) -> bool:
        """Whether a request is for the route."""
        return bool(scope["type"] == "http" and scope["path"] == self._path and scope["method"] == _METHOD)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        await self._door(scope, receive, send)

    async def _answer(self, scope: Scope, receive: Receive, send: Send) -> None:
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
