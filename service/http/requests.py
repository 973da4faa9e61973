"""What every route does with a request: read its options and its body, under limits; watch its client; answer.

A body is one raw image, or a form with one or many files.
"""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Coroutine, Mapping
from typing import Any, Final, TypeVar

from msgspec import Struct
from python_multipart.multipart import parse_options_header
from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response
from starlette.types import Scope

from service.batching.admission import RequestOptions
from service.batching.errors import DeadlineExceededError
from service.batching.queue import Priority
from service.errors import ServiceError
from service.http.archives import unzip
from service.http.forms import HINT, Uploaded, UploadError, files_of
from service.serving.answers import encode
from service.serving.service import Service
from service.settings import Settings

__all__ = ["UploadError"]

PRIORITY: Final = "X-Priority"
TIMEOUT: Final = "X-Request-Timeout-Ms"
LONGEST_TIMEOUT_MS: Final = 3_600_000
ZIP: Final = "application/zip"
_ZIP_TYPES: Final = (ZIP, "application/x-zip-compressed")
"""The second is what Windows calls it."""
LINES: Final = "application/x-ndjson"
IMAGE_TYPES: Final = ("image/jpeg", "image/png", "image/bmp", "image/tiff")
_FORM: Final = "multipart/form-data"
_UNWATCHED_S: Final = 0.05
_SEVERAL_REQUESTS: Final = "send the images in several requests"

Result = TypeVar("Result")


class InvalidHeaderError(ServiceError):
    """A header says something that cannot be meant; every such header is listed."""

    status, code = 400, "invalid_header"


def headers_of(scope: Scope) -> dict[str, str]:
    """The headers of a request by name in small letters; the first of a name is the one that counts."""
    # Once a request: Starlette's own Headers search the list again for each name, 3 microseconds each.
    state = scope.setdefault("state", {})
    if "headers" not in state:
        pairs = reversed(scope["headers"])
        state["headers"] = {name.decode("latin-1"): value.decode("latin-1") for name, value in pairs}
    headers: dict[str, str] = state["headers"]
    return headers


def read_options(request: Request) -> RequestOptions:
    """What ``X-Priority`` and ``X-Request-Timeout-Ms`` ask for; the time begins now.

    Raises:
        InvalidHeaderError: one or both of them are not understood.
    """
    priority, timeout_ms = parse_options(headers_of(request.scope))
    due = None if timeout_ms is None else asyncio.get_running_loop().time() + timeout_ms / 1000
    return RequestOptions(priority, due)


def parse_options(headers: Mapping[str, str]) -> tuple[Priority | None, int | None]:
    """Priority and milliseconds that headers (see :func:`headers_of`) ask for, ``None`` for each that is not there.

    Raises:
        InvalidHeaderError: one or both of them are not understood.
    """
    problems = []
    priority, timeout_ms = None, None
    if (given := headers.get(PRIORITY.lower())) is not None:
        try:
            priority = Priority(given.strip().lower())
        except ValueError:
            problems.append(f"{PRIORITY} is {given[:50]!r}, expected 'routine' or 'bulk'")
    if (given := headers.get(TIMEOUT.lower())) is not None:
        # Not int() of anything, which takes "1_000" and digits of other scripts.
        digits = given.strip()
        if digits.isascii() and digits.isdigit() and len(digits) < 9 and 1 <= int(digits) <= LONGEST_TIMEOUT_MS:
            timeout_ms = int(digits)
        else:
            problems.append(f"{TIMEOUT} is {given[:50]!r}, expected whole milliseconds from 1 to {LONGEST_TIMEOUT_MS}")
    if problems:
        raise InvalidHeaderError("; ".join(problems) + ". Correct or leave out the header.")
    return priority, timeout_ms


@contextlib.asynccontextmanager
async def due(options: RequestOptions) -> AsyncIterator[None]:
    """Bound what is done by the time that the request has.

    Raises:
        DeadlineExceededError: it is over.
    """
    try:
        async with asyncio.timeout_at(options.due) as limit:
            yield
    except TimeoutError:
        if not limit.expired():
            raise
        raise DeadlineExceededError from None


def service_of(request: Request) -> Service:
    service: Service = request.app.state.hal
    return service


def respond(answer: Struct, status: int = 200) -> Response:
    return Response(encode(answer) + b"\n", status, media_type="application/json")


async def while_connected(request: Request, work: Coroutine[Any, Any, Result]) -> Result:
    """The result of ``work``, which is cancelled if the client goes away.

    The client is not watched in the first :data:`_UNWATCHED_S`, in which a fast device has answered.

    Raises:
        ClientDisconnect: it did.
    """
    caller = asyncio.current_task()
    assert caller is not None  # noqa: S101 - a route runs in a task
    watch = _Watch(request, caller)
    timer = asyncio.get_running_loop().call_later(_UNWATCHED_S, watch.begin)
    try:
        return await work
    except asyncio.CancelledError:
        if not watch.gone or caller.uncancel():
            raise
        raise ClientDisconnect from None
    finally:
        timer.cancel()
        watch.end()


class _Watch:
    """Cancels the task of a request whose client goes away."""

    def __init__(self, request: Request, caller: asyncio.Task[Any]) -> None:
        self.gone = False
        self._request = request
        self._caller = caller
        self._task: asyncio.Task[None] | None = None

    def begin(self) -> None:
        self._task = asyncio.create_task(self._watch())

    async def _watch(self) -> None:
        while (await self._request.receive())["type"] != "http.disconnect":
            pass
        self.gone = True
        self._caller.cancel()

    def end(self) -> None:
        if self._task is not None:
            self._task.cancel()


async def read_images(request: Request, settings: Settings, options: RequestOptions) -> list[Uploaded]:
    """The encoded images of a request, in its order; at least one.

    Raises:
        UploadError: 400 for a broken form or archive, 413 for too many images, 415 for a type that is not accepted.
        Exception: otherwise as :func:`read_body`.
    """
    content_type, parameters = parse_options_header(headers_of(request.scope).get("content-type"))
    media_type = content_type.decode("latin-1").lower()
    if media_type not in (_FORM, *_ZIP_TYPES, *IMAGE_TYPES):
        raise UploadError(
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
    advice: str = _SEVERAL_REQUESTS,
) -> bytes:
    """The whole body of a request, of any type.

    ``most_bytes`` is a limit of the route's own, beside HAL_MAX_UPLOAD_BYTES; ``advice`` says what to do about a body
    above either.

    Raises:
        DeadlineExceededError: it was not there when its answer was due.
        UploadError: 408 for a body that does not arrive, 413 for too much, 415 for one that is compressed.
        ClientDisconnect: the client went away.
    """
    limit = settings.max_upload_bytes if most_bytes is None else min(settings.max_upload_bytes, most_bytes)
    headers = headers_of(request.scope)
    encoding = headers.get("content-encoding", "").strip().lower()
    if encoding not in ("", "identity"):
        raise UploadError(
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
        raise UploadError(
            408,
            "upload_timeout",
            f"The request body did not arrive within {settings.upload_timeout_s:g} s (HAL_UPLOAD_TIMEOUT_S); {advice}.",
        ) from None
    return b"".join(chunks)


def _too_large(found: str, limit: int, settings: Settings, advice: str) -> UploadError:
    named = " (HAL_MAX_UPLOAD_BYTES)" if limit == settings.max_upload_bytes else ""
    message = f"The request body has {found}, at most {limit} bytes are accepted{named}; {advice}."
    return UploadError(413, "request_too_large", message)
