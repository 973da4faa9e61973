"""``/v2``: the Open Inference Protocol, for clients of KServe and Triton; see :mod:`service.http.inference_protocol`.

Images come as tensors of pixels and skip the decoder; from there on they share everything with ``POST /classify``:
seats, priorities, deadlines, batches, metrics and the audit trail.
"""

import asyncio
import hashlib
from collections.abc import Sequence
from typing import Any, Final

import numpy as np
from fastapi import APIRouter, Request
from fastapi.responses import JSONResponse, Response
from numpy.typing import NDArray
from starlette.requests import ClientDisconnect

from contract.classes import CLASS_COUNT
from contract.decision import decide
from service.batching.errors import DeadlineExceededError, ModelFailedError
from service.batching.queue import Logits, Priority
from service.http.inference_protocol import (
    EMBEDDING,
    EXTENSIONS,
    HEADER_LENGTH,
    LOGITS,
    PROBABILITIES,
    InferenceRequest,
    UnknownModelError,
    model_metadata,
    read_request,
    write_answer,
)
from service.http.request_options import Terms
from service.http.routes.classify import priority_of, while_connected
from service.http.uploads import UploadError, read_body
from service.http.v2_schemas import INFER_REQUEST, INFER_RESPONSES
from service.serving.answers import ClassifiedImage, Fault, RefusedImage
from service.serving.model import ServedModel
from service.serving.observer import service_version
from service.serving.service import MODEL_FAILED, Service
from service.serving.states import State

router = APIRouter(prefix="/v2", tags=["Open Inference Protocol"])

_MODEL: Final = "/models/{name}"
_VERSION: Final = "/models/{name}/versions/{version}"
_SEND_BINARY: Final = (
    "as JSON only a few images are read (HAL_MAX_JSON_BYTES): send them as a binary tensor, a fifth of the bytes "
    "(tritonclient: set_data_from_numpy(images, binary_data=True); header Inference-Header-Content-Length), or in "
    "several requests"
)
JSON_READERS: Final = 2
"""Requests whose JSON is read at once; others wait, not longer than for the device."""


def _hal(request: Request) -> Service:
    hal: Service = request.app.state.hal
    return hal


@router.get("", include_in_schema=False)
async def server() -> dict[str, Any]:
    """Name, release and extensions of the server."""
    return {"name": "hal", "version": service_version(), "extensions": list(EXTENSIONS)}


@router.get("/health/live", include_in_schema=False)
async def live(request: Request) -> JSONResponse:
    """As ``/health/live``."""
    hal = _hal(request)
    alive = not hal.stalled and hal.state is not State.FAILED
    return JSONResponse({"live": alive}, 200 if alive else 503)


@router.get("/health/ready", include_in_schema=False)
async def ready(request: Request) -> JSONResponse:
    """As ``/health/ready``."""
    hal = _hal(request)
    hal.require_ready()
    return JSONResponse({"ready": True})


@router.get(_MODEL, include_in_schema=False)
@router.get(_VERSION, include_in_schema=False)
async def metadata(request: Request, name: str, version: str | None = None) -> dict[str, Any]:
    """Inputs and outputs of the model."""
    hal = _hal(request)
    _check_name(hal, name, version)
    return model_metadata(name, _versions(hal))


@router.get(f"{_MODEL}/ready", include_in_schema=False)
@router.get(f"{_VERSION}/ready", include_in_schema=False)
async def model_ready(request: Request, name: str, version: str | None = None) -> dict[str, Any]:
    """200 if the model can be asked."""
    hal = _hal(request)
    _check_name(hal, name, version)
    hal.require_ready()
    return {"name": name, "ready": True}


@router.post(
    f"{_MODEL}/infer", summary="Tensors in, tensors out", responses=INFER_RESPONSES, openapi_extra=INFER_REQUEST
)
@router.post(f"{_VERSION}/infer", include_in_schema=False)
async def infer(request: Request, name: str, version: str | None = None) -> Response:
    """Logits, calibrated probabilities and, if asked for, embeddings of any number of images."""
    hal = _hal(request)
    terms = Terms.of_request(request)
    due = None if terms.timeout_s is None else asyncio.get_running_loop().time() + terms.timeout_s
    batcher = hal.batcher
    _check_name(hal, name, version)
    batcher.seats.check_room(terms.priority or Priority.ROUTINE)
    try:
        async with asyncio.timeout_at(due) as limit:
            wanted = await _read(request, hal)
        request.state.images = len(wanted.images)
        priority = terms.priority or priority_of(len(wanted.images), hal.settings)
        # Not before the body is there: a model that nobody uses yet is let go by a reload.
        model = hal.model
        network = model.network.with_embedding if EMBEDDING in wanted.outputs else model.network

        async def one(image: NDArray[np.uint8]) -> Logits:
            return await batcher.infer(image, network=network, priority=priority)

        with model.in_use():
            work = batcher.seats.spread(list(wanted.images), one, priority=priority, due=due)
            rows = np.stack(await while_connected(request, work))
    except ModelFailedError as error:
        await asyncio.to_thread(_tell_failure, hal, model, wanted, error)
        raise
    except TimeoutError:
        if not limit.expired():
            raise
        raise DeadlineExceededError(None) from None
    except ClientDisconnect:
        batcher.counts.disconnected += 1
        raise
    body, header_length = await asyncio.to_thread(_answer, hal, model, wanted, rows)
    if header_length is None:
        return Response(body, media_type="application/json")
    return Response(body, media_type="application/octet-stream", headers={HEADER_LENGTH: str(header_length)})


async def _read(request: Request, hal: Service) -> InferenceRequest:
    encoding = request.headers.get("content-encoding", "identity")
    if encoding != "identity":
        raise UploadError(415, "unsupported_encoding", f"Content-Encoding is {encoding[:20]!r}, expected none.")
    declared = request.headers.get("content-length", "0")
    if (header_length := request.headers.get(HEADER_LENGTH)) is not None:
        body = await read_body(request, hal.settings, declared)
        return await asyncio.to_thread(read_request, body, header_length, hal.settings.max_files)
    body = await read_body(request, hal.settings, declared, most_bytes=hal.settings.max_json_bytes, advice=_SEND_BINARY)
    readers: asyncio.Semaphore = request.app.state.json_readers
    deadline_s = hal.settings.deadline_ms / 1000
    try:
        # Numbers take time and the interpreter's lock to read, and memory beside that of the body.
        async with asyncio.timeout(deadline_s) as limit, readers:
            return await asyncio.to_thread(read_request, body, None, hal.settings.max_files)
    except TimeoutError:
        if not limit.expired():
            raise
        hal.batcher.counts.expired += 1
        raise DeadlineExceededError(f"{deadline_s:g} s (HAL_DEADLINE_MS)") from None


def _answer(
    hal: Service, model: ServedModel, wanted: InferenceRequest, rows: NDArray[np.float32]
) -> tuple[bytes, int | None]:
    logits, embedding = rows[:, :CLASS_COUNT], rows[:, CLASS_COUNT:]
    decisions = decide(logits, model.bundle.description)
    results = [
        ClassifiedImage.of(index, sha256, decision)
        for index, (sha256, decision) in enumerate(zip(_hashes(wanted), decisions, strict=True))
    ]
    hal.observer.answered(model.stamp, results)
    probabilities = np.array([decision.probabilities for decision in decisions], np.float32)
    outputs = {LOGITS: logits, PROBABILITIES: probabilities, EMBEDDING: embedding}
    return write_answer(model.stamp.name, _versions_of(model.stamp.version)[0], wanted, outputs)


def _tell_failure(hal: Service, model: ServedModel, wanted: InferenceRequest, error: ModelFailedError) -> None:
    """All images of the request are answered with the failure of one, as the protocol has it."""
    fault = Fault(MODEL_FAILED, str(error))
    hal.observer.answered(
        model.stamp, [RefusedImage(index, sha256, fault) for index, sha256 in enumerate(_hashes(wanted))]
    )


def _hashes(wanted: InferenceRequest) -> list[str]:
    return [hashlib.sha256(image.tobytes()).hexdigest() for image in wanted.images]


def _check_name(hal: Service, name: str, version: str | None) -> None:
    versions = _versions(hal)
    if name != hal.bundle.description.name or (version is not None and version not in versions):
        asked = name if version is None else f"{name}, version {version}"
        raise UnknownModelError(
            f"there is no model {asked[:100]!r}; this service has {hal.bundle.description.name!r}, version "
            f"{' or '.join(versions)}"
        )


def _versions(hal: Service) -> Sequence[str]:
    return _versions_of(hal.bundle.description.version)


def _versions_of(version: str) -> Sequence[str]:
    """What a version may be called: the number of its folder as in a Triton repository, and in full."""
    return (version.partition(".")[0], version)
