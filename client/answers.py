"""The service's answers as frozen dataclasses; ``document`` keeps what was received, unknown fields included."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, fields
from typing import Any, TypeVar

from .images import Source


@dataclass(frozen=True, slots=True)
class Model:
    """What an answer was made with."""

    name: str
    version: str
    sha256: str
    precision: str
    intended_use: str
    document: Mapping[str, Any] = field(repr=False, compare=False)


@dataclass(frozen=True, slots=True)
class HairyRule:
    """What the hairy-cell flags of an answer mean: raised from ``threshold`` on; ``advice`` is for people."""

    threshold: float | None
    advice: str


@dataclass(frozen=True, slots=True)
class Candidate:
    """A class that the cell may be of."""

    class_id: str
    probability: float


@dataclass(frozen=True, slots=True)
class HairyCell:
    """Whether the cell may be a hairy cell; both are ``None`` where the model cannot tell, which is not "no"."""

    probability: float | None
    flag: bool | None


@dataclass(frozen=True, slots=True)
class ImageNovelty:
    """How unlike the images that the model learned from this one looks: a score above 1 is ``unfamiliar``."""

    score: float
    unfamiliar: bool


@dataclass(frozen=True, slots=True)
class Review:
    """Why a technologist should look at the cell."""

    code: str
    message: str


@dataclass(frozen=True, slots=True)
class Classified:
    """One image, classified.

    Attributes:
        class_id, class_name: the most probable class, for software and for people; ``confidence``: its probability.
        candidates: the most probable classes first: as many as reach 95 % together, at most five.
        hairy_cell: whether it may be a hairy cell.
        review: why a technologist should look; empty where there is no reason.
        novelty: how unfamiliar the image looks; ``None`` where the model cannot tell.
        probabilities: of all 20 classes by class id, 0 to 1, with the sum 1.
        client_ref: what the request called the image.
        image_sha256: of the bytes that were sent.
        document: what was received.
    """

    class_id: str
    class_name: str
    confidence: float
    candidates: tuple[Candidate, ...] = field(repr=False)
    hairy_cell: HairyCell
    review: tuple[Review, ...]
    novelty: ImageNovelty | None
    probabilities: Mapping[str, float] = field(repr=False)
    client_ref: str | None
    image_sha256: str
    document: Mapping[str, Any] = field(repr=False, compare=False)


@dataclass(frozen=True, slots=True)
class Refused:
    """One image that could not be classified, and why; ``image_sha256`` is empty for a file that cannot be read."""

    code: str
    message: str
    client_ref: str | None
    image_sha256: str
    document: Mapping[str, Any] = field(repr=False, compare=False)


Result = Classified | Refused


@dataclass(frozen=True, slots=True)
class Answer:
    """The answer to one request: a result for each image, in the order of the request."""

    request_id: str
    model: Model
    hairy_rule: HairyRule
    results: tuple[Result, ...]


@dataclass(frozen=True, slots=True)
class Outcome:
    """What became of one of many images.

    Attributes:
        index: its place among the images that were given, from 0.
        source: the path or the bytes that were given.
        result: what the service said about it.
        model, hairy_rule: what it was made with; ``None`` if the image never reached the network.
        request_id: the request that it was part of; empty if it never was in one.
    """

    index: int
    source: Source = field(repr=False)
    result: Result
    model: Model | None
    hairy_rule: HairyRule | None
    request_id: str


Parsed = TypeVar("Parsed")


def build(kind: Callable[..., Parsed], document: Mapping[str, Any], /, **made: Any) -> Parsed:
    """A dataclass of this name and its fields from a document; those that are ``made`` are given as they are.

    Raises:
        KeyError, TypeError: the document lacks one.
    """
    names = (field.name for field in fields(kind))  # type: ignore[arg-type]
    return kind(**{name: made[name] if name in made else document[name] for name in names})


def answer_of(document: Mapping[str, Any]) -> Answer:
    """The body of ``POST /classify`` with status 200 or 422.

    Raises:
        KeyError, TypeError, ValueError: it is something else.
    """
    results = tuple(result_of(result) for result in document["results"])
    return Answer(str(document["request_id"]), model_of(document), build(HairyRule, document["hairy_cell"]), results)


def model_of(document: Mapping[str, Any]) -> Model:
    """The ``model`` of an answer."""
    return build(Model, document["model"], document=document["model"])


def result_of(document: Mapping[str, Any]) -> Result:
    """One of the ``results`` of an answer.

    Raises:
        KeyError, TypeError: it is something else.
    """
    if "error" in document:
        fault = document["error"]
        return Refused(fault["code"], fault["message"], document["client_ref"], document["image_sha256"], document)
    return build(
        Classified,
        document,
        candidates=tuple(build(Candidate, candidate) for candidate in document["candidates"]),
        hairy_cell=build(HairyCell, document["hairy_cell"]),
        review=tuple(build(Review, reason) for reason in document["review"]),
        novelty=None if document["novelty"] is None else build(ImageNovelty, document["novelty"]),
        document=document,
    )


def refused_here(image_sha256: str, code: str, message: str) -> Refused:
    """A refusal by this client in the form of the service's."""
    document = {"error": {"code": code, "message": message}, "image_sha256": image_sha256}
    return Refused(code, message, None, image_sha256, document)
