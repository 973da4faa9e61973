"""From errors to HTTP answers: one table, one body."""

import functools
import http
import logging
from collections.abc import Mapping
from typing import Final

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse, Response
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect

from service.auth.authorise import RefusedError
from service.http.open_inference import InferenceRequestError, UnknownModelError
from service.http.request_options import TermsError
from service.http.schemas import ErrorAnswer, Fault
from service.http.upload_budget import RETRY_AFTER_S, UploadsFullError
from service.http.uploads import UploadError
from service.images.refusals import DeadlineExceededError, DrainingError, ModelFailedError, QueueFullError
from service.observe.audit import AuditFullError
from service.serving.service import MODEL_FAILED
from service.serving.states import BundleRefusedError, NotReadyError, ReloadUnderWayError

logger = logging.getLogger("hal.errors")

CLIENT_GONE: Final = 499
"""Nobody reads this status (nginx's number for it); it is for the log."""
_CODES: Final = {404: "not_found", 405: "method_not_allowed"}


def request_id_of(request: Request) -> str:
    """The id that the request came with or was given."""
    return str(request.state.request_id)


def error_response(
    request_id: str,
    status: int,
    code: str,
    message: str,
    headers: Mapping[str, str] | None = None,
    *,
    path: str = "",
) -> JSONResponse:
    """The answer to a request for ``path`` that failed as a whole; below ``/v2`` in the form of that protocol."""
    if path == "/v2" or path.startswith("/v2/"):
        return JSONResponse({"error": message}, status, headers)
    answer = ErrorAnswer(request_id=request_id, error=Fault(code=code, message=message))
    return JSONResponse(answer.model_dump(), status, headers)


def install(app: FastAPI) -> None:
    """Make ``app`` answer every error with :class:`~service.http.schemas.ErrorAnswer`."""
    for kind in (
        UploadError,
        TermsError,
        AuditFullError,
        InferenceRequestError,
        UnknownModelError,
        QueueFullError,
        DeadlineExceededError,
        DrainingError,
        NotReadyError,
        ReloadUnderWayError,
        BundleRefusedError,
        ModelFailedError,
        ClientDisconnect,
        RequestValidationError,
        HTTPException,
    ):
        app.add_exception_handler(kind, _answer)


async def _answer(request: Request, error: Exception) -> Response:
    respond = functools.partial(error_response, request_id_of(request), path=request.url.path)
    match error:
        case UploadError():
            return respond(error.status, error.code, str(error))
        case TermsError():
            return respond(400, "invalid_header", str(error))
        case QueueFullError():
            # 429 and not 503, which makes load balancers take a healthy host out.
            return respond(429, "queue_full", str(error), _retry_after(error.retry_after_s))
        case DeadlineExceededError():
            return respond(504, "deadline_exceeded", str(error))
        case DrainingError():
            return respond(503, "draining", str(error))
        case NotReadyError():
            return respond(503, error.state, str(error), _retry_after(error.retry_after_s))
        case ReloadUnderWayError():
            return respond(409, "reload_under_way", str(error))
        case BundleRefusedError():
            return respond(409, "bundle_refused", str(error))
        case InferenceRequestError() | UnknownModelError():
            return respond(error.status, error.code, str(error))
        case AuditFullError():
            return respond(503, "audit_full", str(error))
        case ModelFailedError():
            return respond(500, MODEL_FAILED, str(error))
        case ClientDisconnect():
            return Response(status_code=CLIENT_GONE)
        case HTTPException():
            code = _CODES.get(error.status_code, "http_error")
            phrase = http.HTTPStatus(error.status_code).phrase
            hint = "leave out the slash at its end; " if code == "not_found" and request.url.path.endswith("/") else ""
            message = f"{request.method} {request.url.path[:100]}: {phrase}; {hint}see /docs for what there is."
            return respond(error.status_code, code, message, error.headers)
    return respond(422, "invalid_request", "The request is not valid; see /docs.")


def _retry_after(seconds: int | None) -> Mapping[str, str] | None:
    return None if seconds is None else {"Retry-After": str(seconds)}


def refusal(request_id: str, path: str, error: RefusedError) -> JSONResponse:
    """The answer to a request that may not pass the front door."""
    headers = {"WWW-Authenticate": 'Bearer realm="HAL"'} if error.status == 401 else None
    if isinstance(error, UploadsFullError):
        headers = {"Retry-After": str(RETRY_AFTER_S)}
    return error_response(request_id, error.status, error.code, str(error), headers, path=path)


def cut_off(request_id: str, path: str) -> JSONResponse:
    """The answer to a request that had not ended when the service had to."""
    return error_response(request_id, 503, "draining", str(DrainingError()), path=path)


def internal_error(request_id: str, path: str) -> JSONResponse:
    """The answer to a mistake of ours: nothing of it leaves the log."""
    logger.exception("unexpected error", extra={"fields": {"request_id": request_id}})
    message = "Something unexpected went wrong; it is in the service's log under this request id."
    return error_response(request_id, 500, "internal_error", message, path=path)
