"""What leaves the page: CSV, JSON, FHIR, the printed report, the corrections that teach the next bundle."""

import csv
import hashlib
import io
import json
import re
import zipfile
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from fhir.resources.R4B.bundle import Bundle as FhirBundle
from playwright.sync_api import Browser, expect

from service.slides import read_files
from tests.service.live_server import LiveServer
from tests.service.page.browser import LYMPHOCYTE, Image, Visit, visiting
from tests.service.tiny_bundle import TinyNetwork, coloured, encoded

MANIFEST = "image,label,predicted,confidence,reviewer,slide_id,sha256,source,model"


def sign(visit: Visit, name: str, reason: str = "") -> None:
    visit.page.click("#sign")
    visit.page.get_by_label("Your name").fill(name)
    if reason:
        visit.page.get_by_label("in no class").fill(reason)
    visit.page.click("dialog#sign button[type=submit]")
    expect(visit.page.locator("#signed")).to_be_visible()


@pytest.fixture(scope="module")
def signed(browser: Browser, server: LiveServer, slide: list[Path], network: TinyNetwork) -> Iterator[Visit]:
    """A slide with a cell cut out of a larger image; one class is corrected, one cell has none, all are reviewed."""
    with visiting(browser, server.url) as visit:
        visit.choose(*slide)
        visit.drop({"large.png": encoded(coloured(network.colours[LYMPHOCYTE], 300, 301))})
        visit.progress("29 of 29 classified · 1 cropped to the centre")
        visit.cell("cell-00.png").click()
        visit.press("m")
        visit.cell("unsure.png").click()
        visit.press("u")
        visit.page.click("#confirm-shown")
        sign(visit, "Ada Byron", "damaged")
        yield visit


@pytest.fixture
def export(signed: Visit) -> Iterator[Visit]:
    """The dialog of exports of the signed slide."""
    signed.page.click("#export")
    yield signed
    signed.press("Escape")


def test_corrections_are_the_confirmed_cells_as_they_were_sent(
    export: Visit, slide: list[Path], tmp_path: Path
) -> None:
    stamp = export.page.request.get(f"{export.url}/model").json()
    with zipfile.ZipFile(export.download("#export-corrections", tmp_path)) as archive:
        assert archive.testzip() is None
        text = archive.read("manifest.csv").decode()
        rows = list(csv.DictReader(io.StringIO(text)))
        images = {row["image"]: archive.read(row["image"]) for row in rows}
    assert text.splitlines()[0] == MANIFEST
    assert len(rows) == 28, "all but the one in no class"
    assert {hashlib.sha256(images[row["image"]]).hexdigest() for row in rows} == {row["sha256"] for row in rows}
    whole = {hashlib.sha256(path.read_bytes()).hexdigest() for path in slide if path.name != "unsure.png"}
    assert len(whole - {row["sha256"] for row in rows}) == 0
    (moved,) = (row for row in rows if row["label"] != row["predicted"])
    assert (moved["label"], moved["predicted"], moved["reviewer"]) == ("monocyte", "lymphocyte", "Ada Byron")
    assert moved["sha256"] == hashlib.sha256(slide[0].read_bytes()).hexdigest()
    assert float(moved["confidence"]) > 0.5
    assert {row["model"] for row in rows} == {f"tiny 1.2.3 {stamp['files'][0]['sha256']}"}


def test_tables_say_what_was_predicted_and_what_was_decided(export: Visit, tmp_path: Path) -> None:
    table = export.download("#export-csv", tmp_path)
    with table.open(encoding="utf-8-sig", newline="") as stream:
        rows = {row["file"]: row for row in csv.DictReader(stream)}
    first = rows["cell-00.png"]
    assert (first["class_id"], first["label"], first["reviewed"]) == ("lymphocyte", "monocyte", "true")
    assert rows["unsure.png"]["label"] == "unidentified"
    document = export.download("#export-json", tmp_path)
    saved = json.loads(document.read_text())
    assert saved["slide"]["signed"]["name"] == "Ada Byron"
    monocytes = next(row for row in saved["differential"]["rows"] if row["id"] == "monocyte")
    assert (monocytes["before"]["count"], monocytes["now"]["count"]) == (0, 1)
    for path in (table, document):
        assert len(read_files([path]).cells(None)) == 29


def test_fhir_is_final_after_the_signature(export: Visit, tmp_path: Path) -> None:
    export.page.get_by_label("Patient").fill("Patient/7")
    document = json.loads(export.download("#export-fhir", tmp_path).read_text())
    FhirBundle.model_validate(document)
    report = document["entry"][0]["resource"]
    assert (report["status"], report["subject"]["reference"]) == ("final", "Patient/7")
    assert report["performer"] == [{"display": "Ada Byron"}]
    assert "Cells in no class: damaged." in report["conclusion"]
    counts = {
        coding["code"]: entry["resource"].get("note", [{}])[0].get("text")
        for entry in document["entry"]
        for coding in entry["resource"].get("code", {}).get("coding", ())
    }
    assert str(counts["monocyte"]).startswith("1 cells")
    assert str(counts["lymphocyte"]).startswith("20 cells")


def test_the_report_is_one_page_with_both_differentials_and_the_signature(export: Visit) -> None:
    page = export.page
    page.evaluate("() => { window.print = () => document.body.dataset.printed = 'yes'; }")
    page.click("#print-report")
    expect(page.locator("body")).to_have_attribute("data-printed", "yes")
    assert len(re.findall(rb"/Type\s*/Page\b", page.pdf(prefer_css_page_size=True))) == 1
    page.emulate_media(media="print")
    printed = page.locator("#print")
    for text in (
        "Signed off by Ada Byron",
        "Follow up by flow cytometry",
        "29 cells, 29 reviewed, 1 corrected",
        "tiny 1.2.3",
    ):
        expect(printed).to_contain_text(text)
    expect(printed.locator("tr[data-place=monocyte]")).to_contain_text("0.0")
    expect(printed.locator("figure img")).to_have_count(3)
    expect(page.locator("#gallery")).to_be_hidden()
    page.emulate_media(media="screen")


def test_a_file_name_is_never_a_formula_nor_markup(visit: Visit, image: Image, tmp_path: Path) -> None:
    name = "=1+1<img src=x onerror=alert(1)>.png"
    visit.drop({name: image(LYMPHOCYTE, 1)})
    visit.wait_until_done()
    visit.focus_cells()
    visit.press("Enter")
    visit.shows("#viewer .facts", name)
    visit.press("Escape")
    visit.page.click("#export")
    exported = visit.download("#export-csv", tmp_path)
    with exported.open(encoding="utf-8-sig", newline="") as stream:
        (row,) = csv.DictReader(stream)
    assert row["file"] == f"'{name}"


def test_corrections_that_cannot_be_written_say_why(export: Visit) -> None:
    """An image that is gone from the disk, and more than a ZIP archive without ZIP64 holds."""
    read = export.page.evaluate_handle("() => Blob.prototype.arrayBuffer")
    export.page.evaluate(
        "() => { Blob.prototype.arrayBuffer = () => Promise.reject(new DOMException('it is gone', 'NotFoundError')); }"
    )
    export.page.click("#export-corrections")
    export.shows("#warnings", "No corrections: it is gone.")
    export.page.evaluate("(read) => { Blob.prototype.arrayBuffer = read; }", read)
    refused = export.page.evaluate("""async () => {
        const { corrections } = await import("/static/outputs.js");
        const cell = { counts: true, reviewed: true, label: "monocyte", sent: { size: 2 ** 31 } };
        return corrections({}, [cell, cell]).catch((error) => error.message);
    }""")
    assert refused == "2 images of 4295 MB are too many for one ZIP archive; split the slide"


@pytest.mark.parametrize("zone", ["Asia/Tokyo", "America/St_Johns"])
def test_corrections_say_when_they_were_exported_wherever_that_was(
    browser: Browser, server: LiveServer, zone: str
) -> None:
    with visiting(browser, server.url, timezone_id=zone) as visit:
        archive = visit.page.evaluate("""async () => {
            const { corrections } = await import("/static/outputs.js");
            const blob = await corrections({ signed: { name: "Ada" } }, []);
            return [...new Uint8Array(await blob.arrayBuffer())];
        }""")
    with zipfile.ZipFile(io.BytesIO(bytes(archive))) as opened:
        exported = datetime(*opened.getinfo("manifest.csv").date_time, tzinfo=UTC)
    assert abs(exported - datetime.now(UTC)) < timedelta(minutes=5)
