"""What the service answers: defined here once, written by msgspec, and described in the OpenAPI document.

msgspec makes and writes the answer for an image in a few microseconds, where pydantic needs some forty.
"""

from collections.abc import Sequence
from typing import Annotated, Any, Final, Literal, Self

from msgspec import UNSET, Meta, Struct, UnsetType, json
from pydantic import BaseModel

from contract.bundle import Bundle
from contract.classes import CLASS_NAMES
from contract.decision import ReviewCode
from contract.description import (
    Attribution,
    Calibration,
    ClassEvidence,
    DecisionPolicy,
    Metric,
    ModelFile,
    Precision,
)
from contract.slide import SlideSummary
from service.settings import Device

Probability = Annotated[float, Meta(ge=0, le=1)]
Index = Annotated[int, Meta(ge=0, description="Place of the image in the request.")]
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
        """The stamp of ``file`` of ``bundle``."""
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


class HairyCell(Struct, frozen=True):
    """Whether the cell may be a hairy cell; all ``null`` but ``advice`` where the bundle cannot tell."""

    probability: Probability | None
    flag: bool | None
    threshold: Probability | None
    advice: str


class ImageNovelty(Struct, frozen=True):
    """How unlike the images that the model learned from this one looks."""

    score: Annotated[float, Meta(ge=0, description="Distance from them in units of the bundle's threshold.")]
    unfamiliar: Annotated[bool, Meta(description="The score is above 1: the probabilities say little.")]


class Review(Struct, frozen=True):
    """Why a technologist should look at the cell."""

    code: ReviewCode
    message: str


class ClassifiedImage(Struct, frozen=True):
    """What was said about one image."""

    index: Index
    image_sha256: ImageHash
    predicted_class: Annotated[str, Meta(examples=[CLASS_NAMES[0]])]
    probabilities: Annotated[
        dict[str, Probability],
        Meta(description="Calibrated, by class name in the order of the 20 classes; the sum is 1."),
    ]
    hairy_cell: HairyCell
    novelty: Annotated[ImageNovelty | None, Meta(description="`null` where the bundle cannot tell.")]
    review: Annotated[tuple[Review, ...], Meta(description="Empty: no reason for review.")]


class RefusedImage(Struct, frozen=True):
    """Why one image has no answer; the other images of the request are not affected."""

    index: Index
    image_sha256: ImageHash
    error: Fault


_EITHER: Final = {
    "anyOf": [{"$ref": f"#/components/schemas/{kind.__name__}"} for kind in (ClassifiedImage, RefusedImage)]
}


class ClassifyAnswer(Struct, frozen=True, kw_only=True):
    """One entry for each image, in the order of the request."""

    request_id: str
    model: ModelStamp
    # Not the union of both, which msgspec would only describe if a field told them apart.
    results: Annotated[Sequence[Any], Meta(extra_json_schema={"items": _EITHER})]


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
    classes: Annotated[tuple[ClassEvidence, ...], Meta(description="In output order, with evidence and counts.")]
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
            classes=description.classes,
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
"""An answer as JSON, UTF-8."""
