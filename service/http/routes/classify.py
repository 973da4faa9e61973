"""``POST /classify``: images in, one answer for each out."""

import asyncio
from collections.abc import Coroutine
from http import HTTPStatus
from typing import Any, Final, TypeVar

from fastapi import APIRouter, Request
from fastapi.responses import Response
from starlette.requests import ClientDisconnect

from contract.classes import CLASS_NAMES
from service.batching.errors import ModelFailedError
from service.batching.queue import Priority
from service.http.request_options import LONGEST_TIMEOUT_MS, PRIORITY, TIMEOUT, Terms
from service.http.schemas import ClassifyAnswer, ErrorAnswer
from service.http.uploads import FIELD, IMAGE_TYPES, read_images
from service.serving.answers import ClassifiedImage, RefusedImage
from service.serving.service import MODEL_FAILED, Classified, Service
from service.settings import Settings

router = APIRouter(tags=["classify"])

Result = TypeVar("Result")

_UNWATCHED_S: Final = 0.05
_WAITING, _GONE, _ENDED = range(3)

_MODEL_EXAMPLE: Final = {
    "name": "hal-c",
    "version": "1.0.0",
    "sha256": "9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08",
    "precision": "int8",
    "intended_use": "For research use, assists a qualified technologist.",
    "decision_policy": "1",
    "calibration": "temperature-1",
    "preprocessing": "1",
}
_CLASSIFIED_EXAMPLE: Final = {
    "index": 0,
    "image_sha256": "60303ae22b998861bce3b28f33eec1be758a213c86c93c076dbe9f558c11c752",
    "predicted_class": CLASS_NAMES[0],
    "probabilities": {name: 0.981 if place == 0 else 0.001 for place, name in enumerate(CLASS_NAMES)},
    "hairy_cell": {"probability": 0.001, "flag": False, "threshold": 0.2, "advice": "Confirm by flow cytometry."},
    "review": [],
}
_REFUSED_EXAMPLE: Final = {
    "index": 1,
    "image_sha256": "fd61a03af4f77d870fc21e05e7e80678095c92d808cfb3b5c279ee04c74aca13",
    "error": {"code": "wrong_size", "message": "The image is 360x363 pixels, expected exactly 256x256. ..."},
}


def _example(*results: dict[str, Any]) -> dict[str, Any]:
    answer = {"request_id": "5f2b8c", "model": _MODEL_EXAMPLE, "results": list(results)}
    return {"content": {"application/json": {"example": answer}}}


def _error(description: str, code: str) -> dict[str, Any]:
    example = {"request_id": "5f2b8c", "error": {"code": code, "message": "What was wrong, expected, and to do."}}
    return {"model": ErrorAnswer, "description": description, "content": {"application/json": {"example": example}}}


RESPONSES: Final[dict[int | str, dict[str, Any]]] = {
    200: {
        "model": ClassifyAnswer,
        "description": "At least one image was classified; a refused one has `error` in its place.",
        **_example(_CLASSIFIED_EXAMPLE, _REFUSED_EXAMPLE),
    },
    400: _error("The form is broken, empty or has another field than `file`, or a header is wrong.", "unknown_field"),
    408: _error("The body did not arrive in time.", "upload_timeout"),
    413: _error("The body has too many bytes or files.", "request_too_large"),
    415: _error("The Content-Type is not accepted.", "unsupported_media_type"),
    422: {
        "model": ClassifyAnswer,
        "description": "Not one image could be classified; each `error` says why.",
        **_example({**_REFUSED_EXAMPLE, "index": 0}),
    },
    429: {
        **_error("The queue is full.", "queue_full"),
        "headers": {
            "Retry-After": {"description": "Seconds, from the measured rate.", "schema": {"type": "integer"}},
        },
    },
    500: _error("The network failed on every image, or something unexpected went wrong.", MODEL_FAILED),
    503: _error("The model is not ready yet, or the service is stopping.", "starting"),
    504: _error("An image was not classified before the deadline.", "deadline_exceeded"),
}
_BINARY: Final = {"schema": {"type": "string", "format": "binary"}}
REQUEST: Final = {
    "parameters": [
        {
            "name": "X-Request-ID",
            "in": "header",
            "required": False,
            "description": "Names the request in the answer and in the log; at most 128 letters, digits and ._:+/=-",
            "schema": {"type": "string", "maxLength": 128},
        },
        {
            "name": PRIORITY,
            "in": "header",
            "required": False,
            "description": "Routine images go before bulk ones. Not given: bulk if the request has more images than "
            "HAL_BULK_ABOVE, else routine.",
            "schema": {"type": "string", "enum": [*Priority]},
        },
        {
            "name": TIMEOUT,
            "in": "header",
            "required": False,
            "description": "Milliseconds from the request's arrival after which nobody waits for the answer: 504, and "
            "its images leave the queue. HAL_DEADLINE_MS holds for each image all the same.",
            "schema": {"type": "integer", "minimum": 1, "maximum": LONGEST_TIMEOUT_MS},
        },
    ],
    "requestBody": {
        "required": True,
        "description": "One image as it is, or one or many as a form.",
        "content": {
            "multipart/form-data": {
                "schema": {
                    "type": "object",
                    "required": [FIELD],
                    "additionalProperties": False,
                    "properties": {
                        FIELD: {
                            "type": "array",
                            "minItems": 1,
                            "items": {"type": "string", "format": "binary"},
                            "description": "The images; repeat the field for each.",
                        }
                    },
                }
            },
            **dict.fromkeys(IMAGE_TYPES, _BINARY),
        },
    },
}


@router.post(
    "/classify", summary="Classify images of single cells", responses=RESPONSES, openapi_extra=REQUEST
)  # fmt: skip
async def classify(request: Request) -> Response:
    """Classify JPEG, PNG, BMP or TIFF images of 256x256 pixels, 8 bits, RGB.

    One refused image does not affect the others: its place in `results` has an `error`. The status is 200 if at least
    one image was classified and 422, with the same body, if none was. The type of an image is told from its bytes.
    """
    done = await classify_body(request)
    body = done.writer.write(request.state.request_id, done.results)
    return Response(body, status_of(done), media_type="application/json")


async def classify_body(request: Request, *, usual: Priority | None = None) -> Classified:
    """Read the images of a request and classify them on the terms of its headers.

    Args:
        request: as it arrived.
        usual: the priority of a request that does not name one; ``None``: by its number of images.

    Raises:
        TermsError: a header is not understood.
        UploadError: the body cannot be used.
        NotReadyError, QueueFullError, DrainingError, DeadlineExceededError: see there.
        ModelFailedError: the network failed on every image that could be decoded.
        ClientDisconnect: the client went away.
    """
    terms = Terms.of_request(request)
    due = None if terms.timeout_s is None else asyncio.get_running_loop().time() + terms.timeout_s
    hal: Service = request.app.state.hal
    batcher = hal.batcher
    batcher.seats.check_room(terms.priority or Priority.ROUTINE)
    try:
        images = await read_images(request, hal.settings, due)
        request.state.images = len(images)
        priority = terms.priority or usual or priority_of(len(images), hal.settings)
        done = await while_connected(request, hal.classify(batcher, images, priority=priority, due=due))
    except ClientDisconnect:
        batcher.counts.disconnected += 1
        raise
    failed = any(isinstance(result, RefusedImage) and result.error.code == MODEL_FAILED for result in done.results)
    if failed and status_of(done) != HTTPStatus.OK:
        raise ModelFailedError
    return done


def priority_of(images: int, settings: Settings) -> Priority:
    """The priority of a request of so many images that does not name one."""
    return Priority.BULK if images > settings.bulk_above else Priority.ROUTINE


def status_of(done: Classified) -> HTTPStatus:
    """200 if at least one image was classified, else 422."""
    classified = any(isinstance(result, ClassifiedImage) for result in done.results)
    return HTTPStatus.OK if classified else HTTPStatus.UNPROCESSABLE_ENTITY


async def while_connected(request: Request, work: Coroutine[Any, Any, Result]) -> Result:
    """The result of ``work``, which is cancelled if the client goes away.

    Nobody watches for that in the first :data:`_UNWATCHED_S`: most answers of a fast device are there before, and
    watching costs a task.

    Raises:
        ClientDisconnect: it did.
    """
    loop = asyncio.get_running_loop()
    caller = asyncio.current_task()
    watcher: asyncio.Task[None] | None = None
    state = _WAITING

    def watch() -> None:
        nonlocal watcher
        watcher = loop.create_task(_gone(request), name="hal-watch")
        watcher.add_done_callback(leave)

    def leave(ended: asyncio.Task[None]) -> None:
        nonlocal state
        if state == _WAITING and not ended.cancelled() and caller is not None:
            state = _GONE
            caller.cancel()

    timer = loop.call_later(_UNWATCHED_S, watch)
    try:
        return await work
    except asyncio.CancelledError:
        if state != _GONE or caller is None:
            raise
        caller.uncancel()
        raise ClientDisconnect from None
    finally:
        if state == _WAITING:
            state = _ENDED
        timer.cancel()
        if watcher is not None:
            watcher.cancel()


async def _gone(request: Request) -> None:
    while (await request.receive())["type"] != "http.disconnect":
        pass
