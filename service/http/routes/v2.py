"""``/v2``: the Open Inference Protocol, for clients of KServe and Triton; see :mod:`service.http.inference_protocol`.

Images come as tensors of pixels and skip the decoder; from there on they share everything with ``POST /classify``:
admission, priorities, deadlines, batches, metrics and the audit trail.
"""

import asyncio
from collections.abc import Sequence
from typing import Any, Final

import numpy as np
from fastapi import APIRouter, Request
from fastapi.responses import JSONResponse, Response

from contract.classes import CLASS_COUNT
from service.batching.admission import RequestOptions
from service.batching.errors import DeadlineExceededError
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
from service.http.requests import UploadError, due, read_body, read_options, while_connected
from service.http.v2_schemas import INFER_REQUEST, INFER_RESPONSES
from service.serving.observer import service_version
from service.serving.service import Inferred, Service
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
    options = read_options(request)
    _check_name(hal, name, version)
    hal.check_admission(options)
    async with due(options):
        wanted = await _read(request, hal)
    request.state.images = len(wanted.images)
    work = hal.infer([*wanted.images], options, embedding=EMBEDDING in wanted.outputs)
    inferred = await while_connected(request, work)
    body, header_length = await asyncio.to_thread(_answer, wanted, inferred)
    if header_length is None:
        return Response(body, media_type="application/json")
    return Response(body, media_type="application/octet-stream", headers={HEADER_LENGTH: str(header_length)})


async def _read(request: Request, hal: Service) -> InferenceRequest:
    encoding = request.headers.get("content-encoding", "identity")
    if encoding != "identity":
        raise UploadError(415, "unsupported_encoding", f"Content-Encoding is {encoding[:20]!r}, expected none.")
    settings, no_options = hal.settings, RequestOptions()
    if (header_length := request.headers.get(HEADER_LENGTH)) is not None:
        body = await read_body(request, settings, no_options)
        return await asyncio.to_thread(read_request, body, header_length, settings.max_files)
    body = await read_body(request, settings, no_options, most_bytes=settings.max_json_bytes, advice=_SEND_BINARY)
    readers: asyncio.Semaphore = request.app.state.json_readers
    deadline_s = settings.deadline_ms / 1000
    try:
        # Numbers take time and the interpreter's lock to read, and memory beside that of the body.
        async with asyncio.timeout(deadline_s) as limit, readers:
            return await asyncio.to_thread(read_request, body, None, settings.max_files)
    except TimeoutError:
        if not limit.expired():
            raise
        hal.statistics.expired += 1
        raise DeadlineExceededError(f"{deadline_s:g} s (HAL_DEADLINE_MS)") from None


def _answer(wanted: InferenceRequest, inferred: Inferred) -> tuple[bytes, int | None]:
    probabilities = np.array([decision.probabilities for decision in inferred.decisions], np.float32)
    logits, embedding = inferred.rows[:, :CLASS_COUNT], inferred.rows[:, CLASS_COUNT:]
    outputs = {LOGITS: logits, PROBABILITIES: probabilities, EMBEDDING: embedding}
    return write_answer(inferred.model.name, _versions_of(inferred.model.version)[0], wanted, outputs)


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
