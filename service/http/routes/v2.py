"""``/v2``: the Open Inference Protocol, for clients of KServe and Triton; see :mod:`service.http.open_inference`.

Images come as tensors of pixels and skip the decoder; from there on they share everything with ``POST /classify``:
admission, priorities, deadlines, batches, metrics and the audit trail.
"""

from collections.abc import Sequence
from typing import Any, Final

import numpy as np
from fastapi import APIRouter, Request
from fastapi.responses import JSONResponse, Response

from contract.classes import CLASS_COUNT
from service.batching.admission import RequestOptions
from service.http.inference_model import model_config, model_metadata, model_statistics
from service.http.open_inference import (
    EMBEDDING,
    EXTENSIONS,
    HEADER_LENGTH,
    LOGITS,
    PROBABILITIES,
    SPECIFICATION,
    InferenceRequest,
    UnknownModelError,
    read_request,
    write_answer,
)
from service.http.requests import due, read_body, read_options, while_connected
from service.serving.observer import service_version
from service.serving.service import Inferred, Service
from service.serving.states import State

router = APIRouter(prefix="/v2", tags=["Open Inference Protocol"])

_MODEL: Final = "/models/{name}"
_VERSION: Final = "/models/{name}/versions/{version}"
_SEND_BINARY: Final = (
    "HAL_MAX_JSON_BYTES limits numbers as JSON: send the images as a binary tensor, a fifth of the bytes "
    f"(tritonclient: set_data_from_numpy(images, binary_data=True); header {HEADER_LENGTH}), or in several requests"
)
_JSON_OR_BINARY: Final = {
    "application/json": {"schema": {"type": "object"}},
    "application/octet-stream": {"schema": {"type": "string", "format": "binary"}},
}
_ERROR: Final = {"type": "object", "required": ["error"], "properties": {"error": {"type": "string"}}}
_OPENAPI: Final = {
    "externalDocs": {"description": "Open Inference Protocol", "url": SPECIFICATION},
    "parameters": [{"name": HEADER_LENGTH, "in": "header", "schema": {"type": "integer", "minimum": 0}}],
    "requestBody": {"required": True, "content": _JSON_OR_BINARY},
}
_REFUSED: Final = {
    400: "The request breaks the protocol or does not fit the model.",
    401: "A key is needed, and none that is known came with the request.",
    403: "The key's role is for something else.",
    404: "There is no model of this name or version.",
    408: "The body did not arrive in time.",
    413: "The body has too many bytes.",
    429: "The queue is full.",
    500: "The network failed on an image.",
    503: "The model is not ready yet, or the service is stopping.",
    504: "An image was not classified before the deadline.",
}
_RESPONSES: Final[dict[int | str, dict[str, Any]]] = {
    200: {"description": "One tensor for each output.", "content": _JSON_OR_BINARY},
    **{
        status: {"description": description, "content": {"application/json": {"schema": _ERROR}}}
        for status, description in _REFUSED.items()
    },
}


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


@router.get("/models/stats", include_in_schema=False)
async def stats(request: Request) -> dict[str, Any]:
    """What was inferred since the service started, by the one model that there is."""
    hal = _hal(request)
    served, counts = hal.bundle.description, hal.statistics
    version, spent = _versions_of(served.version)[0], hal.observer.metrics.spent()
    found = model_statistics(served.name, version, counts.answered, counts.failed, counts.batches, spent)
    return {"model_stats": [found]}


@router.get(_MODEL, include_in_schema=False)
@router.get(_VERSION, include_in_schema=False)
async def metadata(request: Request, name: str, version: str | None = None) -> dict[str, Any]:
    """Inputs and outputs of the model."""
    hal = _hal(request)
    _check_name(hal, name, version)
    return model_metadata(name, _versions_of(hal.bundle.description.version))


@router.get(f"{_MODEL}/config", include_in_schema=False)
@router.get(f"{_VERSION}/config", include_in_schema=False)
async def config(request: Request, name: str, version: str | None = None) -> dict[str, Any]:
    """The model's configuration as Triton writes it."""
    hal = _hal(request)
    _check_name(hal, name, version)
    return model_config(name, hal.settings.max_files)


@router.get(f"{_MODEL}/stats", include_in_schema=False)
@router.get(f"{_VERSION}/stats", include_in_schema=False)
async def model_stats(request: Request, name: str, version: str | None = None) -> dict[str, Any]:
    """As ``/models/stats``."""
    _check_name(_hal(request), name, version)
    return await stats(request)


@router.post("/repository/index", include_in_schema=False)
async def repository_index(request: Request) -> list[dict[str, str]]:
    """The models that there are: one."""
    hal = _hal(request)
    served, ready = hal.bundle.description, hal.state is State.READY
    state, reason = ("READY", "") if ready else ("UNAVAILABLE", hal.state)
    return [{"name": served.name, "version": _versions_of(served.version)[0], "state": state, "reason": reason}]


@router.get(f"{_MODEL}/ready", include_in_schema=False)
@router.get(f"{_VERSION}/ready", include_in_schema=False)
async def model_ready(request: Request, name: str, version: str | None = None) -> dict[str, Any]:
    """200 if the model answers."""
    hal = _hal(request)
    _check_name(hal, name, version)
    hal.require_ready()
    return {"name": name, "ready": True}


@router.post(f"{_MODEL}/infer", summary="Tensors in, tensors out", responses=_RESPONSES, openapi_extra=_OPENAPI)
@router.post(f"{_VERSION}/infer", include_in_schema=False)
async def infer(request: Request, name: str, version: str | None = None) -> Response:
    """Logits, calibrated probabilities and embeddings of images, by the Open Inference Protocol.

    Input `image`: UINT8, shape [n, 256, 256, 3], as JSON numbers or as a binary tensor. Outputs: `logits` and
    `probabilities`, [n, 20], or the k largest as `value:index:class id` with the parameter `classification`: k;
    `embedding`, [n, 2048], only if requested. The headers X-Request-ID, X-Priority and
    X-Request-Timeout-Ms work as in `POST /classify`. Errors have the protocol's form, `{"error": "..."}`.
    """
    hal = _hal(request)
    options = read_options(request)
    _check_name(hal, name, version)
    hal.check_admission(options)
    wanted = await _read(request, hal, options)
    request.state.images = len(wanted.images)
    inferred = await while_connected(
        request, hal.infer([*wanted.images], options, embedding=EMBEDDING in wanted.outputs)
    )
    body, header_length = await hal.aside.call(lambda: _answer(wanted, inferred))
    if header_length is None:
        return Response(body, media_type="application/json")
    return Response(body, media_type="application/octet-stream", headers={HEADER_LENGTH: str(header_length)})


async def _read(request: Request, hal: Service, options: RequestOptions) -> InferenceRequest:
    header_length = request.headers.get(HEADER_LENGTH)
    if header_length is None:
        most, advice = hal.settings.max_json_bytes, _SEND_BINARY
        body = await read_body(request, hal.settings, options, most_bytes=most, advice=advice)
    else:
        body = await read_body(request, hal.settings, options)
    async with due(options):
        return await hal.aside.call(lambda: read_request(body, header_length, hal.settings.max_files))


def _answer(wanted: InferenceRequest, inferred: Inferred) -> tuple[bytes, int | None]:
    probabilities = np.array([decision.probabilities for decision in inferred.decisions], np.float32)
    logits, embedding = inferred.rows[:, :CLASS_COUNT], inferred.rows[:, CLASS_COUNT:]
    outputs = {LOGITS: logits, PROBABILITIES: probabilities, EMBEDDING: embedding}
    return write_answer(inferred.model.name, _versions_of(inferred.model.version)[0], wanted, outputs)


def _check_name(hal: Service, name: str, version: str | None) -> None:
    served = hal.bundle.description
    versions = _versions_of(served.version)
    if name != served.name or (version is not None and version not in versions):
        asked = name if version is None else f"{name}, version {version}"
        raise UnknownModelError(
            f"there is no model {asked[:100]!r}; this service has {served.name!r}, version {' or '.join(versions)}"
        )


def _versions_of(version: str) -> Sequence[str]:
    """What a version may be called: the number of its folder as in a Triton repository, and in full."""
    return (version.partition(".")[0], version)
