"""What ``POST /classify`` answers, as it is made and written: the shape is that of :mod:`service.http.schemas`.

:class:`~service.http.schemas.ClassifyAnswer` documents the answer and its limits; these structs have the same names, and
the same fields in the same order, and are made and written by msgspec in a few microseconds where pydantic needs some
forty for an image. A test proves that both write the same bytes.
"""

from collections.abc import Sequence
from typing import Final

from msgspec import Raw, Struct, json

from contract.classes import CLASS_NAMES
from contract.decision import Decision
from service.http.schemas import ModelStamp

_encoder: Final = json.Encoder()


class Review(Struct, frozen=True):
    """As :class:`~service.http.schemas.Review`."""

    code: str
    message: str


class HairyCell(Struct, frozen=True):
    """As :class:`~service.http.schemas.HairyCell`."""

    probability: float | None
    flag: bool | None
    threshold: float | None
    advice: str


class ClassifiedImage(Struct, frozen=True):
    """As :class:`~service.http.schemas.ClassifiedImage`."""

    index: int
    image_sha256: str
    predicted_class: str
    probabilities: dict[str, float]
    hairy_cell: HairyCell
    review: tuple[Review, ...]

    @classmethod
    def of(cls, index: int, image_sha256: str, decision: Decision) -> "ClassifiedImage":
        """A decision as an answer."""
        hairy = decision.hairy_cell
        return cls(
            index,
            image_sha256,
            decision.predicted_class.name,
            dict(zip(CLASS_NAMES, decision.probabilities, strict=True)),
            HairyCell(hairy.probability, hairy.flag, hairy.threshold, hairy.advice),
            tuple(Review(reason.code, reason.message) for reason in decision.review),
        )


class Fault(Struct, frozen=True):
    """As :class:`~service.http.schemas.Fault`."""

    code: str
    message: str


class RefusedImage(Struct, frozen=True):
    """As :class:`~service.http.schemas.RefusedImage`."""

    index: int
    image_sha256: str
    error: Fault


class _Answer(Struct, frozen=True):
    request_id: str
    model: Raw
    results: Sequence[ClassifiedImage | RefusedImage]


class Writer:
    """Writes answers of one model, whose part of them is written once."""

    def __init__(self, stamp: ModelStamp) -> None:
        self._model = Raw(stamp.model_dump_json().encode())

    def write(self, request_id: str, results: Sequence[ClassifiedImage | RefusedImage]) -> bytes:
        """The body of an answer, UTF-8."""
        return _encoder.encode(_Answer(request_id, self._model, results))
