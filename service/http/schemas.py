"""The answers of the service."""

from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field

from contract.bundle import Bundle
from contract.classes import CLASS_NAMES
from contract.decision import Decision, ReviewCode
from contract.description import Attribution, Calibration, ClassEvidence, DecisionPolicy, Metric, ModelFile, Precision
from service.engine.tuning import Tuning
from service.settings import Device

Probability = Annotated[float, Field(ge=0, le=1)]


class _Answer(BaseModel):
    model_config = ConfigDict(frozen=True, protected_namespaces=())


class Fault(_Answer):
    """What went wrong: a code for software, a sentence for people."""

    code: Annotated[str, Field(examples=["wrong_size"])]
    message: str


class ErrorAnswer(_Answer):
    """The body of every answer that is an error as a whole."""

    request_id: str
    error: Fault


class ModelStamp(_Answer):
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
    def of(cls, bundle: Bundle, file: ModelFile) -> "ModelStamp":
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


class HairyCell(_Answer):
    """Whether the cell may be a hairy cell; all ``null`` but ``advice`` where the bundle cannot tell."""

    probability: Probability | None
    flag: bool | None
    threshold: Probability | None
    advice: str


class Review(_Answer):
    """Why a technologist should look at the cell."""

    code: ReviewCode
    message: str


class ClassifiedImage(_Answer):
    """What was said about one image."""

    index: Annotated[int, Field(ge=0, description="Place of the image in the request.")]
    image_sha256: Annotated[str, Field(description="SHA-256 of the bytes that were sent.")]
    predicted_class: Annotated[str, Field(examples=[CLASS_NAMES[0]])]
    probabilities: Annotated[
        dict[str, Probability],
        Field(description="Calibrated, by class name in the order of the 20 classes; the sum is 1."),
    ]
    hairy_cell: HairyCell
    review: Annotated[tuple[Review, ...], Field(description="Empty: no reason for review.")]

    @classmethod
    def of(cls, index: int, image_sha256: str, decision: Decision) -> "ClassifiedImage":
        """A decision as an answer."""
        hairy = decision.hairy_cell
        return cls(
            index=index,
            image_sha256=image_sha256,
            predicted_class=decision.predicted_class.name,
            probabilities=dict(zip(CLASS_NAMES, decision.probabilities, strict=True)),
            hairy_cell=HairyCell(
                probability=hairy.probability, flag=hairy.flag, threshold=hairy.threshold, advice=hairy.advice
            ),
            review=tuple(Review(code=reason.code, message=reason.message) for reason in decision.review),
        )


class RefusedImage(_Answer):
    """Why one image has no answer; the other images of the request are not affected."""

    index: Annotated[int, Field(ge=0)]
    image_sha256: str
    error: Fault


class ClassifyAnswer(_Answer):
    """The answer to ``POST /classify``: one entry for each image, in the order of the request."""

    request_id: str
    model: ModelStamp
    results: tuple[ClassifiedImage | RefusedImage, ...]


class StartupAnswer(_Answer):
    """The start is over."""

    status: Literal["started"] = "started"


class LiveAnswer(_Answer):
    """The process answers and makes progress."""

    status: Literal["live"] = "live"


class ReadyAnswer(_Answer):
    """The model is verified and warm."""

    status: Literal["ready"] = "ready"
    audit: Annotated[
        Literal["database", "journal"] | None,
        Field(description="Where rows of the audit trail go now; absent where none is kept (HAL_AUDIT)."),
    ] = None


class ReloadAnswer(_Answer):
    """What answered before a reload, and what answers now."""

    before: ModelStamp
    now: ModelStamp


class BundleFile(_Answer):
    """One file of the bundle."""

    path: str
    precision: Precision
    sha256: str
    bytes: int


class MeasuredBatch(_Answer):
    """What a batch takes: when the model was opened, or in use if ``revised``."""

    images: int
    ms: float


class Batching(_Answer):
    """How large batches may be, and why."""

    limit: Annotated[int, Field(description="Most images in a batch.")]
    target_ms: Annotated[int, Field(description="HAL_LATENCY_TARGET_MS; two batches should not take longer.")]
    measured: tuple[MeasuredBatch, ...]
    revised: Annotated[
        bool, Field(description="Whether it was chosen again in use, since other work had disturbed the start.")
    ] = False

    @classmethod
    def of(cls, tuning: Tuning) -> "Batching":
        """What was chosen."""
        measured = tuple(MeasuredBatch(images=time.images, ms=round(time.ms, 3)) for time in tuning.measured)
        return cls(limit=tuning.limit, target_ms=tuning.target_ms, measured=measured, revised=tuning.revised)


class ModelAnswer(_Answer):
    """What is served and what is known about it."""

    name: str
    version: str
    intended_use: str
    limits: tuple[str, ...]
    device: Annotated[Device | None, Field(description="What the network runs on; null until it is loaded.")]
    batching: Annotated[Batching | None, Field(description="Measured once the model is loaded; null until then.")]
    precision: Precision
    files: tuple[BundleFile, ...]
    classes: Annotated[tuple[ClassEvidence, ...], Field(description="In output order, with evidence and counts.")]
    calibration: Calibration
    policy: DecisionPolicy
    metrics: tuple[Metric, ...]
    attributions: tuple[Attribution, ...]

    @classmethod
    def of(cls, bundle: Bundle, file: ModelFile, device: Device | None, tuning: Tuning | None = None) -> "ModelAnswer":
        """The public part of a bundle's description."""
        description = bundle.description
        return cls(
            name=description.name,
            version=description.version,
            intended_use=description.intended_use,
            limits=description.limits,
            device=device,
            batching=None if tuning is None else Batching.of(tuning),
            precision=file.precision,
            files=tuple(
                BundleFile(path=entry.path, precision=entry.precision, sha256=entry.sha256, bytes=entry.bytes)
                for entry in description.files
            ),
            classes=description.classes,
            calibration=description.calibration,
            policy=description.policy,
            metrics=description.metrics,
            attributions=description.attributions,
        )
