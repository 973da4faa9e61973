"""``/v2``: the Open Inference Protocol, for clients of KServe and Triton; see :mod:`service.http.open_inference`.

Images come as tensors of pixels and skip the decoder; from there on they share everything with ``POST /classify``:
admission, priorities, deadlines, batches, metrics and the audit trail. What is said of the model follows KServe's
``open_inference_rest.yaml``, Triton's ``extension_model_configuration.md`` and ``extension_statistics.md``.
"""

from collections.abc import Sequence
from typing import Annotated, Any, Final

import numpy as np
from fastapi import APIRouter, Depends, Request
from fastapi.responses import JSONResponse, Response

from contract.classes import CLASS_COUNT
from contract.parts import EMBEDDING_SIZE
from service.batching.admission import RequestOptions
from service.errors import RequestError
from service.http.open_inference import (
    EMBEDDING,
    EXTENSIONS,
    HEADER_LENGTH,
    INPUT,
    LOGITS,
    OUTPUTS,
    PROBABILITIES,
    SHAPE,
    SPECIFICATION,
    InferenceRequest,
    read_request,
    write_answer,
)
from service.http.requests import due, read_options, service_of, while_connected
from service.http.uploads import read_body
from service.serving.observer import service_version
from service.serving.service import Inferred, Service
from service.serving.states import State

router = APIRouter(prefix="/v2", tags=["Open Inference Protocol"])

_MODEL: Final = "/models/{name}"
_VERSION: Final = "/models/{name}/versions/{version}"
_PLATFORM: Final = "hal_onnxruntime"
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


async def _with_model(request: Request, name: str, version: str | None = None) -> Service:
    service = service_of(request)
    served, versions = service.bundle.description, _versions_of(service)
    if name != served.name or version not in (None, *versions):
        asked = name if version is None else f"{name}, version {version}"
        raise RequestError(
            404,
            "unknown_model",
            f"there is no model {asked[:100]!r}; this service has {served.name!r}, version {' or '.join(versions)}",
        )
    return service


WithModel = Annotated[Service, Depends(_with_model)]
"""The service, if it has the model that the path names."""


def _versions_of(service: Service) -> Sequence[str]:
    """What its version may be called: the number of its folder as in a Triton repository, and in full."""
    version = service.bundle.description.version
    return _number_of(version), version


def _number_of(version: str) -> str:
    return version.partition(".")[0]


@router.get("", include_in_schema=False)
async def server() -> dict[str, Any]:
    return {"name": "hal", "version": service_version(), "extensions": list(EXTENSIONS)}


@router.get("/health/live", include_in_schema=False)
async def live(request: Request) -> JSONResponse:
    service = service_of(request)
    alive = not service.stalled and service.state is not State.FAILED
    return JSONResponse({"live": alive}, 200 if alive else 503)


@router.get("/health/ready", include_in_schema=False)
async def ready(request: Request) -> JSONResponse:
    service_of(request).require_ready()
    return JSONResponse({"ready": True})


@router.get("/models/stats", include_in_schema=False)
async def stats(request: Request) -> dict[str, Any]:
    """What was inferred since the service started, by the one model that there is, whatever path the images came by;
    in images as far as the protocol counts requests.
    """
    service = service_of(request)
    counts, spent = service.statistics, service.observer.metrics.spent()
    parts = {
        "success": (counts.answered, spent["queue"][1] + spent["device"][1]),
        "fail": (counts.failed, 0.0),
        "queue": spent["queue"],
        "compute_input": spent["decode"],
        "compute_infer": spent["device"],
        **dict.fromkeys(("compute_output", "cache_hit", "cache_miss"), (0, 0.0)),
    }
    found = {
        "name": service.bundle.description.name,
        "version": _versions_of(service)[0],
        "inference_count": counts.answered,
        "execution_count": counts.batches,
        "inference_stats": {part: {"count": count, "ns": int(1e9 * s)} for part, (count, s) in parts.items()},
        "batch_stats": [],
    }
    return {"model_stats": [found]}


@router.get(f"{_MODEL}/stats", include_in_schema=False)
@router.get(f"{_VERSION}/stats", include_in_schema=False)
async def model_stats(request: Request, _: WithModel) -> dict[str, Any]:
    return await stats(request)


@router.get(_MODEL, include_in_schema=False)
@router.get(_VERSION, include_in_schema=False)
async def metadata(service: WithModel) -> dict[str, Any]:
    return {
        "name": service.bundle.description.name,
        "versions": list(_versions_of(service)),
        "platform": _PLATFORM,
        "inputs": [{"name": INPUT, "datatype": "UINT8", "shape": [-1, *SHAPE]}],
        "outputs": [{"name": output, "datatype": "FP32", "shape": [-1, size]} for output, size in OUTPUTS.items()],
    }


@router.get(f"{_MODEL}/config", include_in_schema=False)
@router.get(f"{_VERSION}/config", include_in_schema=False)
async def config(service: WithModel) -> dict[str, Any]:
    return {
        "name": service.bundle.description.name,
        "platform": _PLATFORM,
        "max_batch_size": service.settings.max_files,
        "input": [{"name": INPUT, "data_type": "TYPE_UINT8", "format": "FORMAT_NHWC", "dims": list(SHAPE)}],
        "output": [{"name": output, "data_type": "TYPE_FP32", "dims": [size]} for output, size in OUTPUTS.items()],
        "dynamic_batching": {},
    }


@router.get(f"{_MODEL}/ready", include_in_schema=False)
@router.get(f"{_VERSION}/ready", include_in_schema=False)
async def model_ready(name: str, service: WithModel) -> dict[str, Any]:
    service.require_ready()
    return {"name": name, "ready": True}


@router.post("/repository/index", include_in_schema=False)
async def repository_index(request: Request) -> list[dict[str, str]]:
    service = service_of(request)
    state, reason = ("READY", "") if service.state is State.READY else ("UNAVAILABLE", service.state)
    name, version = service.bundle.description.name, _versions_of(service)[0]
    return [{"name": name, "version": version, "state": state, "reason": reason}]


@router.post(f"{_MODEL}/infer", summary="Tensors in, tensors out", responses=_RESPONSES, openapi_extra=_OPENAPI)
@router.post(f"{_VERSION}/infer", include_in_schema=False)
async def infer(request: Request, service: WithModel) -> Response:
    """Logits, calibrated probabilities and embeddings of images, by the Open Inference Protocol.

    Input `image`: UINT8, shape [n, 256, 256, 3], as JSON numbers or as a binary tensor. Outputs: `logits` and
    `probabilities`, [n, 20], or the k largest as `value:index:class id` with the parameter `classification`: k;
    `embedding`, [n, 2048], only if requested. The headers X-Request-ID, X-Priority and
    X-Request-Timeout-Ms work as in `POST /classify`. Errors have the protocol's form, `{"error": "..."}`.
    """
    options = read_options(request)
    service.check_admission(options)
    wanted = await _read(request, service, options)
    request.state.images = len(wanted.images)
    inferred = await while_connected(request, service.infer([*wanted.images], options))
    body, header_length = await service.aside.call(lambda: _answer(wanted, inferred))
    if header_length is None:
        return Response(body, media_type="application/json")
    return Response(body, media_type="application/octet-stream", headers={HEADER_LENGTH: str(header_length)})


async def _read(request: Request, service: Service, options: RequestOptions) -> InferenceRequest:
    settings, header_length = service.settings, request.headers.get(HEADER_LENGTH)
    limits: dict[str, Any] = {"most_bytes": settings.max_json_bytes, "advice": _SEND_BINARY}
    body = await read_body(request, settings, options, **(limits if header_length is None else {}))
    async with due(options):
        return await service.aside.call(lambda: read_request(body, header_length, settings.max_files))


def _answer(wanted: InferenceRequest, inferred: Inferred) -> tuple[bytes, int | None]:
    probabilities = np.array([decision.probabilities for decision in inferred.decisions], np.float32)
    logits, embedding = inferred.rows[:, :CLASS_COUNT], inferred.rows[:, CLASS_COUNT : CLASS_COUNT + EMBEDDING_SIZE]
    outputs = {LOGITS: logits, PROBABILITIES: probabilities, EMBEDDING: embedding}
    return write_answer(inferred.model.name, _number_of(inferred.model.version), wanted, outputs)
