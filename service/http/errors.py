"""From errors to HTTP answers: one body, and the status, code and message that the error carries."""

import http
from collections.abc import Callable, Coroutine
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


def response_to(error: Exception, request: Request) -> Response:
    """The answer to a request that raised ``error``; of a mistake of ours nothing leaves the log."""
    path, headers = request.url.path, {}
    status, code = http.HTTPStatus.INTERNAL_SERVER_ERROR, ServiceError.code
    message = "Something unexpected went wrong; it is in the service's log under this request id."
    match error:
        case ServiceError():
            status, code, message = http.HTTPStatus(error.status), error.code, str(error)
            if error.retry_after_s is not None:
                headers["Retry-After"] = str(error.retry_after_s)
            if status == http.HTTPStatus.UNAUTHORIZED:
                headers["WWW-Authenticate"] = 'Bearer realm="HAL"'
        case ClientDisconnect():
            request.app.state.service.statistics.disconnected += 1
            return Response(status_code=CLIENT_GONE)
        case HTTPException():
            status = http.HTTPStatus(error.status_code)
            code = _CODES.get(status, "http_error")
            hint = "leave out the slash at its end; " if code == "not_found" and path.endswith("/") else ""
            message = f"{request.method} {path[:100]}: {status.phrase}; {hint}see /docs for what there is."
            headers |= error.headers or {}
            if headers.get("Allow") == "GET":
                headers["Allow"] = "GET, HEAD"
        case RequestValidationError():
            status, code = http.HTTPStatus.UNPROCESSABLE_ENTITY, "invalid_request"
            message = "The request is not valid; see /docs."
    if path == "/v2" or path.startswith("/v2/"):
        return JSONResponse({"error": message}, status, headers)  # the form of that protocol
    body = encode(ErrorAnswer(request.state.request_id, Fault(code, message))) + b"\n"
    return Response(body, status, headers, media_type="application/json")


async def _handle(request: Request, error: Exception) -> Response:
    return response_to(error, request)


HANDLERS: Final[dict[int | type[Exception], Callable[[Request, Any], Coroutine[Any, Any, Response]]]] = dict.fromkeys(
    (ServiceError, HTTPException, RequestValidationError, ClientDisconnect, Exception), _handle
)
"""For FastAPI: every error becomes an :class:`~service.serving.answers.ErrorAnswer`."""
