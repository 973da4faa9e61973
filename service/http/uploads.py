"""The body of a request, read under limits: one raw image, or a form with one or many files."""

import asyncio
import re
from typing import Final

from fastapi import Request
from python_multipart.multipart import parse_options_header
from starlette.requests import ClientDisconnect

from service.batching.errors import DeadlineExceededError
from service.http.forms import FIELD, HINT, FormError, files_of
from service.settings import Settings

__all__ = ["FIELD", "IMAGE_TYPES", "UploadError", "read_images"]

IMAGE_TYPES: Final = ("image/jpeg", "image/png", "image/bmp", "image/tiff")
_FORM: Final = "multipart/form-data"
_COMMON_FORM_TYPE: Final = re.compile(rb"multipart/form-data; ?boundary=([0-9A-Za-z'()+_,./:=?-]+)")
_SEVERAL_REQUESTS: Final = "send the images in several requests"
_RAW_TYPES: Final = {name.encode(): name for name in IMAGE_TYPES}

UploadError = FormError
"""A request's body cannot be used as a whole: ``status``, ``code`` and message of the answer."""


async def read_images(request: Request, settings: Settings, due: float | None = None) -> list[bytes]:
    """The encoded images of a request, in its order; at least one.

    Args:
        request: as it arrived.
        settings: of the service.
        due: when, in the event loop's time, its answer is of no use any more; ``None``: never.

    Raises:
        DeadlineExceededError: the body was not there when it was due.
        UploadError: 400 for a broken form, 408 for a body that does not arrive, 413 for too much, 415 for a type that
            is not accepted.
        ClientDisconnect: the client went away.
    """
    declared_type, declared_length = b"", b"0"
    for name, value in request.scope["headers"]:
        if name == b"content-type":
            declared_type = declared_type or value
        elif name == b"content-length":
            declared_length = value
    media_type, boundary = _type_of(declared_type)
    body = await read_body(request, settings, declared_length, due)
    return files_of(body, boundary, settings.max_files) if media_type == _FORM else [body]


async def read_body(
    request: Request,
    settings: Settings,
    declared_length: bytes | str = b"0",
    due: float | None = None,
    *,
    most_bytes: int | None = None,
    advice: str = _SEVERAL_REQUESTS,
) -> bytes:
    """The whole body of a request, of any type; ``due`` as in :func:`read_images`.

    ``most_bytes`` is a limit of the route's own, beside HAL_MAX_UPLOAD_BYTES; ``advice`` says what to do about a body
    above either.

    Raises:
        DeadlineExceededError: it was not there when it was due.
        UploadError: 408 for a body that does not arrive, 413 for too much.
        ClientDisconnect: the client went away.
    """
    limit = settings.max_upload_bytes if most_bytes is None else min(settings.max_upload_bytes, most_bytes)
    if int(declared_length) > limit:
        raise _too_large(f"{int(declared_length)} bytes", limit, settings, advice)
    give_up = asyncio.get_running_loop().time() + settings.upload_timeout_s
    try:
        async with asyncio.timeout_at(give_up if due is None else min(due, give_up)):
            body = await _body(request, limit)
    except TimeoutError:
        if due is not None and due < give_up:
            raise DeadlineExceededError(None) from None
        raise UploadError(
            408,
            "upload_timeout",
            f"The request body did not arrive within {settings.upload_timeout_s:g} s (HAL_UPLOAD_TIMEOUT_S); {advice}.",
        ) from None
    if body is None:
        raise _too_large(f"more than {limit} bytes", limit, settings, advice)
    return body


def _type_of(declared: bytes) -> tuple[str, bytes]:
    """Media type and boundary of a Content-Type."""
    if common := _COMMON_FORM_TYPE.fullmatch(declared):
        return _FORM, common[1]
    if raw := _RAW_TYPES.get(declared):
        return raw, b""
    content_type, parameters = parse_options_header(declared)
    media_type = content_type.decode("latin-1").lower()
    if media_type not in (_FORM, *IMAGE_TYPES):
        raise UploadError(
            415,
            "unsupported_media_type",
            f"Content-Type is {media_type[:100] or 'missing'!r}, expected multipart/form-data or one of "
            f"{', '.join(IMAGE_TYPES)}; {HINT}",
        )
    return media_type, parameters.get(b"boundary", b"")


async def _body(request: Request, max_bytes: int) -> bytes | None:
    """The body, or ``None`` as soon as it has more bytes."""
    # Request.stream() does the same through two generators, at several times the cost.
    chunks: list[bytes] = []
    received = 0
    while True:
        message = await request.receive()
        if message["type"] == "http.disconnect":
            raise ClientDisconnect
        chunk: bytes = message.get("body", b"")
        received += len(chunk)
        if received > max_bytes:
            return None
        chunks.append(chunk)
        if not message.get("more_body", False):
            return b"".join(chunks) if len(chunks) > 1 else chunk


def _too_large(found: str, limit: int, settings: Settings, advice: str) -> UploadError:
    named = " (HAL_MAX_UPLOAD_BYTES)" if limit == settings.max_upload_bytes else ""
    message = f"The request body has {found}, at most {limit} bytes are accepted{named}; {advice}."
    return UploadError(413, "request_too_large", message)
