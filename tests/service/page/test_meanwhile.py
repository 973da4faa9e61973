"""What a person does while an answer, a file or a slide is on its way stands; nothing late overrides it."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Browser, Page, expect

from contract.classes import HAIRY_CELL
from tests.service.live_server import LiveServer, until
from tests.service.page.browser import LYMPHOCYTE, Gate, Image, Visit, kept, visiting


@pytest.fixture
def lenient(browser: Browser, server: LiveServer) -> Iterator[Visit]:
    """The page, with errors in its console."""
    with visiting(browser, server.url, strict=False) as opened:
        yield opened


@pytest.fixture(scope="module")
def images(tmp_path_factory: pytest.TempPathFactory, image: Image) -> list[Path]:
    folder = tmp_path_factory.mktemp("cells")
    for number in range(24):
        (folder / f"{number:02}.png").write_bytes(image(LYMPHOCYTE, number))
    return sorted(folder.iterdir())


def begin(visit: Visit, name: str, *images: Path) -> None:
    """Begin another slide; the first one begins with its images."""
    if visit.page.locator("#new-slide").count():
        visit.page.click("#new-slide")
        visit.page.locator("dialog#new input").fill(name)
        visit.press("Enter")
        expect(visit.page.locator(".panel h2")).to_have_text(name)
    else:
        visit.page.fill("#slide-id", name)
    if images:
        visit.choose(*images)
        visit.progress(f"{len(images)} of {len(images)} classified")


def sign(visit: Visit) -> None:
    visit.page.click("button#sign")
    visit.page.get_by_label("Your name").fill("Ada Byron")
    visit.press("Enter")
    expect(visit.page.locator("#signed")).to_be_visible()


def delete(page: Page, slide: str) -> None:
    """Ask for it; the dialog is open."""
    page.locator("#slides tbody tr").filter(has_text=slide).get_by_text("Delete").click()
    page.get_by_text("Delete for good").click()


def open_slide(page: Page, slide: str) -> None:
    page.click("#open-slides")
    page.locator("#slides tbody tr").filter(has_text=slide).get_by_text("Open").click()


# Clicks buttons by their text, each as soon as it is there; of several the last, which is that of the oldest slide.
CLICK = """async (texts) => {
    for (const text of texts) {
        const found = () => [...document.querySelectorAll("button")].findLast((one) => one.textContent === text);
        while (!found()) await new Promise((done) => setTimeout(done));
        found().click();
    }
}"""
# Takes the lock of the slide that was begun first, which opening it needs; `letGo` gives it back.
HOLD = """async () => {
    const open = indexedDB.open("hal");
    await new Promise((done) => open.onsuccess = done);
    const asked = open.result.transaction("slides").objectStore("slides").getAllKeys();
    await new Promise((done) => asked.onsuccess = done);
    await new Promise((held) => {
        navigator.locks.request(`hal-${asked.result[0]}`, () => (held(), new Promise((done) => (window.letGo = done))));
    });
}"""


def test_a_slide_that_another_tab_changed_meanwhile_is_opened_as_it_is_now(visit: Visit, images: list[Path]) -> None:
    begin(visit, "first", *images[:2])
    other = visit.page.context.new_page()
    other.goto(visit.url)
    other.click("#recent button")
    expect(other.locator("#warnings")).to_contain_text("open in another tab")
    visit.focus_cells()
    visit.press("m")
    sign(visit)
    visit.page.close()
    visit.page = other
    other.click("#recent button")
    expect(other.locator("#signed")).to_be_visible()
    assert visit.sections() == {"Lymphocyte": 1, "Monocyte": 1}


def test_an_upload_goes_on_if_another_slide_cannot_be_opened(visit: Visit, images: list[Path]) -> None:
    begin(visit, "first", *images[:1])
    begin(visit, "second")
    gate = Gate(visit.page, 0)
    visit.choose(*images)
    visit.shows("#progress", "0 of 24 classified")
    visit.page.evaluate(HOLD)
    open_slide(visit.page, "first")
    expect(visit.page.get_by_role("alert")).to_contain_text("open in another tab")
    gate.open()
    visit.progress("24 of 24 classified")
    other = visit.page.context.new_page()
    other.goto(visit.url)
    other.wait_for_timeout(500)
    expect(other.locator("main.empty")).to_be_visible()


def test_a_slide_is_not_deleted_while_another_tab_has_it(visit: Visit, images: list[Path]) -> None:
    begin(visit, "first", *images[:2])
    other = visit.page.context.new_page()
    other.goto(visit.url)
    other.click("#open-slides")
    delete(other, "first")
    expect(other.get_by_role("alert")).to_contain_text("open in another tab")
    assert kept(other, "slides", "cells", "images") == [1, 2, 2]
    visit.page.close()
    visit.page = other
    other.locator("#slides tbody tr").get_by_text("Open").click()
    visit.progress("2 of 2 classified")
    visit.choose(images[2])
    until(lambda: kept(other, "slides", "cells", "images") == [1, 3, 3])


def test_a_slide_that_is_deleted_while_it_opens_is_gone(visit: Visit, images: list[Path]) -> None:
    begin(visit, "first", *images[:2])
    begin(visit, "second", *images[:1])
    deleted = ["Slides", "Open", "Delete", "Delete for good"]
    visit.page.evaluate(f"async (texts) => {{ await ({HOLD})(); await ({CLICK})(texts); letGo(); }}", deleted)
    until(lambda: kept(visit.page, "slides", "cells", "images") == [1, 1, 1])
    visit.press("Escape")
    expect(visit.page.locator("main.empty")).to_be_visible()


FILES = """(count) => {
    const transfer = new DataTransfer();
    for (let n = 0; n < count; n++) transfer.items.add(new File([new Uint8Array(20000)], `${n}.png`));
    document.getElementById("images").files = transfer.files;
    document.getElementById("images").dispatchEvent(new Event("change"));
}"""


def test_deleting_a_slide_leaves_none_of_its_images(visit: Visit) -> None:
    Gate(visit.page, 0)
    visit.page.evaluate(FILES, 400)
    visit.shows("#progress", "0 of 400")
    visit.page.evaluate(CLICK, ["Slides", "Delete", "Delete for good"])
    expect(visit.page.locator("main.empty")).to_be_visible()
    visit.page.wait_for_timeout(1500)
    until(lambda: kept(visit.page, "slides", "cells", "images") == [0, 0, 0])


def test_a_slide_whose_images_were_not_kept_in_time_is_shown(visit: Visit, images: list[Path]) -> None:
    begin(visit, "first", *images[:2])
    until(lambda: kept(visit.page, "images") == [2])
    visit.page.evaluate("""async () => {
        const open = indexedDB.open("hal");
        await new Promise((done) => open.onsuccess = done);
        const images = open.result.transaction("images", "readwrite").objectStore("images");
        await new Promise((done) => images.clear().onsuccess = done);
    }""")
    visit.page.reload()
    visit.progress("2 of 2 classified")
    expect(visit.page.locator(".cell .placeholder")).to_have_count(2)


def test_images_are_classified_again_while_requests_are_under_way(lenient: Visit, images: list[Path]) -> None:
    visit = lenient
    gate = Gate(visit.page, 1)
    visit.choose(*images)
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
    visit.choose(*images)
    visit.shows("#progress", "0 of 24 classified")
    visit.page.click("#rename-slide")
    visit.page.fill("#rename input", "smear-7")
    gate.open()
    visit.progress("24 of 24 classified")
    visit.press("Enter")
    expect(visit.page.locator(".panel h2")).to_have_text("smear-7")


def test_the_focus_stays_where_it_was_moved(visit: Visit, images: list[Path]) -> None:
    gate = Gate(visit.page, 1)
    visit.choose(*images)
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
    visit.choose(*images)
    visit.shows("#progress", "8 of 24 classified")
    visit.page.click("#open-key")
    visit.press("Escape")
    gate.open()
    visit.progress("24 of 24 classified")


def test_two_drops_while_the_last_slide_opens_are_one_slide(visit: Visit, images: list[Path]) -> None:
    begin(visit, "first", *images[:1])
    other = visit.page.context.new_page()
    other.goto(visit.url)
    other.wait_for_selector("main.empty")
    visit.page = other
    visit.choose(*images[:2])
    visit.choose(*images[2:5])
    visit.progress("5 of 5 classified")


# The file can be read when `read` is called.
DROP_SLOWLY = """(bytes) => {
    const file = new File([new Uint8Array(bytes)], "a.png");
    const entry = { isFile: true, fullPath: "/a.png", file: (resolve) => (window.read = () => resolve(file)) };
    const dataTransfer = { types: ["Files"], items: [{ webkitGetAsEntry: () => entry }], files: [] };
    dispatchEvent(Object.assign(new Event("drop"), { dataTransfer }));
}"""


def test_a_folder_that_is_read_while_another_slide_is_begun_is_not_added_to_that(
    visit: Visit, images: list[Path], image: Image
) -> None:
    begin(visit, "first", *images[:1])
    visit.page.evaluate(DROP_SLOWLY, list(image(LYMPHOCYTE, 99)))
    begin(visit, "second")
    visit.page.evaluate("read()")
    visit.shows("#warnings", "added")
    visit.progress("0 of 0 classified")


def test_a_folder_that_is_read_after_the_first_slide_was_left_is_not_added_to_the_next(
    visit: Visit, images: list[Path], image: Image
) -> None:
    visit.page.evaluate(DROP_SLOWLY, list(image(LYMPHOCYTE, 99)))
    begin(visit, "first", *images[:1])
    begin(visit, "second")
    visit.page.evaluate("read()")
    visit.shows("#warnings", "No image was added to “first”")
    visit.progress("0 of 0 classified")


def test_a_folder_that_is_read_while_the_last_slide_opens_begins_a_slide_with_the_typed_id(
    visit: Visit, images: list[Path], image: Image
) -> None:
    begin(visit, "first", *images[:2])
    other = visit.page.context.new_page()
    other.goto(visit.url)
    other.wait_for_selector("main.empty")
    first, visit.page = visit.page, other
    other.fill("#slide-id", "second")
    other.evaluate(DROP_SLOWLY, list(image(LYMPHOCYTE, 99)))
    first.close()
    other.wait_for_timeout(500)  # Now it has the last slide, or has given up on a slow machine.
    other.evaluate("read()")
    visit.progress("1 of 1 classified")
    expect(other.locator(".panel h2")).to_have_text("second")


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


def test_a_decision_outlives_a_tab_that_is_closed_at_once(visit: Visit, images: list[Path]) -> None:
    begin(visit, "first", *images[:6])
    visit.wait_until_done()
    visit.page.evaluate("""() => void setTimeout(() => {
        document.getElementById("confirm-shown").click();
        for (const end = Date.now() + 1000; Date.now() < end; );
    })""")
    context = visit.page.context
    visit.page.close()
    visit.page = context.new_page()
    visit.page.goto(visit.url)
    visit.shows("#state", "6 reviewed")


def test_advice_of_the_answers_before_is_not_shown(lenient: Visit, images: list[Path]) -> None:
    visit = lenient
    gate = Gate(visit.page, 3)
    visit.choose(*images)
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
