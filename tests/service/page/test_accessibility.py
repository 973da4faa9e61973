"""Keyboard, screen readers, narrow screens, light and dark."""

import json
from pathlib import Path
from typing import Any

import pytest
from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import Browser, Page, expect

from tests.service.live_server import LiveServer
from tests.service.page.browser import Visit, visiting


def test_every_control_is_reached_by_tab(seen: Visit) -> None:
    reached = set()
    seen.page.evaluate("document.activeElement.blur()")
    for _ in range(40):
        seen.page.keyboard.press("Tab")
        reached.add(seen.page.evaluate("document.activeElement.id || document.activeElement.dataset.filter"))
    wanted = {"choose-images", "choose-folder", "clear", "export-csv", "export-json", "print-slide", "theme"}
    assert wanted | {"open-card", "class-filter", "order", "grid", "hairy", "review"} <= reached


def violations(page: Page) -> list[str]:
    found = Axe().run(page).response["violations"]
    return [f"{one['id']}: {[node['html'][:120] for node in one['nodes'][:3]]}" for one in found]


@pytest.mark.parametrize(("width", "scheme"), [(1280, "light"), (768, "dark")])
def test_axe_finds_no_violation(
    browser: Browser, server: LiveServer, slide: list[Path], width: int, scheme: Any
) -> None:
    options = {"color_scheme": scheme, "viewport": {"width": width, "height": 900}}
    with visiting(browser, server.url, strict=False, **options) as visit:
        page = visit.page
        expect(page.locator("#open-card")).to_be_enabled()
        assert violations(page) == []
        visit.choose(*slide)
        visit.drop({"broken.jpg": b"\xff\xd8\xffnonsense", "cell.tif": b"II*\0"})
        visit.wait_until_done()
        for summary in page.locator("summary").all():
            summary.click()
        assert violations(page) == []
        page.focus("#grid")
        page.keyboard.press("Enter")
        expect(page.locator("#viewer")).to_be_visible()
        assert violations(page) == []
        page.keyboard.press("Escape")
        page.click("#open-card")
        assert violations(page) == []


@pytest.mark.parametrize("width", [400, 768, 1280])
def test_nothing_is_wider_than_the_window(seen: Visit, width: int) -> None:
    seen.page.set_viewport_size({"width": width, "height": 900})
    expect(seen.page.locator("html")).to_have_js_property("scrollWidth", width)


def test_light_and_dark_follow_the_system_and_the_button(browser: Browser, server: LiveServer) -> None:
    ground = "getComputedStyle(document.body).backgroundColor"
    with visiting(browser, server.url, color_scheme="dark") as visit:
        dark = visit.page.evaluate(ground)
        expect(visit.page.locator("#theme")).to_have_attribute("aria-pressed", "true")
        visit.page.click("#theme")
        light = visit.page.evaluate(ground)
    assert sum(json.loads(dark.replace("rgb(", "[").replace(")", "]"))) < 150
    assert sum(json.loads(light.replace("rgb(", "[").replace(")", "]"))) > 600
