"""The Open Inference Protocol, version 2: tensors in and out, as JSON or in binary behind it.

Source: KServe's ``open_inference_rest.yaml`` and Triton's ``extension_binary_data.md``. Nothing here knows HTTP.
"""

import codecs
import re
from collections.abc import Iterable, Mapping
from itertools import chain
from typing import Annotated, Any, Final, NamedTuple

import numpy as np
from msgspec import Meta, Raw, Struct, ValidationError, json
from numpy.typing import NDArray

from contract.classes import CELL_CLASSES, CLASS_COUNT
from contract.parts import EMBEDDING_SIZE, IMAGE_SIDE
from service.errors import ServiceError

INPUT: Final = "image"
LOGITS: Final = "logits"
PROBABILITIES: Final = "probabilities"
EMBEDDING: Final = "embedding"
SHAPE: Final = (IMAGE_SIDE, IMAGE_SIDE, 3)
OUTPUTS: Final = {LOGITS: CLASS_COUNT, PROBABILITIES: CLASS_COUNT, EMBEDDING: EMBEDDING_SIZE}
DEFAULT_OUTPUTS: Final = (LOGITS, PROBABILITIES)
LABELLED: Final = (LOGITS, PROBABILITIES)
EXTENSIONS: Final = ("binary_tensor_data", "classification", "model_configuration", "statistics")
HEADER_LENGTH: Final = "Inference-Header-Content-Length"
SPECIFICATION: Final = "https://github.com/kserve/open-inference-protocol"
_MAX_HEAD_BYTES: Final = 1 << 16
"""JSON in front of a binary tensor; it takes some hundred bytes."""


class InferenceRequestError(ServiceError):
    """The request breaks the protocol or does not fit this model; the message says what is expected."""

    status, code = 400, "invalid_request"


class _Parameters(Struct, frozen=True):
    """The parameters that this service reads; it ignores all others."""

    binary_data_size: int | None = None
    binary_data: bool | None = None
    binary_data_output: bool | None = None
    classification: Annotated[int, Meta(ge=0)] | None = None


_NO_PARAMETERS: Final = _Parameters()


class _Input(Struct, frozen=True):
    name: str
    datatype: str
    shape: Annotated[list[int], Meta(max_length=8)]
    parameters: _Parameters = _NO_PARAMETERS
    data: Raw = Raw()


class _Output(Struct, frozen=True):
    name: str
    parameters: _Parameters = _NO_PARAMETERS


class _Request(Struct, frozen=True):
    inputs: Annotated[list[_Input], Meta(min_length=1, max_length=1)]
    id: Annotated[str, Meta(max_length=256)] | None = None
    parameters: _Parameters = _NO_PARAMETERS
    outputs: list[_Output] | None = None


_Value = Annotated[int, Meta(ge=0, le=255)]
_Row = Annotated[list[tuple[_Value, _Value, _Value]], Meta(min_length=IMAGE_SIDE, max_length=IMAGE_SIDE)]
_Image = Annotated[list[_Row], Meta(min_length=IMAGE_SIDE, max_length=IMAGE_SIDE)]
_requests: Final = json.Decoder(_Request)
_flat: Final = json.Decoder(list[_Value])
_nested: Final = json.Decoder(list[_Image])
_NESTED: Final = re.compile(rb"\s*\[\s*\[")


class Wanted(NamedTuple):
    """How an output goes out: in binary or as JSON; as numbers, or as its ``top`` values with their labels."""

    binary: bool
    top: int = 0


class InferenceRequest(NamedTuple):
    """What a client asked for: images ``[n, 256, 256, 3]``, and outputs in the order in which they go out."""

    id: str | None
    images: NDArray[np.uint8]
    outputs: Mapping[str, Wanted]


def read_request(body: bytes, header_length: str | None, max_images: int) -> InferenceRequest:
    """What ``body`` asks for: JSON, and behind it a tensor if the client says the length of the JSON.

    Raises:
        InferenceRequestError: the body breaks the protocol or does not fit this model.
    """
    head, tail = _split(body, header_length)
    try:
        request = _requests.decode(head[3:] if bytes(head[:3]) == codecs.BOM_UTF8 else head)  # RFC 8259, 8.1
    except ValidationError as error:
        raise InferenceRequestError(f"not a request of the protocol: {str(error)[:200]}") from None
    except (ValueError, RecursionError) as error:
        raise InferenceRequestError(f"the request is not JSON: {str(error)[:200]}") from None
    return InferenceRequest(request.id, _images(request.inputs[0], tail, max_images), _outputs(request))


def _split(body: bytes, header_length: str | None) -> tuple[memoryview, memoryview]:
    view = memoryview(body)
    if header_length is None:
        return view, view[len(body) :]
    digits = header_length.strip()
    most = min(len(body), _MAX_HEAD_BYTES)
    if not (digits.isascii() and digits.isdigit() and len(digits) < 12 and int(digits) <= most):
        raise InferenceRequestError(
            f"{HEADER_LENGTH} is {header_length[:20]!r}, expected the bytes of the JSON part, at most {most}"
        )
    return view[: int(digits)], view[int(digits) :]


def _images(given: _Input, tail: memoryview, max_images: int) -> NDArray[np.uint8]:
    count = given.shape[0] if given.shape else 0
    if (given.name, given.datatype, tuple(given.shape[1:])) != (INPUT, "UINT8", SHAPE) or not 0 < count <= max_images:
        raise InferenceRequestError(
            f"input is {given.name[:50]!r}, {given.datatype[:20]}, shape {given.shape}; expected input {INPUT!r}, "
            f"UINT8, shape [n, {', '.join(map(str, SHAPE))}] with n from 1 to {max_images}"
        )
    size = count * SHAPE[0] * SHAPE[1] * SHAPE[2]
    declared = given.parameters.binary_data_size
    values: bytes | memoryview = tail
    if declared is None:
        if len(tail):
            raise InferenceRequestError(f"{len(tail)} bytes follow the JSON; expected binary_data_size to name them")
        values = _numbers(bytes(given.data), size)
    elif declared != size or len(tail) != size:
        raise InferenceRequestError(
            f"binary_data_size is {declared} and {len(tail)} bytes follow the JSON; expected {size} of both"
        )
    return np.frombuffer(values, np.uint8).reshape(count, *SHAPE)


def _numbers(data: bytes, size: int) -> bytes:
    """The numbers of ``data``, JSON, as ``size`` bytes; their list is flat, or nested as the shape says."""
    if data in (b"", b"null"):
        raise InferenceRequestError("the input has neither data nor the parameter binary_data_size")
    values: Iterable[int]
    try:
        if _NESTED.match(data):
            rows = chain.from_iterable(_nested.decode(data))
            values = chain.from_iterable(chain.from_iterable(rows))
        else:
            values = _flat.decode(data)
    except (ValidationError, RecursionError) as error:
        raise InferenceRequestError(
            f"the input's data must be whole numbers from 0 to 255, flat or nested as its shape: {str(error)[:200]}"
        ) from None
    pixels = bytes(values)
    if len(pixels) != size:
        raise InferenceRequestError(f"the input's data has {len(pixels)} numbers, expected {size}")
    return pixels


def _outputs(request: _Request) -> dict[str, Wanted]:
    all_binary = request.parameters.binary_data_output is True
    if not request.outputs:
        return dict.fromkeys(DEFAULT_OUTPUTS, Wanted(all_binary))
    wanted = {}
    for output in request.outputs:
        if output.name not in OUTPUTS:
            raise InferenceRequestError(f"output {output.name[:50]!r} does not exist; expected {', '.join(OUTPUTS)}")
        top = output.parameters.classification or 0
        if top and output.name not in LABELLED:
            raise InferenceRequestError(f"{output.name!r} has no labels; classification is of {' or '.join(LABELLED)}")
        binary = output.parameters.binary_data
        wanted[output.name] = Wanted(all_binary if binary is None else binary, top)
    return wanted


def write_answer(
    model: str, version: str, request: InferenceRequest, outputs: Mapping[str, NDArray[np.float32]]
) -> tuple[bytes, int | None]:
    """The answer's body, and the bytes of its JSON part if binary tensors follow it.

    ``outputs`` are ``[n, size]`` for each name that was asked for.
    """
    described: list[dict[str, Any]] = []
    tails: list[bytes] = []
    for name, wanted in request.outputs.items():
        tensor = np.ascontiguousarray(outputs[name], np.float32)
        if wanted.top:
            labels = _labelled(tensor, wanted.top)
            shape = [len(tensor), len(labels) // len(tensor)]
            entry: dict[str, Any] = {"name": name, "datatype": "BYTES", "shape": shape}
        else:
            entry = {"name": name, "datatype": "FP32", "shape": list(tensor.shape)}
        if not wanted.binary:
            entry["data"] = labels if wanted.top else tensor.ravel().tolist()
        else:
            # Little endian on the wire, whatever the machine; each label with its length in front.
            tails.append(
                b"".join(len(label).to_bytes(4, "little") + label.encode() for label in labels)
                if wanted.top
                else tensor.astype("<f4", copy=False).tobytes()
            )
            entry["parameters"] = {"binary_data_size": len(tails[-1])}
        described.append(entry)
    answer: dict[str, Any] = {"model_name": model, "model_version": version, "outputs": described}
    if request.id is not None:
        answer["id"] = request.id
    head = json.encode(answer)
    return (head + b"".join(tails), len(head)) if tails else (head, None)


def _labelled(values: NDArray[np.float32], top: int) -> list[str]:
    """``value:index:class id`` of the largest values of each row, one row after the other."""
    order = np.argsort(-values, axis=1, kind="stable")[:, :top]
    return [
        f"{row[index]:f}:{index}:{CELL_CLASSES[index].id}"
        for row, indices in zip(values, order, strict=True)
        for index in indices.tolist()
    ]
