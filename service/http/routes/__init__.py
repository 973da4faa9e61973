"""The routes, a module for each part of the interface."""

import msgspec
from starlette.requests import Request
from starlette.responses import Response

from service.serving.answers import encode
from service.serving.service import Service


def service_of(request: Request) -> Service:
    """The service behind the application."""
    service: Service = request.app.state.hal
    return service


def respond(answer: msgspec.Struct, status: int = 200) -> Response:
    """An answer as JSON."""
    return Response(encode(answer), status, media_type="application/json")
