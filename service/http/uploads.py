"""The body of a request: its part of the memory that all bodies share, and the images in it.

A body is one raw image, or a form or an archive with one or many files.
"""

import asyncio
from collections.abc import Mapping
from http import HTTPStatus
from typing import Final

from python_multipart.multipart import parse_options_header
from starlette.requests import Request
from starlette.types import Message, Receive

from service.batching.admission import RequestOptions
from service.batching.errors import DeadlineExceededError
from service.errors import RequestError, ServiceError
from service.http.archives import unzip
from service.http.forms import HINT, Uploaded, files_of
from service.http.requests import headers_of, service_of
from service.settings import Settings

ZIP: Final = "application/zip"
_ZIP_TYPES: Final = (ZIP, "application/x-zip-compressed")
"""The second is what Windows calls it."""
IMAGE_TYPES: Final = ("image/jpeg", "image/png", "image/bmp", "image/tiff")
_FORM: Final = "multipart/form-data"
SMALL: Final = 1 << 20
"""Bytes of a body that is reserved as a whole. A larger one, or one of unknown length, is reserved as it arrives, so
that one that is announced and never sent keeps nobody out."""


class UploadsFullError(ServiceError):
    """The bodies that are in the service leave no room for more of one."""

    status, code = HTTPStatus.TOO_MANY_REQUESTS, "uploads_full"
    retry_after_s = 1

    def __init__(self, most_bytes: int) -> None:
        super().__init__(
            f"The bodies that are being received or worked on have {most_bytes} bytes already, the most that are kept "
            f"(HAL_MAX_UPLOADS_BYTES); send this one again in {self.retry_after_s} s, or fewer at the same time."
        )


class UploadBudget:
    """How many bytes of request bodies may be in the service at once: each stays until its request is answered."""

    def __init__(self, most_bytes: int) -> None:
        self.most_bytes = most_bytes
        self.taken = 0


class Reservation:
    """What one request has reserved of the budget, until it is released."""

    def __init__(self, budget: UploadBudget) -> None:
        self._budget = budget
        self._size = 0

    def receiving(self, headers: Mapping[str, str], receive: Receive) -> Receive:
        """Reserve a body of the declared length, or as it arrives by what is returned; or :class:`UploadsFullError`."""
        declared = headers.get("content-length")
        if declared is not None and int(declared) <= SMALL:
            self._reserve(int(declared))
            return receive
        if declared is None and "transfer-encoding" not in headers:
            return receive

        async def counted() -> Message:
            message = await receive()
            self._reserve(len(message.get("body", b"")))
            return message

        return counted

    def release(self) -> None:
        self._budget.taken -= self._size
        self._size = 0

    def _reserve(self, size: int) -> None:
        if self._budget.taken + size > self._budget.most_bytes:
            raise UploadsFullError(self._budget.most_bytes)
        self._budget.taken += size
        self._size += size


async def read_images(request: Request, settings: Settings, options: RequestOptions) -> list[Uploaded]:
    """The encoded images of a request, in its order; at least one.

    Raises:
        RequestError: 400 for a broken form or archive, 413 for too many images, 415 for a type that is not accepted.
        Exception: otherwise as :func:`read_body`.
    """
    content_type, parameters = parse_options_header(headers_of(request.scope).get("content-type"))
    media_type = content_type.decode("latin-1").lower()
    if media_type not in (_FORM, *_ZIP_TYPES, *IMAGE_TYPES):
        raise RequestError(
            415,
            "unsupported_media_type",
            f"Content-Type is {media_type[:100] or 'missing'!r}, expected {_FORM}, {ZIP} or one of "
            f"{', '.join(IMAGE_TYPES)}; {HINT}",
        )
    body = await read_body(request, settings, options)
    if media_type == _FORM:
        return files_of(body, parameters.get(b"boundary", b""), settings.max_files)
    if media_type in _ZIP_TYPES:
        most_files, most_bytes = settings.max_files, settings.max_upload_bytes
        return await service_of(request).aside.call(lambda: unzip(body, most_files, most_bytes))
    return [Uploaded(body)]


async def read_body(
    request: Request,
    settings: Settings,
    options: RequestOptions,
    *,
    most_bytes: int | None = None,
    advice: str = "send the images in several requests",
) -> bytes:
    """The whole body of a request, of any type.

    ``most_bytes`` is a limit of the route's own, beside HAL_MAX_UPLOAD_BYTES; ``advice`` says what to do about a body
    above either.

    Raises:
        DeadlineExceededError: it was not there when its answer was due.
        RequestError: 408 for a body that does not arrive, 413 for too much, 415 for one that is compressed.
        ClientDisconnect: the client went away.
    """
    limit = settings.max_upload_bytes if most_bytes is None else min(settings.max_upload_bytes, most_bytes)
    headers = headers_of(request.scope)
    encoding = headers.get("content-encoding", "").strip().lower()
    if encoding not in ("", "identity"):
        raise RequestError(
            415,
            "unsupported_encoding",
            f"Content-Encoding is {encoding[:20]!r}, expected none: send the body as it is, uncompressed.",
        )
    declared = int(headers.get("content-length", "0"))
    if declared > limit:
        raise _too_large(f"{declared} bytes", limit, settings, advice)
    give_up = asyncio.get_running_loop().time() + settings.upload_timeout_s
    chunks: list[bytes] = []
    received = 0
    try:
        async with asyncio.timeout_at(give_up if options.due is None else min(options.due, give_up)):
            async for chunk in request.stream():
                received += len(chunk)
                if received > limit:
                    raise _too_large(f"more than {limit} bytes", limit, settings, advice)
                chunks.append(chunk)
    except TimeoutError:
        if options.due is not None and options.due < give_up:
            raise DeadlineExceededError from None
        raise RequestError(
            408,
            "upload_timeout",
            f"The request body did not arrive within {settings.upload_timeout_s:g} s (HAL_UPLOAD_TIMEOUT_S); {advice}.",
        ) from None
    return b"".join(chunks)


def _too_large(found: str, limit: int, settings: Settings, advice: str) -> RequestError:
    named = " (HAL_MAX_UPLOAD_BYTES)" if limit == settings.max_upload_bytes else ""
    message = f"The request body has {found}, at most {limit} bytes are accepted{named}; {advice}."
    return RequestError(413, "request_too_large", message)
