"""``POST /classify``: images in, one answer for each out: together, or a line each while they are classified."""

import contextlib
from collections.abc import Sequence
from http import HTTPStatus

from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect, Request
from starlette.types import Receive, Scope, Send

from service.batching.admission import RequestOptions
from service.batching.errors import ModelFailedError
from service.errors import ServiceError
from service.http.requests import LINES, headers_of, read_options, respond, service_of, while_connected
from service.http.uploads import read_images
from service.serving.answers import (
    ClassifiedImage,
    ClassifyAnswer,
    ClassifyHead,
    ErrorAnswer,
    Fault,
    RefusedImage,
    encode,
)
from service.serving.service import Classified, Service


class ClassifyEndpoint:
    """The endpoint that :mod:`service.http.documentation` describes.

    An instance is an ASGI application, which Starlette's router calls as it is.
    """

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["method"] != "POST":
            raise HTTPException(HTTPStatus.METHOD_NOT_ALLOWED, headers={"Allow": "POST"})
        request = Request(scope, receive)
        if LINES in headers_of(scope).get("accept", "").lower():
            await _answer_in_lines(request, send)
            return
        done, status = await classify_request(request)
        answer = ClassifyAnswer(
            request_id=request.state.request_id, model=done.model, hairy_cell=done.hairy_rule, results=done.results
        )
        await respond(answer, status)(scope, receive, send)


async def classify_request(request: Request) -> tuple[Classified, HTTPStatus]:
    """Read the images of a request and classify them; 200 if at least one was classified, else 422.

    Raises:
        ModelFailedError: the network failed on every image that could be decoded.
        ServiceError, ClientDisconnect: otherwise as :func:`read_images` and :meth:`Service.classify`.
    """
    service, options = service_of(request), read_options(request)
    data, client_refs = await _read(request, service, options)
    done = await while_connected(request, service.classify(data, options, client_refs=client_refs))
    if any(isinstance(result, ClassifiedImage) for result in done.results):
        return done, HTTPStatus.OK
    if any(isinstance(result, RefusedImage) and result.error.code == ModelFailedError.code for result in done.results):
        raise ModelFailedError
    return done, HTTPStatus.UNPROCESSABLE_ENTITY


async def _read(
    request: Request, service: Service, options: RequestOptions
) -> tuple[Sequence[bytes], Sequence[str | None]]:
    """The encoded images of a request that would be accepted now, and what the client calls them."""
    service.check_admission(options)
    images = await read_images(request, service.settings, options)
    request.state.images = len(images)
    data, client_refs = zip(*images, strict=True)
    return data, client_refs


async def _answer_in_lines(request: Request, send: Send) -> None:
    """A :class:`ClassifyHead`, then each result as it comes; an :class:`ErrorAnswer` where they end too early."""
    service, options = service_of(request), read_options(request)
    data, client_refs = await _read(request, service, options)
    request_id = request.state.request_id
    begun = False

    async def send_lines() -> None:
        nonlocal begun
        async with contextlib.aclosing(service.classify_each(data, options, client_refs=client_refs)) as parts:
            async for part in parts:
                lines = [encode(result) for result in part.results]
                if not begun:
                    headers = [(b"content-type", LINES.encode()), (b"x-accel-buffering", b"no")]
                    await send({"type": "http.response.start", "status": HTTPStatus.OK, "headers": headers})
                    begun = True
                    lines.insert(0, encode(ClassifyHead(request_id, part.model, part.hairy_rule, len(data))))
                await send({"type": "http.response.body", "body": b"\n".join([*lines, b""]), "more_body": True})

    last = b""
    try:
        await while_connected(request, send_lines())
    except ServiceError as error:
        if not begun:
            raise
        last = encode(ErrorAnswer(request_id, Fault(error.code, str(error)))) + b"\n"
    except ClientDisconnect:
        if not begun:
            raise
        service.statistics.disconnected += 1
        return
    await send({"type": "http.response.body", "body": last})
