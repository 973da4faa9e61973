"""The page with a thousand images, a busy service, and one that dies and comes back."""

import contextlib
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Browser, Route, expect

from contract.bundle import Bundle
from contract.classes import HAIRY_CELL
from tests.service.live_server import serving
from tests.service.page.browser import LYMPHOCYTE, Image, Visit, visiting
from tests.service.process import Process, free_port, running
from tests.service.slow_device import SlowDevice
from tests.service.tiny_bundle import TinyNetwork

THOUSAND = 1000


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory, image: Image) -> Path:
    """A thousand different images: every hundredth a hairy cell, the others lymphocytes."""
    root = tmp_path_factory.mktemp("archive")
    for number in range(THOUSAND):
        index = HAIRY_CELL.index if number % 100 == 0 else LYMPHOCYTE
        (root / f"{number:04}.png").write_bytes(image(index, number))
    return root


def some(folder: Path, images: int) -> list[Path]:
    return sorted(folder.iterdir())[:images]


@pytest.mark.serial
def test_a_folder_of_a_thousand_images_is_classified_without_freezing(
    browser: Browser, bundle: Bundle, folder: Path
) -> None:
    with serving(bundle, site_fpr=0.0005) as live, visiting(browser, live.url) as visit:
        most, flying = 0, 0

        def begin(request: Any) -> None:
            nonlocal most, flying
            if request.url.endswith("/classify"):
                flying += 1
                most = max(most, flying)

        def end(request: Any) -> None:
            nonlocal flying
            flying -= request.url.endswith("/classify")

        visit.page.on("request", begin)
        visit.page.on("requestfinished", end)
        visit.page.locator("#folder").set_input_files(folder)
        # The page answers while it works.
        visit.page.click("[data-filter=hairy]")
        visit.page.click("[data-filter=all]")
        visit.wait_until_done()
        page = visit.page
        expect(page.locator("#progress-text")).to_have_text("1,000 of 1,000 classified")
        expect(page.locator("#advice strong")).to_have_text("Follow up by flow cytometry")
        expect(page.locator(".figures")).to_contain_text("10 of 1,000")
        assert 1 <= most <= 2, "few requests at a time"
        assert sum(request.url.endswith("/classify") for request in visit.requests) == THOUSAND / 8
        cards = page.locator("#grid .cell")
        assert cards.count() < 60, "only what is in view is in the document"
        assert visit.classes()[:10] == ["Hairy cell"] * 10
        page.focus("#grid")
        page.keyboard.press("End")
        assert page.locator(".cell.active").get_attribute("aria-posinset") == "1000"
        assert page.locator(".cell.active").get_attribute("aria-setsize") == "1000"
        expect(page.locator(".cell.active")).to_be_in_viewport()
        assert cards.count() < 60
        # Pictures that were loaded are no longer held by their URL.
        held = page.evaluate(
            """async () => {
                const urls = [...document.querySelectorAll("#grid img")].map((image) => image.src);
                const answers = await Promise.all(urls.map((url) => fetch(url).then(() => 1, () => 0)));
                return answers.reduce((sum, held) => sum + held, 0);
            }"""
        )
        assert held == 0
        visit.errors.clear()  # The fetches of revoked URLs, which had to fail.


def test_a_busy_service_is_waited_for_as_long_as_it_asks(browser: Browser, bundle: Bundle, folder: Path) -> None:
    device = SlowDevice(held=True)
    with (
        serving(bundle, open_engine=lambda *_: device, queue_limit=1, max_batch=1) as live,
        visiting(browser, live.url, strict=False) as visit,
    ):
        visit.choose(*some(folder, 24))
        # Two requests at a time and a queue of one image: the second gets 429.
        visit.shows("#banner", "The service is busy")
        assert live.hal.statistics.refused > 0
        device.let_go()
        visit.wait_until_done()
        visit.progress("24 of 24 classified")
        expect(visit.page.locator("#banner")).to_be_hidden()


def process(bundle: Bundle, port: int) -> contextlib.AbstractContextManager[Process]:
    """``hal serve`` in a process of its own, to be killed."""
    return running(bundle.root, port=port, HAL_MAX_BATCH="2", HAL_SITE_FPR="0.001")


class Gate:
    """Lets so many classifications pass and holds the next ones until it is opened."""

    def __init__(self, visit: Visit, requests: int) -> None:
        self._left = requests
        self._held: list[Route] = []
        visit.page.route("**/classify", self._pass)

    def _pass(self, route: Route) -> None:
        self._left -= 1
        if self._left >= 0:
            route.continue_()
        else:
            self._held.append(route)

    def open(self) -> None:
        """Let all pass, those that are held first."""
        self._left = 10**9
        for route in self._held:
            route.continue_()

    def forget(self) -> None:
        """Let all pass but those that are held: the page has cancelled them."""
        self._left = 10**9


def test_a_service_that_is_killed_in_the_middle_is_waited_for_and_no_image_is_lost(
    browser: Browser, bundle: Bundle, folder: Path
) -> None:
    port = free_port()
    with contextlib.ExitStack() as stack:
        first = stack.enter_context(process(bundle, port))
        visit = stack.enter_context(visiting(browser, f"http://127.0.0.1:{port}", strict=False))
        expect(visit.page.locator("#open-card")).to_be_enabled()
        gate = Gate(visit, 5)
        visit.choose(*some(folder, 96))
        visit.shows("#progress-text", "40 of 96 classified")
        first.kill()
        gate.open()
        visit.shows("#banner", "The service does not answer.")
        stack.enter_context(process(bundle, port))
        visit.wait_until_done()
        visit.progress("96 of 96 classified")
        expect(visit.page.locator("#banner")).to_be_hidden()


def test_a_service_that_comes_back_with_another_model_is_not_mixed_with_the_first(
    browser: Browser, bundle: Bundle, folder: Path, tmp_path: Path, write_bundle: Any, network: TinyNetwork
) -> None:
    other = write_bundle(tmp_path, graph=network.graph(bias=0.001))
    port = free_port()
    with contextlib.ExitStack() as stack:
        first = stack.enter_context(process(bundle, port))
        visit = stack.enter_context(visiting(browser, f"http://127.0.0.1:{port}", strict=False))
        gate = Gate(visit, 1)
        visit.choose(*some(folder, 24))
        visit.shows("#progress-text", "8 of 24 classified")
        first.kill()
        gate.open()
        stack.enter_context(process(other, port))
        visit.shows("#progress-text", "24 of 24 classified")
        visit.shows("#banner", "changed its model")
        expect(visit.page.locator("#slide")).to_be_hidden()


def test_stop_keeps_what_was_answered_and_goes_on_when_told(browser: Browser, bundle: Bundle, folder: Path) -> None:
    with serving(bundle) as live, visiting(browser, live.url, strict=False) as visit:
        gate = Gate(visit, 2)
        visit.choose(*some(folder, 40))
        visit.shows("#progress-text", "16 of 40 classified")
        visit.page.click("#stop")
        visit.progress("16 of 40 classified · stopped")
        expect(visit.page.locator("#stop")).to_have_text("Continue")
        gate.forget()
        visit.page.click("#stop")
        visit.wait_until_done()
        visit.progress("40 of 40 classified")
