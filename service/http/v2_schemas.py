"""What OpenAPI tells of ``POST /v2/models/{name}/infer``; the protocol is KServe's ``open_inference_rest.yaml``."""

from typing import Any, Final

from service.http.documentation import REQUEST_HEADERS
from service.http.inference_protocol import DEFAULT_OUTPUTS, EMBEDDING, HEADER_LENGTH, INPUT, OUTPUT_SIZES, SHAPE

_IMAGE: Final = {
    "type": "object",
    "required": ["name", "datatype", "shape"],
    "properties": {
        "name": {"type": "string", "enum": [INPUT]},
        "datatype": {"type": "string", "enum": ["UINT8"]},
        "shape": {"type": "array", "items": {"type": "integer"}, "example": [1, *SHAPE]},
        "data": {"type": "array", "items": {}, "description": "Numbers from 0 to 255, flat or nested as the shape."},
        "parameters": {"type": "object", "properties": {"binary_data_size": {"type": "integer"}}},
    },
}
_WISH: Final = {
    "type": "object",
    "required": ["name"],
    "properties": {
        "name": {"type": "string", "enum": [*OUTPUT_SIZES]},
        "parameters": {"type": "object", "properties": {"binary_data": {"type": "boolean"}}},
    },
}
_ID: Final = {"type": "string", "maxLength": 256}
_ASKED: Final = {
    "type": "object",
    "required": ["inputs"],
    "properties": {
        "id": _ID,
        "parameters": {"type": "object", "properties": {"binary_data_output": {"type": "boolean"}}},
        "inputs": {"type": "array", "minItems": 1, "maxItems": 1, "items": _IMAGE},
        "outputs": {
            "type": "array",
            "items": _WISH,
            "description": f"Not given: {' and '.join(DEFAULT_OUTPUTS)}; {EMBEDDING} only if asked for.",
        },
    },
}
_TENSOR: Final = {
    "type": "object",
    "required": ["name", "datatype", "shape"],
    "properties": {
        "name": {"type": "string", "enum": [*OUTPUT_SIZES]},
        "datatype": {"type": "string", "enum": ["FP32"]},
        "shape": {"type": "array", "items": {"type": "integer"}},
        "data": {"type": "array", "items": {"type": "number"}},
        "parameters": {"type": "object", "properties": {"binary_data_size": {"type": "integer"}}},
    },
}
_ANSWERED: Final = {
    "type": "object",
    "required": ["model_name", "model_version", "outputs"],
    "properties": {
        "model_name": {"type": "string"},
        "model_version": {"type": "string"},
        "id": _ID,
        "outputs": {"type": "array", "items": _TENSOR},
    },
}
_ERROR: Final = {"type": "object", "required": ["error"], "properties": {"error": {"type": "string"}}}
_BEHIND_JSON: Final = {"schema": {"type": "string", "format": "binary"}}


def _error(description: str) -> dict[str, Any]:
    return {"description": description, "content": {"application/json": {"schema": _ERROR}}}


INFER_RESPONSES: Final[dict[int | str, dict[str, Any]]] = {
    200: {
        "description": f"A tensor for each output; binary ones follow the JSON, whose bytes {HEADER_LENGTH} tells.",
        "content": {"application/json": {"schema": _ANSWERED}, "application/octet-stream": _BEHIND_JSON},
    },
    400: _error("It is no request of the protocol or not one for this model, or a header is wrong."),
    404: _error("There is no model of that name or version."),
    408: _error("The body did not arrive in time."),
    413: _error("The body has too many bytes: send fewer images, or a binary tensor in place of JSON."),
    415: _error("The body is compressed."),
    429: _error("The queue is full."),
    500: _error("The network failed on an image, or something unexpected went wrong."),
    503: _error("The model is not ready yet, or the service is stopping."),
    504: _error("An image was not classified before the deadline."),
    # FastAPI would add 422 for the names in the path, of which every one can be read.
    "default": _error("Another refusal."),
}
INFER_REQUEST: Final = {
    "parameters": [
        *REQUEST_HEADERS,
        {
            "name": HEADER_LENGTH,
            "in": "header",
            "required": False,
            "description": "Bytes of the JSON part, if a binary tensor follows it.",
            "schema": {"type": "integer", "minimum": 0},
        },
    ],
    "requestBody": {
        "required": True,
        "description": "JSON; with a binary tensor behind it an image takes a fifth of the bytes.",
        "content": {"application/json": {"schema": _ASKED}, "application/octet-stream": _BEHIND_JSON},
    },
}
