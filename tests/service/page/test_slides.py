"""Slides that are opened, begun and deleted while others still are, or another tab has them: none loses anything."""

from pathlib import Path

from playwright.sync_api import Page, expect

from tests.service.live_server import until
from tests.service.page.browser import LYMPHOCYTE, Gate, Image, Visit, begin, kept, sign


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
    visit.choose(*images[:24])
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
