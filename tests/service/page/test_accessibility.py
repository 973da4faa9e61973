"""Screen readers, narrow screens, light and dark."""

from pathlib import Path
from typing import Any

import pytest
from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import Browser, Page, expect

from tests.service.live_server import LiveServer
from tests.service.page.browser import Visit, visiting


def violations(page: Page) -> list[str]:
    found = Axe().run(page).response["violations"]
    return [f"{one['id']}: {[node['html'][:120] for node in one['nodes'][:3]]}" for one in found]


@pytest.mark.parametrize(
    ("width", "scheme", "dialogs"),
    [
        (1280, "light", ("#open-card", "#open-slides", "#export")),
        (768, "dark", ("button#sign", "#open-keys", "#new-slide")),
    ],
)
def test_axe_finds_no_violation_and_nothing_is_wider_than_the_window(
    browser: Browser, server: LiveServer, slide: list[Path], width: int, scheme: Any, dialogs: tuple[str, ...]
) -> None:
    options = {"color_scheme": scheme, "viewport": {"width": width, "height": 900}}
    with visiting(browser, server.url, strict=False, **options) as visit:
        page = visit.page
        expect(page.locator("#open-card")).to_be_enabled()
        dark = page.evaluate("getComputedStyle(document.body).backgroundColor.match(/\\d+/g).every((one) => one < 60)")
        assert dark == (scheme == "dark")
        expect(page.locator("#theme")).to_have_attribute("aria-pressed", str(dark).lower())
        assert violations(page) == []
        visit.choose(*slide)
        visit.drop({"broken.jpg": b"\xff\xd8\xffnonsense"})
        visit.wait_until_done()
        page.click("#confirm-shown")
        visit.cell("cell-00.png").click()
        assert violations(page) == []
        expect(page.locator("html")).to_have_js_property("scrollWidth", width)
        for opener in dialogs:
            page.click(opener)
            assert violations(page) == [], opener
            page.keyboard.press("Escape")
        page.click("#cards")
        visit.focus_cells()
        page.keyboard.press("Enter" if scheme == "dark" else "Shift+F10")
        assert violations(page) == []


def test_the_button_switches_between_light_and_dark(visit: Visit) -> None:
    ground = "getComputedStyle(document.body).backgroundColor"
    light = visit.page.evaluate(ground)
    visit.page.click("#theme")
    assert visit.page.evaluate(ground) != light
