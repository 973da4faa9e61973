"""Nothing is lost: a reload, a crash of the page, a restart of the service; several slides; what delete deletes."""

import contextlib
from pathlib import Path

from playwright.sync_api import Browser, Error, expect

from contract.bundle import Bundle
from tests.conftest import WriteBundle
from tests.service.live_server import serving, until
from tests.service.page.browser import Gate, Visit, kept, visiting
from tests.service.process import Process, free_port, running
from tests.service.tiny_bundle import TinyNetwork

SLIDE_ID = "smear-4711-doe"


def process(bundle: Bundle, port: int) -> contextlib.AbstractContextManager[Process]:
    """``hal serve`` in a process of its own, to be killed."""
    return running(bundle.root, port=port, HAL_MAX_BATCH="2", HAL_SITE_FPR="0.001")


SIGNED_ADVICE = """async () => {
    const open = indexedDB.open("hal");
    await new Promise((done) => open.onsuccess = done);
    const asked = open.result.transaction("slides").objectStore("slides").getAll();
    await new Promise((done) => asked.onsuccess = done);
    return asked.result[0].signed?.advice ?? null;
}"""


def crash(visit: Visit) -> None:
    """End the page's process as the system would, and open the page again in a new one."""
    context = visit.page.context
    with visit.page.expect_event("crash"), contextlib.suppress(Error):
        visit.page.goto("chrome://crash", timeout=2000)
    visit.page = context.new_page()
    visit.page.goto(visit.url)


def test_a_slide_outlives_a_restart_of_the_service_a_reload_and_a_crash(
    browser: Browser, bundle: Bundle, images: list[Path]
) -> None:
    port = free_port()
    bodies: list[bytes] = []
    with contextlib.ExitStack() as stack:
        first = stack.enter_context(process(bundle, port))
        visit = stack.enter_context(visiting(browser, f"http://127.0.0.1:{port}", strict=False))
        page = visit.page
        page.on("request", lambda request: bodies.append((request.post_data_buffer or b"") + request.url.encode()))
        page.fill("#slide-id", SLIDE_ID)
        gate = Gate(page, 3)
        visit.choose(*images)
        visit.shows("#progress", "24 of 48 classified")
        visit.focus_cells()
        visit.press("m", "m", "b")
        first.kill()
        gate.open()
        visit.shows("#warnings", "The service does not answer.")
        stack.enter_context(process(bundle, port))
        visit.progress("48 of 48 classified")
        assert visit.sections() == {"Basophil": 1, "Lymphocyte": 45, "Monocyte": 2}

        page.reload()
        visit.progress("48 of 48 classified")
        assert visit.sections() == {"Basophil": 1, "Lymphocyte": 45, "Monocyte": 2}
        page.click("#undo")
        page.click("#undo")
        visit.focus_cells()
        visit.press("e")
        until(lambda: kept(visit.page, "events") == [2])
        crash(visit)
        visit.progress("48 of 48 classified")
        assert visit.sections() == {"Eosinophil": 1, "Lymphocyte": 46, "Monocyte": 1}
        assert visit.page.locator(".panel h2").inner_text() == SLIDE_ID
        visit.page.click("#undo")
        assert visit.sections() == {"Lymphocyte": 47, "Monocyte": 1}
    sent = b"".join(bodies)
    assert SLIDE_ID.encode() not in sent
    assert b"image_sha256" in sent


def test_an_upload_goes_on_after_a_reload_and_a_slide_is_opened_and_deleted(visit: Visit, images: list[Path]) -> None:
    page = visit.page
    gate = Gate(page, 1)
    page.fill("#slide-id", "first")
    visit.choose(*images[:24])
    visit.shows("#progress", "8 of 24 classified")
    page.click("#stop")
    visit.progress("8 of 24 classified · stopped")
    gate.open()
    page.reload()
    visit.progress("24 of 24 classified")
    page.click("#new-slide")
    page.get_by_label("Slide id").fill("second")
    visit.press("Enter")
    expect(page.locator(".panel h2")).to_have_text("second")
    expect(page.locator("#warnings")).to_be_empty()
    visit.choose(*images[:1])
    visit.progress("1 of 1 classified")

    page.click("#open-slides")
    rows = page.locator("#slides tbody tr")
    expect(rows).to_have_count(2)
    rows.filter(has_text="first").get_by_text("Open").click()
    visit.progress("24 of 24 classified")
    page.click("#open-slides")
    rows.filter(has_text="first").get_by_text("Delete").click()
    rows.filter(has_text="first").get_by_text("Keep").click()
    rows.filter(has_text="first").get_by_text("Delete").click()
    page.get_by_text("Delete for good").click()
    expect(rows).to_have_count(1)
    assert kept(page, "slides", "cells", "images", "events") == [1, 1, 1, 0]
    page.reload()
    expect(page.locator(".panel h2")).to_have_text("second")


def test_images_chosen_while_the_last_slide_opens_make_a_slide_that_stays(visit: Visit, images: list[Path]) -> None:
    visit.choose(*images[:24])
    visit.progress("24 of 24 classified")
    first, visit.page = visit.page, visit.page.context.new_page()
    visit.page.goto(visit.url)
    visit.page.wait_for_selector("main.empty")
    visit.choose(*images[24:25])
    first.close()  # Only now can the new tab hold the slide, and open it.
    visit.progress("1 of 1 classified")
    visit.page.wait_for_timeout(500)
    visit.progress("1 of 1 classified")
    assert kept(visit.page, "slides", "cells") == [2, 25]


def test_another_model_is_not_mixed_with_the_first_and_changes_no_decision_and_no_signed_slide(
    browser: Browser, images: list[Path], tmp_path: Path, write_bundle: WriteBundle, network: TinyNetwork
) -> None:
    bundle = write_bundle(tmp_path)
    with serving(bundle, site_fpr=0.001) as live, visiting(browser, live.url, strict=False) as visit:
        gate = Gate(visit.page, 1)
        visit.choose(*images[:24])
        visit.shows("#progress", "8 of 24 classified")
        visit.focus_cells()
        visit.press("m")
        write_bundle(tmp_path, version="1.2.4", graph=network.graph(bias=0.001))
        assert live.http.post("/admin/reload").status_code == 200
        gate.open()
        visit.progress("24 of 24 classified")
        visit.shows("#warnings", "changed its model")
        visit.page.click("#classify-again")
        visit.progress("24 of 24 classified")
        expect(visit.page.locator("#classify-again")).to_have_count(0)
        expect(visit.page.locator("#advice")).to_be_visible()
        assert visit.sections() == {"Lymphocyte": 23, "Monocyte": 1}

        visit.page.click("button#sign")
        visit.page.get_by_label("Your name").fill("Ada Byron")
        visit.press("Enter")
        expect(visit.page.locator("#signed")).to_be_visible()
        until(lambda: visit.page.evaluate(SIGNED_ADVICE) is not None)
        write_bundle(tmp_path, version="1.2.5", graph=network.graph(bias=0.002))
        assert live.http.post("/admin/reload").status_code == 200
        visit.page.reload()
        visit.shows("#model", "1.2.5")
        expect(visit.page.locator("#advice")).to_be_visible()
        expect(visit.page.locator("#classify-again")).to_have_count(0)


def test_a_full_storage_is_named_and_the_work_goes_on(browser: Browser, bundle: Bundle, images: list[Path]) -> None:
    with serving(bundle) as live, visiting(browser, live.url, strict=False) as visit:
        told = {"origin": live.url, "quotaSize": 10_000}
        visit.page.context.new_cdp_session(visit.page).send("Storage.overrideQuotaForOrigin", told)
        visit.choose(*images)
        visit.progress("48 of 48 classified")
        visit.shows("#warnings", "This browser cannot keep the slide (QuotaExceededError)")


def test_a_database_that_the_browser_closes_is_named_and_leaves_no_error_behind(
    browser: Browser, bundle: Bundle, images: list[Path]
) -> None:
    with serving(bundle) as live, visiting(browser, live.url) as visit:
        visit.choose(*images)
        visit.progress("48 of 48 classified")
        told = {"origin": live.url, "storageTypes": "indexeddb"}
        visit.page.context.new_cdp_session(visit.page).send("Storage.clearDataForOrigin", told)
        visit.page.get_by_role("button", name="Slides", exact=True).click()
        expect(visit.page.get_by_role("dialog")).to_be_visible()
        visit.shows("#warnings", "This browser cannot keep the slide")
        visit.progress("48 of 48 classified")


def test_a_slide_that_cannot_be_read_when_the_page_opens_is_no_silence(
    browser: Browser, bundle: Bundle, images: list[Path]
) -> None:
    broken = """const all = IDBObjectStore.prototype.getAll;
    IDBObjectStore.prototype.getAll = function (...given) {
        if (this.name === "cells") throw new DOMException("the disk is damaged", "UnknownError");
        return all.apply(this, given);
    };"""
    with serving(bundle) as live, visiting(browser, live.url) as visit:
        visit.choose(*images)
        visit.progress("48 of 48 classified")
        visit.page.add_init_script(broken)
        visit.page.reload()
        visit.shows("#warnings", "the disk is damaged")
