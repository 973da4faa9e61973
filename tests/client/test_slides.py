"""The clients on slides."""

import json
import re
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from fhir.resources.R4B.bundle import Bundle as FhirBundle

from client import Classified, OtherModelError, Refused, RefusedRequestError
from contract.bundle import Bundle
from contract.classes import BY_ID, CLASS_NAMES, HAIRY_CELL
from tests.client.faulty_road import FaultyRoad
from tests.client.ways import Ways
from tests.conftest import WriteBundle
from tests.service.live_server import LiveServer, serving
from tests.service.tiny_bundle import TinyNetwork, encoded, with_novelty


@pytest.fixture(scope="module")
def served(bundle: Bundle) -> Iterator[LiveServer]:
    with serving(bundle, site_fpr=0.002, slide_min_cells=20) as live:
        yield live


@pytest.fixture(scope="module")
def images(network: TinyNetwork) -> list[bytes]:
    """20 lymphocytes, 3 hairy cells, 4 erythroblasts, no two alike."""
    made = []
    lymphocyte, erythroblast = BY_ID["lymphocyte"].index, BY_ID["erythroblast"].index
    for number, index in enumerate([lymphocyte] * 20 + [HAIRY_CELL.index] * 3 + [erythroblast] * 4):
        pixels = network.cell(index).copy()
        pixels[0, 0] = (number, 7, 7)
        made.append(encoded(pixels))
    return made


def posted(road: FaultyRoad) -> list[str]:
    """The paths of the requests that were sent, in order."""
    # What two connections send at once is mixed on the road: a head may follow a piece of another's body.
    return [path.decode() for path in re.findall(rb"POST (/\S*) HTTP/1\.1\r\n", road.received)]


def test_a_small_slide_is_one_request(ways: Ways, served: LiveServer, road: FaultyRoad, images: list[bytes]) -> None:
    road.upstream = served.port
    slide = ways.classify_slide(road.url, images)
    assert posted(road) == ["/slides/classify"]
    assert [outcome.index for outcome in slide.outcomes] == list(range(27))
    assert all(isinstance(outcome.result, Classified) for outcome in slide.outcomes)
    summary = slide.summary
    assert {outcome.request_id for outcome in slide.outcomes} == {summary.request_id}
    assert summary.model.name == "tiny"
    assert (summary.images, summary.white_cells, summary.refused, summary.duplicates) == (27, 23, 0, 0)
    assert summary.advice == "follow up by flow cytometry"
    assert summary.reason.startswith("3 of 23 white cells flagged as hairy")
    hairy = summary.hairy
    assert hairy is not None
    assert (hairy.flagged, hairy.cells, hairy.false_flag_rate) == (3, 23, 0.002)
    assert hairy.false_flag_basis == "stated by the site (HAL_SITE_FPR)"
    assert hairy.interval95 is not None
    assert hairy.share is not None
    assert hairy.interval95[0] < hairy.share < hairy.interval95[1]
    assert hairy.p_value < 0.01
    rows = {row.class_name: row for row in summary.differential}
    assert tuple(rows) == CLASS_NAMES
    assert (rows["Lymphocyte"].count, rows["Lymphocyte"].is_wbc, rows["Lymphocyte"].evidence) == (20, True, "real")
    assert rows["Lymphocyte"].per_100_wbc == pytest.approx(100 * 20 / 23)
    assert rows["Erythroblast (NRBC)"].interval95 is None
    assert summary.document["rule"]["min_cells"] == 20


def test_a_large_slide_is_cut_and_says_the_same(
    ways: Ways, served: LiveServer, road: FaultyRoad, images: list[bytes]
) -> None:
    whole = ways.classify_slide(served.url, images)
    road.upstream = served.port
    cut = ways.classify_slide(road.url, iter(images), images_per_request=10, concurrency=2)
    assert posted(road) == ["/classify"] * 3 + ["/slides/summary"]
    assert cut.summary.document == whole.summary.document
    assert [outcome.result for outcome in cut.outcomes] == [outcome.result for outcome in whole.outcomes]


def test_unfamiliar_images_are_told_alone_and_together(
    ways: Ways, tmp_path: Path, write_bundle: WriteBundle, images: list[bytes]
) -> None:
    with serving(with_novelty(write_bundle(tmp_path / "tiny"), brightest=1.0)) as live:
        whole = ways.classify_slide(live.url, images)
        cut = ways.classify_slide(live.url, images, images_per_request=10)
    results = [outcome.result for outcome in whole.outcomes]
    assert all(isinstance(one, Classified) and one.novelty is not None and one.novelty.unfamiliar for one in results)
    assert cut.summary.document == whole.summary.document
    assert whole.summary.advice == "not supported on these images"
    assert whole.summary.unfamiliar is not None
    assert (whole.summary.unfamiliar.unfamiliar, whole.summary.unfamiliar.images) == (27, 27)


def test_a_slide_of_too_many_bytes_is_cut(
    ways: Ways, served: LiveServer, road: FaultyRoad, images: list[bytes]
) -> None:
    road.upstream = served.port
    summary = ways.classify_slide(road.url, images[:4], bytes_per_request=2 * len(images[0]) + 50).summary
    assert posted(road) == ["/classify"] * 2 + ["/slides/summary"]
    assert summary.images == 4


def test_a_slide_that_the_service_finds_too_large_is_cut(ways: Ways, bundle: Bundle, images: list[bytes]) -> None:
    with serving(bundle, max_files=5) as live:
        slide = ways.classify_slide(live.url, images)
    assert len(slide.outcomes) == slide.summary.images == 27
    assert slide.summary.refused == 0


def test_what_is_no_image_and_what_cannot_be_read_count_as_refused(
    ways: Ways, served: LiveServer, images: list[bytes], tmp_path: Path
) -> None:
    for given in ([*images[:2], b"GIF89a"], [*images[:2], tmp_path / "missing.png"]):
        slide = ways.classify_slide(served.url, given)
        assert [type(outcome.result) for outcome in slide.outcomes] == [Classified, Classified, Refused]
        assert (slide.summary.images, slide.summary.refused, slide.summary.white_cells) == (3, 1, 2)


def test_a_slide_without_one_good_image_has_a_summary_too(ways: Ways, served: LiveServer, tmp_path: Path) -> None:
    for given in ([b"GIF89a"], [tmp_path / "missing.png"]):
        summary = ways.classify_slide(served.url, given).summary
        assert (summary.images, summary.refused, summary.advice) == (1, 1, "too few cells")


def test_a_slide_without_images_is_refused(ways: Ways, served: LiveServer) -> None:
    with pytest.raises(RefusedRequestError, match=r"400 invalid_results: .* at least 1 item"):
        ways.classify_slide(served.url, [])


def test_answers_and_outcomes_are_summarised_together(ways: Ways, served: LiveServer, images: list[bytes]) -> None:
    first = ways.classify(served.url, *images[:20])
    rest = ways.classify_many(served.url, images[20:])
    summary = ways.summarise_slide(served.url, [first, *rest, rest[0]])
    assert (summary.images, summary.duplicates, summary.white_cells) == (28, 1, 23)
    assert summary.document["hairy"] == ways.classify_slide(served.url, images).summary.document["hairy"]


def test_only_what_a_summary_needs_is_sent(
    ways: Ways, served: LiveServer, road: FaultyRoad, images: list[bytes]
) -> None:
    answer = ways.classify(served.url, images[20])
    road.upstream = served.port
    ways.summarise_slide(road.url, [answer])
    body = json.loads(bytes(road.received).partition(b"\r\n\r\n")[2])
    assert body["model"] == {"sha256": answer.model.sha256, "decision_policy": "p-1"}
    (result,) = body["results"]
    assert set(result) == {"image_sha256", "class_id", "hairy_cell", "novelty", "review"}


def test_results_of_another_model_are_refused(ways: Ways, served: LiveServer, images: list[bytes]) -> None:
    answer = ways.classify(served.url, images[0])
    other = replace(answer, model=replace(answer.model, sha256="0" * 64))
    with pytest.raises(OtherModelError, match="were made with the model 000000000000"):
        ways.summarise_slide(served.url, [other])


def test_results_of_several_models_are_not_even_sent(
    ways: Ways, served: LiveServer, road: FaultyRoad, images: list[bytes]
) -> None:
    answer = ways.classify(served.url, images[0])
    other = replace(answer, model=replace(answer.model, sha256="0" * 64))
    with pytest.raises(OtherModelError, match="come from 2 models"):
        ways.summarise_slide(road.url, [answer, other])
    assert road.connections == 0


def test_a_slide_is_a_fhir_report_too(ways: Ways, served: LiveServer, images: list[bytes]) -> None:
    slide = ways.classify_slide(served.url, images)
    found = ways.slide_as_fhir(served.url, slide.outcomes)
    FhirBundle.model_validate(found.document)
    assert found.report["resourceType"] == "DiagnosticReport"
    assert found.report["status"] == "preliminary"
    assert found.conclusion.startswith(f"Follow up by flow cytometry. {slide.summary.reason}")
    assert slide.summary.model.sha256 in [version["value"] for version in found.device["version"]]
    named = {one["code"]["text"]: one for one in found.observations}
    assert len(named) == len(found.observations) == len(found.report["result"])
    lymphocytes = named["Lymphocyte"]
    assert lymphocytes["valueQuantity"]["value"] == pytest.approx(100 * 20 / 23, abs=1e-3)
    assert lymphocytes["code"]["coding"][0]["system"] == "http://loinc.org"
    assert all(one["resourceType"] == "Observation" for one in found.observations)
