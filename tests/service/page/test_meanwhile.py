"""What a person does while an answer is on its way stands; nothing late overrides it."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Browser, expect

from contract.classes import HAIRY_CELL
from tests.service.live_server import LiveServer
from tests.service.page.browser import LYMPHOCYTE, Gate, Image, Visit, begin, sign, visiting


@pytest.fixture
def lenient(browser: Browser, server: LiveServer) -> Iterator[Visit]:
    """The page, with errors in its console."""
    with visiting(browser, server.url, strict=False) as opened:
        yield opened


def test_images_are_classified_again_while_requests_are_under_way(lenient: Visit, images: list[Path]) -> None:
    visit = lenient
    gate = Gate(visit.page, 1)
    visit.choose(*images[:24])
    visit.shows("#progress", "8 of 24 classified")
    visit.page.route(
        "**/slides/summary",
        lambda route: route.fulfill(status=409, json={"error": {"code": "other_model", "message": "-"}}),
    )
    visit.press("Tab")
    visit.focus_cells()
    with visit.page.expect_request("**/slides/summary"):
        visit.press("m")
    visit.page.click("#classify-again")
    visit.page.unroute("**/slides/summary")
    gate.open()
    visit.progress("24 of 24 classified")


def test_a_fhir_report_has_the_name_of_its_slide(visit: Visit, images: list[Path]) -> None:
    begin(visit, "first", *images[:2])
    expect(visit.page.locator("#advice")).to_be_visible()
    gate = Gate(visit.page, 0, "**/slides/summary?format=fhir")
    visit.page.click("#export")
    visit.page.click("#export-fhir")
    visit.press("Escape")
    begin(visit, "second")
    with visit.page.expect_download() as started:
        gate.open()
    assert started.value.suggested_filename == "hal-first.fhir.json"


def test_no_other_slide_is_printed(visit: Visit, images: list[Path]) -> None:
    begin(visit, "first", *images[:2])
    expect(visit.page.locator("#advice")).to_be_visible()
    visit.page.pdf()
    expect(visit.page.locator("#print")).to_contain_text("Slide first")
    begin(visit, "second")
    visit.page.pdf()
    expect(visit.page.locator("#print")).to_be_empty()


def test_what_is_typed_stays_when_answers_arrive(visit: Visit, images: list[Path]) -> None:
    gate = Gate(visit.page, 0)
    visit.choose(*images[:24])
    visit.shows("#progress", "0 of 24 classified")
    visit.page.click("#rename-slide")
    visit.page.fill("#rename input", "smear-7")
    gate.open()
    visit.progress("24 of 24 classified")
    visit.press("Enter")
    expect(visit.page.locator(".panel h2")).to_have_text("smear-7")


def test_the_focus_stays_where_it_was_moved(visit: Visit, images: list[Path]) -> None:
    gate = Gate(visit.page, 1)
    visit.choose(*images[:24])
    visit.shows("#progress", "8 of 24 classified")
    visit.focus_cells()
    visit.press("Shift+Tab")
    gate.open()
    visit.progress("24 of 24 classified")
    assert visit.page.evaluate("() => document.activeElement.tagName") == "BUTTON"


def test_the_large_view_stays_at_its_cell(visit: Visit, image: Image) -> None:
    gate = Gate(visit.page, 1)
    cells = {f"{number:02}.png": image(LYMPHOCYTE, number) for number in range(8)}
    visit.drop(cells | {"hairy.png": image(HAIRY_CELL.index, 8)})
    visit.shows("#progress", "8 of 9 classified")
    visit.focus_cells()
    visit.press("Enter")
    expect(visit.page.locator("#viewer h2")).to_have_text("Lymphocyte")
    gate.open()
    visit.progress("9 of 9 classified")
    visit.press("m")
    assert visit.sections() == {"Hairy cell": 1, "Lymphocyte": 7, "Monocyte": 1}


def test_a_key_that_is_held_decides_once(visit: Visit, images: list[Path]) -> None:
    begin(visit, "first", *images[:6])
    visit.focus_cells()
    for _ in range(3):
        visit.page.keyboard.down("m")
    visit.page.keyboard.up("m")
    assert visit.sections() == {"Lymphocyte": 5, "Monocyte": 1}
    visit.press("Enter")
    for _ in range(3):
        visit.page.keyboard.down("b")
    assert visit.sections() == {"Basophil": 1, "Lymphocyte": 4, "Monocyte": 1}


def test_a_double_click_confirms_one_cell(visit: Visit, images: list[Path]) -> None:
    begin(visit, "first", *images[:6])
    visit.focus_cells()
    visit.press("Enter")
    visit.page.locator("#confirm").dblclick()
    visit.page.wait_for_timeout(100)
    visit.press("Escape")
    visit.shows("#state", "1 reviewed")


def test_a_double_click_confirms_one_section(classified: Visit) -> None:
    classified.page.click("[data-filter=open]")
    classified.page.locator(".group.hairy-cell button").dblclick()
    classified.page.wait_for_timeout(200)
    classified.shows("#state", "3 reviewed")


def test_the_upload_goes_on_if_the_key_dialog_is_closed(visit: Visit, images: list[Path]) -> None:
    gate = Gate(visit.page, 1)
    visit.choose(*images[:24])
    visit.shows("#progress", "8 of 24 classified")
    visit.page.click("#open-key")
    visit.press("Escape")
    gate.open()
    visit.progress("24 of 24 classified")


def test_a_signed_slide_is_not_classified_again(lenient: Visit, images: list[Path]) -> None:
    visit = lenient
    begin(visit, "first", *images[:2])
    visit.wait_until_done()
    visit.page.route(
        "**/slides/summary",
        lambda route: route.fulfill(status=409, json={"error": {"code": "other_model", "message": "-"}}),
    )
    sign(visit)
    visit.shows("#warnings", "changed its model")
    expect(visit.page.locator("#classify-again")).to_have_count(0)


def test_corrections_are_those_that_were_signed(visit: Visit, images: list[Path]) -> None:
    begin(visit, "first", *images[:4])
    visit.page.click("#confirm-shown")
    sign(visit)
    visit.page.evaluate("""() => {
        const read = Blob.prototype.arrayBuffer;
        Blob.prototype.arrayBuffer = async function () {
            await new Promise((done) => setTimeout(done, 300));
            return read.call(this);
        };
    }""")
    with visit.page.expect_download() as started:
        visit.page.click("#export")
        visit.page.click("#export-corrections")
        visit.press("Escape")
        visit.page.click("#reopen")
        visit.page.get_by_label("Reason").fill("again")
        visit.page.click("#reopening button[type=submit]")
        expect(visit.page.locator("#signed")).to_have_count(0)
    assert started.value.suggested_filename == "hal-first.corrections.zip"


def test_the_focus_stays_in_the_large_view(classified: Visit) -> None:
    classified.cell("unsure.png").dblclick()
    classified.page.get_by_text("It is:").click()
    classified.press("ArrowLeft")
    assert classified.page.evaluate("() => document.activeElement !== document.body")


def test_advice_of_the_answers_before_is_not_shown(lenient: Visit, images: list[Path]) -> None:
    visit = lenient
    gate = Gate(visit.page, 3)
    visit.choose(*images[:24])
    visit.wait_until_done()
    summaries = Gate(visit.page, 0, "**/slides/summary")
    other_model = {"status": 409, "json": {"error": {"code": "other_model", "message": "-"}}}
    visit.focus_cells()
    visit.press("m")
    summaries.answer(**other_model)
    expect(visit.page.locator("#classify-again")).to_be_visible()
    visit.focus_cells()
    with visit.page.expect_request("**/slides/summary"):
        visit.press("m")
    visit.page.click("#classify-again")
    summaries.answer(**other_model)
    visit.page.wait_for_timeout(300)
    expect(visit.page.locator("#classify-again")).to_have_count(0)
    gate.open()
