"""What the service answers: defined here once, written by msgspec, and described in the OpenAPI document.

msgspec makes and writes the answer for an image in a few microseconds, where pydantic needs some forty.
"""

from collections.abc import Sequence
from typing import Annotated, Any, Final, Literal, Self

from msgspec import UNSET, Meta, Struct, UnsetType, json
from pydantic import BaseModel

from contract.bundle import Bundle
from contract.classes import BY_ID, BY_NAME, CELL_CLASSES
from contract.decision import ReviewCode
from contract.description import Attribution, Calibration, DecisionPolicy, Evidence, Metric
from contract.parts import ModelFile, Precision
from contract.slide import SlideSummary
from service.settings import Device

Probability = Annotated[float, Meta(ge=0, le=1)]
ClassId = Annotated[
    str,
    Meta(
        description="One of the 20 classes, spelt the same in answers, metrics, tables and FHIR.",
        examples=[CELL_CLASSES[0].id],
        extra_json_schema={"enum": [*BY_ID]},
    ),
]
Index = Annotated[int, Meta(ge=0, description="Place of the image in the request.")]
ClientRef = Annotated[
    str | None,
    Meta(description="What the client called the image: the field `client_ref`, or the file name of its part."),
]
ImageHash = Annotated[str, Meta(description="SHA-256 of the bytes that were sent.")]


class Fault(Struct, frozen=True):
    """What went wrong: a code for software, a sentence for people."""

    code: Annotated[str, Meta(examples=["wrong_size"])]
    message: str


class ErrorAnswer(Struct, frozen=True):
    """The body of every answer that is an error as a whole."""

    request_id: str
    error: Fault


class ModelStamp(Struct, frozen=True):
    """What an answer was made with, so that it can be traced and repeated."""

    name: str
    version: str
    sha256: str
    precision: Precision
    intended_use: str
    decision_policy: str
    calibration: str
    preprocessing: str

    @classmethod
    def of(cls, bundle: Bundle, file: ModelFile) -> Self:
        description = bundle.description
        return cls(
            name=description.name,
            version=description.version,
            sha256=file.sha256,
            precision=file.precision,
            intended_use=description.intended_use,
            decision_policy=description.policy.version,
            calibration=description.calibration.id,
            preprocessing=description.input.preprocessing_version,
        )


class HairyRule(Struct, frozen=True):
    """What the hairy-cell flags of an answer mean."""

    threshold: Annotated[
        Probability | None,
        Meta(description="Smallest probability that raises the flag; `null` where the bundle cannot tell."),
    ]
    advice: Annotated[str, Meta(description="What to do about a flag, for people.")]


class Candidate(Struct, frozen=True):
    """A class that the cell may be of."""

    class_id: ClassId
    probability: Probability


class HairyCell(Struct, frozen=True):
    """Whether the cell may be a hairy cell; both are ``null`` where the bundle cannot tell."""

    probability: Probability | None
    flag: bool | None


class ImageNovelty(Struct, frozen=True):
    """How unlike the images that the model learned from this one looks."""

    score: Annotated[float, Meta(ge=0, description="Distance from them in units of the bundle's threshold.")]
    unfamiliar: Annotated[bool, Meta(description="The score is above 1: the probabilities say little.")]


class Review(Struct, frozen=True):
    """Why a technologist should look at the cell."""

    code: ReviewCode
    message: str


class ClassifiedImage(Struct, frozen=True):
    """What was said about one image; numbers have six digits after the point."""

    class_id: ClassId
    class_name: Annotated[str, Meta(description="The class for people.", examples=[CELL_CLASSES[0].name])]
    confidence: Annotated[Probability, Meta(description="The calibrated probability of the class.")]
    candidates: Annotated[
        tuple[Candidate, ...],
        Meta(
            min_length=1,
            max_length=5,
            description="The most probable first: as many as reach 95 % together, at most five.",
        ),
    ]
    hairy_cell: HairyCell
    review: Annotated[tuple[Review, ...], Meta(description="Empty: no reason for review.")]
    novelty: Annotated[ImageNovelty | None, Meta(description="`null` where the bundle cannot tell.")]
    probabilities: Annotated[
        dict[str, Probability],
        Meta(description="Calibrated, of all 20 classes in the model's order, by class id; the sum is 1."),
    ]
    index: Index
    client_ref: ClientRef
    image_sha256: ImageHash


class RefusedImage(Struct, frozen=True):
    """Why one image has no answer; the other images of the request are not affected."""

    error: Fault
    index: Index
    client_ref: ClientRef
    image_sha256: ImageHash


_EITHER: Final = {
    "anyOf": [{"$ref": f"#/components/schemas/{kind.__name__}"} for kind in (ClassifiedImage, RefusedImage)]
}


class ClassifyAnswer(Struct, frozen=True, kw_only=True):
    """One entry for each image, in the order of the request."""

    request_id: str
    model: ModelStamp
    hairy_cell: HairyRule
    # Not the union of both, which msgspec would only describe if a field told them apart.
    results: Annotated[Sequence[Any], Meta(extra_json_schema={"items": _EITHER})]


class ClassifyHead(Struct, frozen=True):
    """The first of the lines that answer one by one: what :class:`ClassifyAnswer` has beside its results."""

    request_id: str
    model: ModelStamp
    hairy_cell: HairyRule
    images: Annotated[int, Meta(description="How many lines of results follow; fewer only if an error ends them.")]


class SlideAnswer(ClassifyAnswer, frozen=True, kw_only=True):
    """What ``POST /classify`` answers, and what the cells say together."""

    summary: SlideSummary


class SummaryAnswer(Struct, frozen=True):
    """What the cells of a slide say together."""

    request_id: str
    model: Annotated[ModelStamp, Meta(description="The bundle whose evidence and rate of false flags were used.")]
    summary: SlideSummary


class StartupAnswer(Struct, frozen=True):
    """The start is over."""

    status: Literal["started"] = "started"


class LiveAnswer(Struct, frozen=True):
    """The process answers and makes progress."""

    status: Literal["live"] = "live"


class ReadyAnswer(Struct, frozen=True):
    """The model is verified and warm."""

    status: Literal["ready"] = "ready"
    audit: Annotated[
        str | UnsetType,
        Meta(description="Where rows of the audit trail go now; absent where none is kept (HAL_AUDIT)."),
    ] = UNSET


class ReloadAnswer(Struct, frozen=True):
    """What answered before a reload, and what answers now."""

    before: ModelStamp
    now: ModelStamp


class BundleFile(Struct, frozen=True):
    """One file of the bundle."""

    path: str
    precision: Precision
    sha256: str
    bytes: int


class ServedClass(Struct, frozen=True):
    """One class, and what the bundle learned it from and was measured on."""

    class_id: ClassId
    name: str
    evidence: Evidence
    training_images: int
    validation_images: int
    sources: tuple[str, ...]


class ModelAnswer(Struct, frozen=True):
    """What is served and what is known about it."""

    name: str
    version: str
    intended_use: str
    limits: tuple[str, ...]
    device: Annotated[Device | None, Meta(description="What the network runs on; null until it is loaded.")]
    max_batch: Annotated[
        int | None, Meta(description="Most images in a batch (HAL_MAX_BATCH); null until the network is loaded.")
    ]
    pixels_per_micrometre: Annotated[float, Meta(description="Scale of the images (HAL_PIXELS_PER_MICROMETRE).")]
    precision: Precision
    files: tuple[BundleFile, ...]
    classes: Annotated[tuple[ServedClass, ...], Meta(description="In output order, with evidence and counts.")]
    calibration: Calibration
    policy: DecisionPolicy
    metrics: tuple[Metric, ...]
    attributions: tuple[Attribution, ...]

    @classmethod
    def of(
        cls, bundle: Bundle, file: ModelFile, device: Device | None, max_batch: int | None, pixels_per_micrometre: float
    ) -> Self:
        """The public part of a bundle's description."""
        description = bundle.description
        return cls(
            name=description.name,
            version=description.version,
            intended_use=description.intended_use,
            limits=description.limits,
            device=device,
            max_batch=max_batch,
            pixels_per_micrometre=pixels_per_micrometre,
            precision=file.precision,
            files=tuple(
                BundleFile(entry.path, entry.precision, entry.sha256, entry.bytes) for entry in description.files
            ),
            classes=tuple(ServedClass(BY_NAME[entry.name].id, **entry.model_dump()) for entry in description.classes),
            calibration=description.calibration,
            policy=description.policy,
            metrics=description.metrics,
            attributions=description.attributions,
        )


def _plain(part: Any) -> Any:
    if isinstance(part, BaseModel):
        return part.model_dump(mode="json")
    raise NotImplementedError


encode: Final = json.Encoder(enc_hook=_plain).encode
"""An answer as JSON, UTF-8, to be ended by a newline."""
