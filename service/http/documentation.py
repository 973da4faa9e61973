"""What the OpenAPI document says of answers and requests: the schemas of the structs that are sent, and examples."""

from typing import Any, Final

import msgspec
from fastapi import FastAPI
from pydantic import BaseModel
from pydantic.json_schema import models_json_schema

from contract.classes import CLASS_NAMES
from service.batching.queue import Priority
from service.http.forms import FIELD
from service.http.requests import IMAGE_TYPES, LONGEST_TIMEOUT_MS, PRIORITY, TIMEOUT
from service.serving import answers
from service.slides.results import GivenSlide

Responses = dict[int | str, dict[str, Any]]

JSON: Final = "application/json"
_COMPONENTS: Final = "#/components/schemas/{}"
_ANSWERS: Final = (
    answers.ErrorAnswer,
    answers.ClassifiedImage,
    answers.RefusedImage,
    answers.ClassifyAnswer,
    answers.SlideAnswer,
    answers.SummaryAnswer,
    answers.StartupAnswer,
    answers.LiveAnswer,
    answers.ReadyAnswer,
    answers.ReloadAnswer,
    answers.ModelAnswer,
)
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
    "novelty": {"score": 0.42, "unfamiliar": False},
    "review": [],
}
_REFUSED_EXAMPLE: Final = {
    "index": 1,
    "image_sha256": "fd61a03af4f77d870fc21e05e7e80678095c92d808cfb3b5c279ee04c74aca13",
    "error": {"code": "wrong_size", "message": "The image is 360x363 pixels, expected exactly 256x256. ..."},
}


def reference(kind: type[Any]) -> dict[str, str]:
    """The schema of an answer or a request."""
    return {"$ref": _COMPONENTS.format(kind.__name__)}


def answered(kind: type[Any], description: str, example: Any = None) -> dict[str, Any]:
    """An answer as JSON."""
    content = {"schema": reference(kind)} | ({} if example is None else {"example": example})
    return {"description": description, "content": {JSON: content}}


def failed(description: str, code: str, message: str = "What was wrong, expected, and to do.") -> dict[str, Any]:
    """An answer that is an error as a whole."""
    example = {"request_id": "5f2b8c", "error": {"code": code, "message": message}}
    return answered(answers.ErrorAnswer, description, example)


def _classified_example(*results: dict[str, Any]) -> dict[str, Any]:
    return {"request_id": "5f2b8c", "model": _MODEL_EXAMPLE, "results": list(results)}


CLASSIFY_RESPONSES: Final[Responses] = {
    200: answered(
        answers.ClassifyAnswer,
        "At least one image was classified; a refused one has `error` in its place.",
        _classified_example(_CLASSIFIED_EXAMPLE, _REFUSED_EXAMPLE),
    ),
    400: failed("The form is broken, empty or has another field than `file`, or a header is wrong.", "unknown_field"),
    408: failed("The body did not arrive in time.", "upload_timeout"),
    413: failed("The body has too many bytes or files.", "request_too_large"),
    415: failed("The Content-Type is not accepted, or the body is compressed.", "unsupported_media_type"),
    422: answered(
        answers.ClassifyAnswer,
        "Not one image could be classified; each `error` says why.",
        _classified_example({**_REFUSED_EXAMPLE, "index": 0}),
    ),
    429: {
        **failed("The queue is full.", "queue_full"),
        "headers": {
            "Retry-After": {"description": "Seconds, from the measured rate.", "schema": {"type": "integer"}},
        },
    },
    500: failed("The network failed on every image, or something unexpected went wrong.", "model_failed"),
    503: failed("The model is not ready yet, or the service is stopping.", "starting"),
    504: failed("An image was not classified before the deadline.", "deadline_exceeded"),
}


def header(name: str, description: str, **schema: Any) -> dict[str, Any]:
    """A header that a request may have."""
    return {"name": name, "in": "header", "required": False, "description": description, "schema": schema}


REQUEST_HEADERS: Final = (
    header(
        "X-Request-ID",
        "Names the request in the answer and in the log; at most 128 letters, digits and ._:+/=-",
        type="string",
        maxLength=128,
    ),
    header(
        PRIORITY,
        "Routine images go before bulk ones. Not given: bulk if the request has more images than HAL_BULK_ABOVE, else "
        "routine.",
        type="string",
        enum=[*Priority],
    ),
    header(
        TIMEOUT,
        "Milliseconds from the request's arrival after which nobody waits for the answer: 504, and its images leave "
        "the queue. HAL_DEADLINE_MS holds for each image all the same.",
        type="integer",
        minimum=1,
        maximum=LONGEST_TIMEOUT_MS,
    ),
)
_BINARY: Final = {"type": "string", "format": "binary"}
_FORM: Final = {
    "type": "object",
    "required": [FIELD],
    "additionalProperties": False,
    "properties": {
        FIELD: {
            "type": "array",
            "minItems": 1,
            "items": _BINARY,
            "description": "The images; repeat the field for each.",
        }
    },
}
IMAGES: Final = {
    "required": True,
    "description": "One image as it is, or one or many as a form.",
    "content": {"multipart/form-data": {"schema": _FORM}, **{kind: {"schema": _BINARY} for kind in IMAGE_TYPES}},
}


_CLASSIFY: Final = {
    "tags": ["classify"],
    "summary": "Classify images of single cells",
    "description": "Classify JPEG, PNG, BMP or TIFF images of 256x256 pixels, 8 bits, RGB.\n\n"
    "One refused image does not affect the others: its place in `results` has an `error`. The status is 200 if at "
    "least one image was classified and 422, with the same body, if none was. The type of an image is told from "
    "its bytes.",
    "operationId": "classify",
    "parameters": [*REQUEST_HEADERS],
    "requestBody": IMAGES,
    "responses": {str(status): response for status, response in CLASSIFY_RESPONSES.items()},
}


def install(api: FastAPI) -> None:
    """Add ``/classify``, which is no route of FastAPI's, and the schemas that :func:`reference` names."""
    document = api.openapi

    def complete() -> dict[str, Any]:
        if api.openapi_schema is None:
            described = document()
            described["paths"] = {"/classify": {"post": _CLASSIFY}, **described["paths"]}
            described["components"] = {"schemas": described.get("components", {}).get("schemas", {}) | _components()}
        return api.openapi_schema or {}

    api.openapi = complete  # type: ignore[method-assign]


def _components() -> dict[str, Any]:
    models: list[type[BaseModel]] = []

    def schema_of_model(kind: type[Any]) -> dict[str, Any]:
        models.append(kind)
        return reference(kind)

    _, components = msgspec.json.schema_components(
        _ANSWERS, schema_hook=schema_of_model, ref_template=_COMPONENTS.format("{name}")
    )
    sent = [(model, "serialization") for model in models]
    _, described = models_json_schema(
        [*sent, (GivenSlide, "validation")],  # type: ignore[list-item]
        ref_template=_COMPONENTS.format("{model}"),
    )
    return {**components, **described.get("$defs", {})}
