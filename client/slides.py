"""The cells of a slide together: what the service says about them, and the results that it is asked about."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from .answers import Answer, Model, Outcome, Refused, Result, build, model_of
from .errors import OtherModelError

Interval = tuple[float, float]


@dataclass(frozen=True, slots=True)
class ClassCount:
    """One class of the differential.

    Attributes:
        class_id, class_name: the class, for software and for people; ``loinc``: its code, ``None`` if it has none.
        is_wbc: it is one of the white cells, which are the denominator of the differential.
        evidence: what the model learned it from; of a class with ``none`` the count says nothing.
        count: cells that were predicted as this class.
        per_100_wbc: per 100 white cells; ``None`` where that is not known, which is not 0.
        interval95: exact 95 % interval of ``per_100_wbc``; of white cells only.
    """

    class_id: str
    class_name: str
    loinc: str | None
    is_wbc: bool
    evidence: str
    count: int
    per_100_wbc: float | None
    interval95: Interval | None


@dataclass(frozen=True, slots=True)
class HairyCount:
    """The hairy-cell flags of a slide, tested against false flags alone.

    Attributes:
        flagged, cells: flags and the white cells that they are counted against; ``share`` is their ratio, 0 to 1.
        interval95: exact 95 % interval of ``share``.
        false_flag_rate: the rate that a cell that is not hairy is flagged at, 0 to 1; ``false_flag_basis``: its source.
        p_value: probability of as many flags or more if no cell were hairy.
    """

    flagged: int
    cells: int
    share: float | None
    interval95: Interval | None
    false_flag_rate: float
    false_flag_basis: str
    p_value: float


@dataclass(frozen=True, slots=True)
class UnfamiliarCount:
    """The images of a slide that look unlike those that the model learned from, tested against the rate expected.

    Attributes:
        unfamiliar, images: how many, of how many classified ones.
        familiar_rate: the rate that images like those learned from are called unfamiliar at, 0 to 1.
        p_value: probability of as many or more at that rate.
    """

    unfamiliar: int
    images: int
    familiar_rate: float
    p_value: float


@dataclass(frozen=True, slots=True)
class Summary:
    """What the cells of a slide say together; advice for a qualified technologist, never a diagnosis.

    Attributes:
        request_id, model: of the answer that it came with.
        images: all images, those refused included; ``duplicates`` had occurred before and do not count.
        white_cells: the denominator of the differential.
        doubtful: cells with reasons for review.
        differential: a row for each class.
        hairy: ``None`` where the model cannot tell, which is not "no"; so is ``unfamiliar``.
        advice: ``no indication``, ``follow up by flow cytometry``, ``too few cells``, ``not supported by this bundle``
            or ``not supported on these images``; ``reason``: why, in a sentence.
        cautions: what a reader must know before believing any of it.
        document: what was received.
    """

    request_id: str
    model: Model
    images: int
    refused: int
    duplicates: int
    white_cells: int
    doubtful: int
    differential: tuple[ClassCount, ...] = field(repr=False)
    hairy: HairyCount | None
    unfamiliar: UnfamiliarCount | None
    advice: str
    reason: str
    cautions: tuple[str, ...]
    document: Mapping[str, Any] = field(repr=False, compare=False)


@dataclass(frozen=True, slots=True)
class Slide:
    """The images of one slide, each with its outcome, in their order, and what they say together."""

    outcomes: tuple[Outcome, ...] = field(repr=False)
    summary: Summary


Resource = Mapping[str, Any]
"""A FHIR resource as JSON."""


@dataclass(frozen=True, slots=True)
class FhirReport:
    """A ``Bundle`` of type ``collection``, made and validated by the service; everything in it is ``preliminary``.

    It names no patient, no specimen and no performer: who imports it adds them.

    Attributes:
        request_id: of the answer that it came in.
        report: the ``DiagnosticReport``.
        observations: each ``Observation`` of the report, in its order: white cells, classes, hairy-cell flags.
        device: the ``Device``, which names the exact model.
        document: the whole bundle as it was received.
    """

    request_id: str
    report: Resource = field(repr=False)
    observations: tuple[Resource, ...] = field(repr=False)
    device: Resource = field(repr=False)
    document: Resource = field(repr=False)

    @property
    def conclusion(self) -> str:
        """Advice, reason and cautions in sentences."""
        return str(self.report["conclusion"])


def summary_of(document: Mapping[str, Any]) -> Summary:
    """The body of ``POST /slides/summary``, or the part of ``POST /slides/classify`` that it has in common.

    Raises:
        KeyError, TypeError, ValueError: it is something else.
    """
    given = document["summary"]
    hairy, unfamiliar = given["hairy"], given.get("unfamiliar")
    return build(
        Summary,
        given,
        request_id=str(document["request_id"]),
        model=model_of(document),
        differential=tuple(build(ClassCount, row, interval95=_interval(row)) for row in given["differential"]),
        hairy=None if hairy is None else build(HairyCount, hairy, interval95=_interval(hairy)),
        unfamiliar=None if unfamiliar is None else build(UnfamiliarCount, unfamiliar),
        cautions=tuple(given["cautions"]),
        document=given,
    )


def report_of(document: Mapping[str, Any], request_id: str) -> FhirReport:
    """The body of ``POST /slides/summary?format=fhir``.

    Raises:
        KeyError, TypeError, ValueError: it is something else.
    """
    if document["resourceType"] != "Bundle":
        raise ValueError(f"a {document['resourceType']}, expected a Bundle")
    by_url = {entry["fullUrl"]: entry["resource"] for entry in document["entry"]}
    (report,) = (resource for resource in by_url.values() if resource["resourceType"] == "DiagnosticReport")
    (device,) = (resource for resource in by_url.values() if resource["resourceType"] == "Device")
    observations = tuple(by_url[result["reference"]] for result in report["result"])
    return FhirReport(request_id, report, observations, device, document)


def results_document(parts: Iterable[Answer | Outcome], request_id: str) -> dict[str, Any]:
    """The body of a request to ``POST /slides/summary``: of each result only what a summary needs.

    Raises:
        OtherModelError: the results come from several models, and one model's evidence says nothing about another's.
    """
    results: list[Result] = []
    models: dict[tuple[str, object, float | None], Model] = {}
    for part in parts:
        results += part.results if isinstance(part, Answer) else [part.result]
        if part.model is not None:
            threshold = None if part.hairy_rule is None else part.hairy_rule.threshold
            models[part.model.sha256, part.model.document.get("decision_policy"), threshold] = part.model
    if len(models) > 1:
        served = ", ".join(f"{model.name} {model.version} ({model.sha256[:12]})" for model in models.values())
        raise OtherModelError(
            f"The results of one slide come from {len(models)} models: {served}; classify them again", request_id
        )
    document: dict[str, Any] = {"results": [_slim(result) for result in results]}
    for sha256, policy, threshold in models:
        document |= {"model": {"sha256": sha256, "decision_policy": policy}, "hairy_cell": {"threshold": threshold}}
    return document


def _slim(result: Result) -> dict[str, Any]:
    image = {"image_sha256": result.image_sha256 or None}
    if isinstance(result, Refused):
        return {**image, "error": {"code": result.code}}
    return {
        **image,
        "class_id": result.class_id,
        "hairy_cell": {"flag": result.hairy_cell.flag},
        "novelty": None if result.novelty is None else {"unfamiliar": result.novelty.unfamiliar},
        "review": [{"code": reason.code} for reason in result.review],
    }


def _interval(document: Mapping[str, Any]) -> Interval | None:
    if document["interval95"] is None:
        return None
    low, high = document["interval95"]
    return float(low), float(high)
