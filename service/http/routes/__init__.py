"""The routes, a module for each part of the interface."""

from typing import Any

import msgspec
from fastapi import Response
from fastapi.routing import APIRoute
from starlette.requests import Request

from service.serving.answers import encode
from service.serving.service import Service


class PlainRoute(APIRoute):
    """A documented route whose endpoint takes the request and gives the response, with nothing in between."""

    def get_route_handler(self) -> Any:  # noqa: D102
        return self.endpoint


def service_of(request: Request) -> Service:
    """The service behind the application."""
    service: Service = request.app.state.hal
    return service


def respond(answer: msgspec.Struct, status: int = 200) -> Response:
    """An answer as JSON."""
    return Response(encode(answer), status, media_type="application/json")
