"""What the OpenAPI document says of answers and requests: the schemas of the structs that are sent, and examples."""

from typing import Any, Final

import msgspec
from fastapi import FastAPI
from pydantic import BaseModel
from pydantic.json_schema import models_json_schema

from contract.classes import BY_ID
from service.auth.authorise import is_open
from service.batching.queue import Priority
from service.http.forms import FIELD, LONGEST_REFERENCE, REFERENCE
from service.http.requests import LINES, LONGEST_TIMEOUT_MS, PRIORITY, TIMEOUT
from service.http.uploads import IMAGE_TYPES, ZIP
from service.serving import answers
from service.slides import GivenSlide

Responses = dict[int | str, dict[str, Any]]

JSON: Final = "application/json"
_COMPONENTS: Final = "#/components/schemas/{}"
_ANSWERS: Final = (
    answers.ErrorAnswer,
    answers.ClassifiedImage,
    answers.RefusedImage,
    answers.ClassifyAnswer,
    answers.ClassifyHead,
    answers.SlideAnswer,
    answers.SummaryAnswer,
    answers.StartupAnswer,
    answers.LiveAnswer,
    answers.ReadyAnswer,
    answers.ReloadAnswer,
    answers.ModelAnswer,
)
# What the bundle hal-c 3.1.0 says of service/static/cells/segmented-neutrophil-1.jpg and of a file that is no image.
_MODEL_EXAMPLE: Final = {
    "name": "hal-c",
    "version": "3.1.0",
    "sha256": "7a7d1b67c821ed96803e2bafd076f21c745ee089e90fa78659d2e754a932a688",
    "precision": "int8",
    "intended_use": "For research use. Pre-classifies images of single cells of stained peripheral blood smears; "
    "assists a qualified technologist, who confirms every class. Not for diagnosis.",
    "decision_policy": "1",
    "calibration": "temperature-1.0499-unfamiliar-1.7020",
    "preprocessing": "1",
}
_HAIRY_EXAMPLE: Final = {
    "threshold": 0.45525941951034427,
    "advice": "A flag suggests, it does not diagnose: confirm by flow cytometry.",
}
_PROBABILITIES: Final = (
    *(0.993949, 0.000386, 9.2e-05, 0.0001, 7.5e-05, 0.004038, 5.9e-05, 2.4e-05, 6e-06, 5.3e-05),
    *(1.7e-05, 1.6e-05, 1e-05, 4.8e-05, 0.00105, 1.9e-05, 2e-05, 1.5e-05, 1e-05, 1.5e-05),
)
_CLASSIFIED_EXAMPLE: Final = {
    "class_id": "segmented-neutrophil",
    "class_name": "Segmented neutrophil",
    "confidence": 0.993949,
    "candidates": [{"class_id": "segmented-neutrophil", "probability": 0.993949}],
    "hairy_cell": {"probability": 1.6e-05, "flag": False},
    "review": [],
    "novelty": {"score": 0.596543, "unfamiliar": False},
    "probabilities": dict(zip(BY_ID, _PROBABILITIES, strict=True)),
    "index": 0,
    "client_ref": "segmented-neutrophil-1.jpg",
    "image_sha256": "6bb5f4b391b3b5c9d9f59884729e57d09df071011bf32bdffbb162d9b9619546",
}
_REFUSED_EXAMPLE: Final = {
    "error": {
        "code": "unsupported_type",
        "message": "The bytes are not a JPEG, PNG, BMP or TIFF image (they begin with 78); convert the image to one of "
        "these without resampling it.",
    },
    "index": 1,
    "client_ref": "slide.png",
    "image_sha256": "2d711642b726b04401627ca9fbac32f5c8530fb1903cc4db02258717921a4881",
}


def reference(kind: type[Any]) -> dict[str, str]:
    return {"$ref": _COMPONENTS.format(kind.__name__)}


def answered(kind: type[Any], description: str, example: Any = None) -> dict[str, Any]:
    content = {"schema": reference(kind)} | ({} if example is None else {"example": example})
    return {"description": description, "content": {JSON: content}}


def failed(description: str, code: str, message: str = "What was wrong, expected, and to do.") -> dict[str, Any]:
    example = {"request_id": "5f2b8c", "error": {"code": code, "message": message}}
    return answered(answers.ErrorAnswer, description, example)


def _classified_example(*results: dict[str, Any]) -> dict[str, Any]:
    return {"request_id": "5f2b8c", "model": _MODEL_EXAMPLE, "hairy_cell": _HAIRY_EXAMPLE, "results": list(results)}


_LINES: Final = {
    "schema": {"type": "string"},
    "example": "".join(
        msgspec.json.encode(line).decode() + "\n"
        for line in (
            {"request_id": "5f2b8c", "model": _MODEL_EXAMPLE, "hairy_cell": _HAIRY_EXAMPLE, "images": 2},
            _REFUSED_EXAMPLE,
            _CLASSIFIED_EXAMPLE,
        )
    ),
}
CLASSIFY_RESPONSES: Final[Responses] = {
    200: answered(
        answers.ClassifyAnswer,
        "At least one image was classified; a refused one has `error` in its place.",
        _classified_example(_CLASSIFIED_EXAMPLE, _REFUSED_EXAMPLE),
    ),
    400: failed("The form is broken, empty or has other fields, or a header is wrong.", "unknown_field"),
    408: failed("The body did not arrive in time.", "upload_timeout"),
    413: failed("The body has too many bytes or files.", "request_too_large"),
    415: failed("The Content-Type is not accepted, or the body is compressed.", "unsupported_media_type"),
    422: answered(
        answers.ClassifyAnswer,
        "Not one image could be classified; each `error` says why.",
        _classified_example({**_REFUSED_EXAMPLE, "index": 0}),
    ),
    429: {
        **failed("The queue is full, or too many bytes are on their way.", "queue_full"),
        "headers": {"Retry-After": {"description": "Seconds, from the measured rate.", "schema": {"type": "integer"}}},
    },
    500: failed("The network failed on every image, or something unexpected went wrong.", "model_failed"),
    503: failed("The model is not ready yet, or the service is stopping.", "starting"),
    504: failed("An image was not classified before the deadline.", "deadline_exceeded"),
}


def header(name: str, description: str, **schema: Any) -> dict[str, Any]:
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
        },
        REFERENCE: {
            "type": "array",
            "items": {"type": "string", "maxLength": LONGEST_REFERENCE},
            "description": "What to call each image in the answer, in their order; not given: its file name. It is "
            "neither logged nor kept.",
        },
    },
}
IMAGES: Final = {
    "required": True,
    "description": "One image as it is, or one or many as a form or a ZIP archive.",
    "content": {
        "multipart/form-data": {"schema": _FORM},
        **{kind: {"schema": _BINARY} for kind in (*IMAGE_TYPES, ZIP)},
    },
}


TAGS: Final = [
    {"name": "classify", "description": "Images of single cells in, an answer for each out."},
    {"name": "slides", "description": "The cells of one slide together: differential and advice. Nothing is kept."},
    {"name": "model", "description": "What is served and what is known about it."},
    {"name": "health", "description": "For the platform that runs the service."},
    {"name": "admin", "description": "For the people who run the service; needs a key of the role admin."},
    {"name": "Open Inference Protocol", "description": "For clients of KServe and Triton."},
]
_SCHEMES: Final = {
    "bearer": {"type": "http", "scheme": "bearer", "description": "A key of 'hal keys add'."},
    "apiKey": {"type": "apiKey", "in": "header", "name": "X-API-Key", "description": "The same key."},
}
_SECURITY: Final[list[dict[str, list[str]]]] = [{"bearer": []}, {"apiKey": []}, {}]
"""Without HAL_KEYS_FILE no key is asked for."""
_NO_KEY: Final = {
    "401": failed("A key is needed, and none that is known came with the request.", "key_missing"),
    "403": failed("The key's role is for something else.", "key_not_for_this"),
}

_CLASSIFY: Final = {
    "tags": ["classify"],
    "summary": "Classify images of single cells",
    "description": "Classify JPEG, PNG, BMP or TIFF images of 256x256 pixels, 8 bits, RGB.\n\n"
    "One refused image does not affect the others: its place in `results` has an `error`. The status is 200 if at "
    "least one image was classified and 422, with the same body, if none was. The type of an image is told from "
    "its bytes.\n\n"
    "With `Accept: application/x-ndjson` the answer is a line of what all images share (ClassifyHead) and a line for "
    "each image as soon as it is classified, in any order: see `index`. The status is 200 even if none can be "
    "classified, and an error that ends the lines too early is the last of them (ErrorAnswer). Closing the connection "
    "withdraws the images that are left.",
    "operationId": "classify",
    "parameters": [*REQUEST_HEADERS],
    "requestBody": IMAGES,
    "responses": {str(status): response for status, response in CLASSIFY_RESPONSES.items()}
    | {"200": {**CLASSIFY_RESPONSES[200], "content": {**CLASSIFY_RESPONSES[200]["content"], LINES: _LINES}}},
}


def install(api: FastAPI) -> None:
    """Add ``/classify``, which is no route of FastAPI's, and the schemas that :func:`reference` names."""
    document = api.openapi

    def complete() -> dict[str, Any]:
        if api.openapi_schema is None:
            described = document()
            described["paths"] = {"/classify": {"post": _CLASSIFY}, **described["paths"]}
            schemas = described.get("components", {}).get("schemas", {}) | _components()
            described["components"] = {"schemas": schemas, "securitySchemes": _SCHEMES}
            for path, operations in described["paths"].items():
                for operation in operations.values() if not is_open(path) else ():
                    operation["security"] = _SECURITY
                    operation["responses"] = {**_NO_KEY, **operation["responses"]}
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
