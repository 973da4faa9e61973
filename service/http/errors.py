"""From errors to HTTP answers: one body, and the status, code and message that the error carries."""

import http
from collections.abc import Callable, Coroutine, Mapping
from typing import Any, Final

from fastapi.exceptions import RequestValidationError
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect, Request
from starlette.responses import JSONResponse, Response

from service.errors import ServiceError
from service.serving.answers import ErrorAnswer, Fault, encode

CLIENT_GONE: Final = 499
"""Nobody reads this status (nginx's number for it); it is for the log."""
_CODES: Final = {404: "not_found", 405: "method_not_allowed"}


class UnexpectedError(ServiceError):
    """A mistake of ours: nothing of it leaves the log."""

    def __init__(self) -> None:
        super().__init__("Something unexpected went wrong; it is in the service's log under this request id.")


def error_response(request_id: str, path: str, error: ServiceError) -> Response:
    headers = {}
    if error.retry_after_s is not None:
        headers["Retry-After"] = str(error.retry_after_s)
    if error.status == http.HTTPStatus.UNAUTHORIZED:
        headers["WWW-Authenticate"] = 'Bearer realm="HAL"'
    return _response(request_id, path, error.status, error.code, str(error), headers)


def _response(
    request_id: str, path: str, status: int, code: str, message: str, headers: Mapping[str, str] | None = None
) -> Response:
    if path == "/v2" or path.startswith("/v2/"):
        return JSONResponse({"error": message}, status, headers)  # the form of that protocol
    body = encode(ErrorAnswer(request_id, Fault(code, message))) + b"\n"
    return Response(body, status, headers, media_type="application/json")


def response_to(error: Exception, request: Request) -> Response:
    request_id, path = request.state.request_id, request.url.path
    match error:
        case ServiceError():
            return error_response(request_id, path, error)
        case ClientDisconnect():
            request.app.state.service.statistics.disconnected += 1
            return Response(status_code=CLIENT_GONE)
        case HTTPException():
            code = _CODES.get(error.status_code, "http_error")
            phrase = http.HTTPStatus(error.status_code).phrase
            hint = "leave out the slash at its end; " if code == "not_found" and path.endswith("/") else ""
            message = f"{request.method} {path[:100]}: {phrase}; {hint}see /docs for what there is."
            headers = dict(error.headers or {})
            if headers.get("Allow") == "GET":
                headers["Allow"] = "GET, HEAD"
            return _response(request_id, path, error.status_code, code, message, headers)
        case RequestValidationError():
            return _response(request_id, path, 422, "invalid_request", "The request is not valid; see /docs.")
    return error_response(request_id, path, UnexpectedError())


async def _handle(request: Request, error: Exception) -> Response:
    return response_to(error, request)


HANDLERS: Final[dict[int | type[Exception], Callable[[Request, Any], Coroutine[Any, Any, Response]]]] = dict.fromkeys(
    (ServiceError, HTTPException, RequestValidationError, ClientDisconnect, Exception), _handle
)
"""For FastAPI: every error becomes an :class:`~service.serving.answers.ErrorAnswer`."""
