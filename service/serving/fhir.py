"""A slide's summary as FHIR R4: one DiagnosticReport, its Observations and the Device that made them.

Everything is ``preliminary`` until somebody has signed, and ``final`` then. Patient, specimen, order and performer are
passed through where they are given; HAL knows none. ``conclusionCode`` stays empty: advice is not a diagnosis.
Built and validated by fhir.resources, whose R4B (4.3) differs from R4 (4.0.1) in no element used here.
"""

import uuid
from collections.abc import Iterable
from datetime import UTC, datetime
from typing import Any, Final

from contract.classes import BY_ID, Lineage
from contract.description import Evidence
from contract.differential import DifferentialRow
from contract.slide import HairyCount, SlideSummary
from service.serving.answers import ModelStamp
from service.slides import GivenReport

MEDIA_TYPE: Final = "application/fhir+json"
CLASS_SYSTEM: Final = "urn:hal:class_id"
"""Of codes that are class ids of HAL's, as in every other answer."""
_LOINC: Final = "http://loinc.org"
_UCUM: Final = "http://unitsofmeasure.org"
_PANEL: Final = "69738-3"
_CATEGORIES: Final = "http://terminology.hl7.org/CodeSystem/observation-category"
_SECTIONS: Final = "http://terminology.hl7.org/CodeSystem/v2-0074"
_ABSENT: Final = "http://terminology.hl7.org/CodeSystem/data-absent-reason"
_DISCLAIMER: Final = "Preliminary, for research use; to be confirmed by a qualified technologist."


def fhir_bundle(summary: SlideSummary, model: ModelStamp, report: GivenReport | None = None) -> str:
    """A FHIR ``Bundle`` of type ``collection`` as JSON."""
    # Its import takes half a second, which a service without such reports does not need.
    from fhir.resources.R4B.bundle import Bundle

    given = report or GivenReport()
    made = datetime.now(UTC).isoformat(timespec="seconds")
    device, observations = _device(model), [*_observations(summary, final=given.signed_by is not None)]
    entries = [_entry(device)]
    for observation in observations:
        specimen = {"specimen": {"reference": given.specimen}} if given.specimen else {}
        about = {"device": {"reference": entries[0]["fullUrl"]}, "issued": made, **_context(given), **specimen}
        entries.append(_entry(observation | about))
    # The report first, as a reader expects it.
    first = _entry(_report(summary, given, made, [entry["fullUrl"] for entry in entries[1:]]))
    document = {"resourceType": "Bundle", "type": "collection", "timestamp": made, "entry": [first, *entries]}
    return str(Bundle.model_validate(document).model_dump_json())


def _entry(resource: dict[str, Any]) -> dict[str, Any]:
    return {"fullUrl": f"urn:uuid:{uuid.uuid4()}", "resource": resource}


def _device(model: ModelStamp) -> dict[str, Any]:
    return {
        "resourceType": "Device",
        "deviceName": [{"name": f"HAL {model.name} {model.version} ({model.precision})", "type": "model-name"}],
        "version": [
            {"type": {"text": "model"}, "value": model.version},
            {"type": {"text": "SHA-256 of the ONNX file"}, "value": model.sha256},
            {"type": {"text": "decision policy"}, "value": model.decision_policy},
        ],
        "note": [{"text": model.intended_use}],
    }


def _context(given: GivenReport) -> dict[str, Any]:
    """What a report and its observations have alike: status, and references where there are any."""
    performer = {"reference": given.performer} if given.performer else {}
    performer |= {"display": given.signed_by} if given.signed_by else {}
    return {
        "status": "final" if given.signed_by else "preliminary",
        **({"subject": {"reference": given.subject}} if given.subject else {}),
        **({"basedOn": [{"reference": given.based_on}]} if given.based_on else {}),
        **({"performer": [performer]} if performer else {}),
    }


def _report(summary: SlideSummary, given: GivenReport, made: str, observations: Iterable[str]) -> dict[str, Any]:
    when = "" if given.signed_at is None else f" on {given.signed_at.isoformat(timespec='seconds')}"
    signed = f"Reviewed and signed off by {given.signed_by}{when}. For research use."
    closing = [given.note, signed if given.signed_by else _DISCLAIMER]
    said = [f"{summary.advice.capitalize()}.", summary.reason, *summary.cautions, *filter(None, closing)]
    return {
        "resourceType": "DiagnosticReport",
        **_context(given),
        **({"specimen": [{"reference": given.specimen}]} if given.specimen else {}),
        "category": [{"coding": [{"system": _SECTIONS, "code": "HM"}]}],
        "code": {"coding": [{"system": _LOINC, "code": _PANEL}], "text": "Differential of photographed cells"},
        "issued": made,
        "result": [{"reference": reference} for reference in observations],
        "conclusion": " ".join(said),
    }


def _observations(summary: SlideSummary, *, final: bool) -> Iterable[dict[str, Any]]:
    yield _observation("White cells in the differential", None, _count(summary.white_cells))
    for row in summary.differential:
        if final and row.count and summary.white_cells:
            # A person has named these cells, whatever the model can name.
            row = row.model_copy(
                update={"evidence": Evidence.REAL, "per_100_wbc": 100 * row.count / summary.white_cells}
            )
        if (value := _value(row)) is not None:
            yield _observation(row.class_name, row.loinc, value, row.class_id)
    if summary.hairy is not None:
        yield _flags(summary.hairy)


def _value(row: DifferentialRow) -> dict[str, Any] | None:
    """``None`` where there is nothing to say."""
    if row.evidence is Evidence.NONE:
        reason = {"coding": [{"system": _ABSENT, "code": "unsupported"}], "text": "The model cannot name this class"}
        return {"dataAbsentReason": reason}
    note = [{"text": f"{row.count} cells"}]
    if BY_ID[row.class_id].lineage is Lineage.THROMBOCYTIC:
        # Their LOINC codes are about presence, and not to have photographed one is not its absence.
        return {"valueCodeableConcept": {"text": "Present"}, "note": note} if row.count else None
    if row.per_100_wbc is None:
        reason = {"coding": [{"system": _ABSENT, "code": "not-a-number"}], "text": "No white cells"}
        return {"dataAbsentReason": reason, "note": note}
    unit = "%" if row.is_wbc else "/100{WBCs}"
    if row.interval95 is not None:
        low, high = row.interval95
        note[0]["text"] += f"; exact 95 % interval {low:.1f} to {high:.1f} %"
    return {"valueQuantity": _quantity(row.per_100_wbc, unit), "note": note}


def _flags(hairy: HairyCount) -> dict[str, Any]:
    def component(name: str, value: dict[str, Any]) -> dict[str, Any]:
        return {"code": {"text": name}, **value}

    components = [
        component("Flagged cells", _count(hairy.flagged)),
        component("White cells tested", _count(hairy.cells)),
        component("Rate of false flags tested against", {"valueQuantity": _quantity(100 * hairy.false_flag_rate, "%")}),
        component("One-sided binomial p-value", {"valueQuantity": _quantity(hairy.p_value, "1")}),
    ]
    if hairy.interval95 is not None:
        low, high = (_quantity(100 * limit, "%") for limit in hairy.interval95)
        components.append(component("Exact 95 % interval", {"valueRange": {"low": low, "high": high}}))
    value = {} if hairy.share is None else {"valueQuantity": _quantity(100 * hairy.share, "%")}
    return _observation("Cells flagged as possible hairy cells", None, value) | {
        "component": components,
        "note": [{"text": hairy.false_flag_basis}],
    }


def _observation(name: str, loinc: str | None, value: dict[str, Any], class_id: str | None = None) -> dict[str, Any]:
    codes = ((_LOINC, loinc), (CLASS_SYSTEM, class_id))
    coding = [{"system": system, "code": code} for system, code in codes if code is not None]
    code = {"text": name} | ({"coding": coding} if coding else {})
    return {
        "resourceType": "Observation",
        "category": [{"coding": [{"system": _CATEGORIES, "code": "laboratory"}]}],
        "code": code,
        **value,
    }


def _count(cells: int) -> dict[str, Any]:
    return {"valueQuantity": {"value": cells, "unit": "cells", "system": _UCUM, "code": "{cells}"}}


def _quantity(value: float, code: str) -> dict[str, Any]:
    # Six significant digits, written out: FHIR decimals keep the digits they come with.
    return {"value": float(f"{value:.6g}"), "unit": code, "system": _UCUM, "code": code}
