"""``/slides``: one slide's cells in, differential and advice out, over real HTTP."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest
from fhir.resources.R4B.bundle import Bundle as FhirBundle
from fhir.resources.R4B.diagnosticreport import DiagnosticReport

from contract.bundle import Bundle
from contract.classes import BY_ID, CELL_CLASSES, HAIRY_CELL
from tests.service.live_server import LiveServer, serving
from tests.service.tiny_bundle import TinyNetwork, encoded

LYMPHOCYTE, ERYTHROBLAST = BY_ID["lymphocyte"].index, BY_ID["erythroblast"].index
RATE = 0.002


@pytest.fixture(scope="module")
def server(bundle: Bundle) -> Iterator[LiveServer]:
    with serving(bundle, site_fpr=RATE, slide_min_cells=20, max_upload_bytes=4_000_000) as live:
        yield live


@pytest.fixture(scope="module")
def slide(network: TinyNetwork) -> list[bytes]:
    """18 lymphocytes, 3 hairy cells and 6 erythroblasts, no two images the same."""
    classes = [LYMPHOCYTE] * 18 + [HAIRY_CELL.index] * 3 + [ERYTHROBLAST] * 6
    images = []
    for place, index in enumerate(classes):
        pixels = network.cell(index).copy()
        pixels[0, 0] = place
        images.append(encoded(pixels))
    return images


def form(images: list[bytes]) -> list[tuple[str, tuple[str, bytes]]]:
    return [("file", ("cell.png", image)) for image in images]


def fault(response: httpx.Response, status: int, code: str) -> str:
    assert response.status_code == status, response.text
    error = response.json()["error"]
    assert error["code"] == code
    return str(error["message"])


def result(class_id: str = "lymphocyte", *, flag: bool | None = False, **more: Any) -> dict[str, Any]:
    return {"class_id": class_id, "hairy_cell": {"flag": flag}, **more}


def test_a_slide_is_classified_and_summarised(server: LiveServer, slide: list[bytes]) -> None:
    response = server.http.post("/slides/classify", files=form(slide))
    assert response.status_code == 200
    answer = response.json()
    plain = server.http.post("/classify", files=form(slide)).json()
    assert (answer["results"], answer["model"]) == (plain["results"], plain["model"])
    summary = answer["summary"]
    assert summary["advice"] == "follow up by flow cytometry"
    assert (summary["images"], summary["white_cells"]) == (27, 21)
    assert (summary["hairy"]["flagged"], summary["hairy"]["cells"]) == (3, 21)
    assert summary["hairy"]["false_flag_rate"] == RATE
    rows = {row["class_id"]: row for row in summary["differential"]}
    assert [row["class_name"] for row in summary["differential"]] == [cell.name for cell in CELL_CLASSES]
    assert rows["lymphocyte"]["per_100_wbc"] == pytest.approx(100 * 18 / 21)
    assert rows["erythroblast"]["per_100_wbc"] == pytest.approx(100 * 6 / 21)


def test_the_summary_of_a_saved_answer_is_the_same(server: LiveServer, slide: list[bytes]) -> None:
    answer = server.http.post("/slides/classify", files=form(slide)).json()
    saved = server.http.post("/classify", files=form(slide)).json()
    told = server.http.post("/slides/summary", json=saved)
    assert told.status_code == 200
    assert told.json()["summary"] == answer["summary"]
    assert told.json()["model"] == answer["model"]
    assert told.json()["request_id"] == told.headers["x-request-id"]


def test_a_byte_order_mark_before_a_saved_answer_does_not_matter(server: LiveServer) -> None:
    saved = b"\xef\xbb\xbf" + json.dumps({"results": [result()]}).encode()
    told = server.http.post("/slides/summary", content=saved, headers={"Content-Type": "application/json"})
    assert told.status_code == 200
    assert told.json()["summary"]["images"] == 1


def test_refused_images_and_repeated_ones_are_counted_apart(server: LiveServer, slide: list[bytes]) -> None:
    small = encoded(np.zeros((100, 100, 3), np.uint8))
    response = server.http.post("/slides/classify", files=form([*slide, slide[0], small]))
    assert response.status_code == 200
    summary = response.json()["summary"]
    assert (summary["images"], summary["refused"], summary["duplicates"], summary["white_cells"]) == (29, 1, 1, 21)


def test_422_with_a_summary_if_no_image_could_be_classified(server: LiveServer) -> None:
    response = server.http.post("/slides/classify", files=form([b"GIF89a"]))
    assert response.status_code == 422
    assert response.json()["results"][0]["error"]["code"] == "unsupported_type"
    assert response.json()["summary"]["advice"] == "too few cells"


def test_what_a_summary_does_not_need_may_be_left_out(server: LiveServer) -> None:
    response = server.http.post("/slides/summary", json={"results": [result()] * 30})
    assert response.json()["summary"]["advice"] == "no indication"


def test_without_any_rate_of_false_flags_there_is_no_advice(bundle: Bundle, slide: list[bytes]) -> None:
    with serving(bundle) as live:
        summary = live.http.post("/slides/classify", files=form(slide)).json()["summary"]
    assert summary["advice"] == "not supported by this bundle"
    assert "HAL_SITE_FPR" in summary["reason"]


def test_results_of_another_model_are_refused(server: LiveServer, bundle: Bundle) -> None:
    other = {"sha256": "0" * 64, "decision_policy": "p-1"}
    message = fault(
        server.http.post("/slides/summary", json={"model": other, "results": [result()]}), 409, "other_model"
    )
    assert "000000000000" in message
    other_policy = {"sha256": bundle.file().sha256, "decision_policy": "p-2"}
    fault(server.http.post("/slides/summary", json={"model": other_policy, "results": [result()]}), 409, "other_model")
    other_threshold = {"results": [result()], "hairy_cell": {"threshold": 0.123}}
    fault(server.http.post("/slides/summary", json=other_threshold), 409, "other_model")
    fault(server.http.post("/slides/summary", json={"results": [result(flag=None)]}), 409, "other_model")


@pytest.mark.parametrize(
    ("body", "expected"),
    [
        ("nonsense", "Invalid JSON"),
        ("[]", "the document"),
        ("{}", "results: Field required"),
        ('{"results": []}', "at least 1 item"),
        ('{"results": [{"index": 3}]}', "neither an error nor both"),
        ('{"results": [{"class_id": "Hairy", "hairy_cell": {"flag": true}}]}', "'Hairy' is none of segmented"),
        ('{"results": [{"image_sha256": "xy", "error": {}}]}', "results.0.image_sha256"),
    ],
)
def test_a_body_of_another_form_is_refused_with_what_is_wrong(server: LiveServer, body: str, expected: str) -> None:
    response = server.http.post("/slides/summary", content=body, headers={"Content-Type": "application/json"})
    assert expected in fault(response, 400, "invalid_results")


def test_breaches_are_listed_together_up_to_ten(server: LiveServer) -> None:
    message = fault(server.http.post("/slides/summary", json={"results": [{}] * 25}), 400, "invalid_results")
    assert message.count("neither an error") == 10
    assert "there may be more" in message


def test_another_content_type_and_too_large_a_body_are_refused(server: LiveServer) -> None:
    fault(server.http.post("/slides/summary", content=b"{}"), 415, "unsupported_media_type")
    large = b" " * 4_000_001
    response = server.http.post("/slides/summary", content=large, headers={"Content-Type": "application/json"})
    fault(response, 413, "request_too_large")


# FHIR


def resources(document: dict[str, Any], kind: str) -> list[dict[str, Any]]:
    return [entry["resource"] for entry in document["entry"] if entry["resource"]["resourceType"] == kind]


@pytest.mark.parametrize("asked", [{"params": {"format": "fhir"}}, {"headers": {"Accept": "application/fhir+json"}}])
def test_a_summary_as_fhir_is_a_preliminary_report_with_loinc_codes(
    server: LiveServer, slide: list[bytes], asked: Any
) -> None:
    response = server.http.post("/slides/classify", files=form(slide), **asked)
    assert response.status_code == 200
    assert response.headers["content-type"] == "application/fhir+json"
    document = response.json()
    FhirBundle.model_validate(document)
    (report,) = resources(document, "DiagnosticReport")
    DiagnosticReport.model_validate(report)
    observations = resources(document, "Observation")
    assert report["status"] == "preliminary"
    assert {observation["status"] for observation in observations} == {"preliminary"}
    assert report["code"]["coding"] == [{"system": "http://loinc.org", "code": "69738-3"}]
    assert "Follow up by flow cytometry." in report["conclusion"]
    assert "conclusionCode" not in report
    coded = {o["code"]["coding"][0]["code"]: o for o in observations if "coding" in o["code"]}
    assert coded["26478-8"]["valueQuantity"] == {
        "value": pytest.approx(85.7143),
        "unit": "%",
        "system": "http://unitsofmeasure.org",
        "code": "%",
    }
    assert coded["19048-8"]["valueQuantity"]["code"] == "/100{WBCs}"
    (flags,) = (o for o in observations if o["code"]["text"].startswith("Cells flagged"))
    assert flags["valueQuantity"]["value"] == pytest.approx(100 * 3 / 21, abs=1e-4)


def test_fhir_names_no_patient_and_every_reference_leads_somewhere(server: LiveServer, slide: list[bytes]) -> None:
    text = server.http.post("/slides/classify", files=form(slide), params={"format": "fhir"}).text
    for invented in ("subject", "specimen", "performer", "encounter", "Patient"):
        assert f'"{invented}"' not in text
    document = json.loads(text)
    names = {entry["fullUrl"] for entry in document["entry"]}
    (report,) = resources(document, "DiagnosticReport")
    assert {reference["reference"] for reference in report["result"]} < names
    assert {o["device"]["reference"] for o in resources(document, "Observation")} < names
    assert len(report["result"]) == len(resources(document, "Observation"))


def test_a_signed_slide_is_a_final_report_with_the_references_that_were_given(server: LiveServer) -> None:
    references = {"subject": "Patient/7", "specimen": "Specimen/8", "based_on": "ServiceRequest/9"}
    signature = {"signed_by": "Ada Byron", "signed_at": "2026-11-29T22:00:00Z", "performer": "Practitioner/1"}
    body = {"results": [result()], "report": references | signature | {"note": "One cell in no class."}}
    document = server.http.post("/slides/summary", json=body, params={"format": "fhir"}).json()
    FhirBundle.model_validate(document)
    (report,) = resources(document, "DiagnosticReport")
    for one in (report, *resources(document, "Observation")):
        assert one["status"] == "final"
        assert one["subject"] == {"reference": "Patient/7"}
        assert one["basedOn"] == [{"reference": "ServiceRequest/9"}]
        assert one["performer"] == [{"reference": "Practitioner/1", "display": "Ada Byron"}]
    assert report["specimen"] == [{"reference": "Specimen/8"}]
    assert "One cell in no class. Reviewed and signed off by Ada Byron on 2026-11-29T22:00:00" in report["conclusion"]
    assert "reliminary" not in report["conclusion"]


def test_fhir_says_absent_where_the_bundle_cannot_tell(tmp_path: Path, write_bundle: Any, slide: list[bytes]) -> None:
    with serving(write_bundle(tmp_path, hairy_known=False), site_fpr=RATE) as live:
        summary = live.http.post("/slides/classify", files=form(slide)).json()["summary"]
        document = live.http.post("/slides/classify", files=form(slide), params={"format": "fhir"}).json()
    assert (summary["advice"], summary["hairy"]) == ("not supported by this bundle", None)
    FhirBundle.model_validate(document)
    (hairy,) = (o for o in resources(document, "Observation") if o["code"]["text"] == "Hairy cell")
    assert hairy["dataAbsentReason"]["coding"][0]["code"] == "unsupported"
    assert "valueQuantity" not in hairy


def test_a_slide_without_white_cells_is_valid_fhir(server: LiveServer) -> None:
    response = server.http.post("/slides/summary", json={"results": [{"error": "x"}]}, params={"format": "fhir"})
    FhirBundle.model_validate(response.json())
    assert "Too few cells." in response.text


def test_json_is_given_when_it_is_asked_for(server: LiveServer) -> None:
    body = {"results": [result()]}
    accept = {"Accept": "application/fhir+json"}
    assert "summary" in server.http.post("/slides/summary", json=body, params={"format": "json"}, headers=accept).json()
    assert "'xml'" in fault(
        server.http.post("/slides/summary", json=body, params={"format": "xml"}), 406, "unknown_format"
    )


def test_the_example_of_openapi_works(server: LiveServer, bundle: Bundle) -> None:
    paths = server.http.get("/openapi.json").json()["paths"]
    described = paths["/slides/summary"]["post"]["requestBody"]["content"]["application/json"]
    assert described["schema"] == {"$ref": "#/components/schemas/GivenSlide"}
    example = described["example"] | {"model": {"sha256": bundle.file().sha256}}
    example["hairy_cell"] = {"threshold": bundle.description.policy.hairy_threshold}
    assert server.http.post("/slides/summary", json=example).status_code == 200
