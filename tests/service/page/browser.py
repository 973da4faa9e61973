"""A real Chromium on the page, with its requests and console errors; cells for the tiny network."""

import base64
import contextlib
import json
import os
import re
import shutil
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest
from playwright.sync_api import Browser, Error, Locator, Page, Request, Route, expect, sync_playwright

from contract.classes import BY_ID

LYMPHOCYTE, ERYTHROBLAST = BY_ID["lymphocyte"].index, BY_ID["erythroblast"].index
Image = Callable[[int, int], bytes]
PATIENCE_MS = 60_000
_NAMES = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable", "chrome")
_QUIET = (
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
)
expect.set_options(timeout=PATIENCE_MS)


def chromium_path() -> str | None:
    return os.environ.get("CHROMIUM") or next(filter(None, map(shutil.which, _NAMES)), None)


@contextlib.contextmanager
def chromium() -> Iterator[Browser]:
    """A browser, or a skip with the reason; to be closed before other tests run event loops of their own."""
    path = chromium_path()
    if path is None:
        pytest.skip("there is no Chromium on this machine; install it ('apt-get install chromium') or set CHROMIUM")
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=path, args=list(_QUIET))
        yield browser
        browser.close()


@dataclass
class Visit:
    """The page as a user sees it."""

    page: Page
    url: str
    errors: list[str] = field(default_factory=list)
    requests: list[Request] = field(default_factory=list)

    def choose(self, *files: Path | dict[str, Any]) -> None:
        self.page.locator("#images").set_input_files(list(files))  # type: ignore[arg-type]

    def drop(self, files: dict[str, bytes], kind: str = "image/png") -> None:
        """Drop files by name, as from a file manager."""
        transfer = self.page.evaluate_handle(
            """([files, type]) => {
                const transfer = new DataTransfer();
                for (const [name, base64] of files) {
                    const bytes = Uint8Array.from(atob(base64), (one) => one.charCodeAt(0));
                    transfer.items.add(new File([bytes], name, { type }));
                }
                return transfer;
            }""",
            [[[name, base64.b64encode(content).decode()] for name, content in files.items()], kind],
        )
        self.page.dispatch_event("body", "drop", {"dataTransfer": transfer})

    def wait_until_done(self) -> None:
        """Until every image has its answer and the slide its advice."""
        expect(self.page.locator("#progress")).to_be_visible()
        expect(self.page.locator("#stop")).to_be_hidden()
        expect(self.page.locator("#advice:not(.provisional)")).to_be_visible()

    def shows(self, selector: str, text: str) -> None:
        """Wait until an element contains a text."""
        expect(self.page.locator(selector).first).to_contain_text(text)

    def progress(self, text: str) -> None:
        """Wait until the progress line is exactly this."""
        expect(self.page.locator("#progress")).to_have_text(text)

    def sections(self) -> dict[str, int]:
        """How many cells each class has, in the order shown."""
        heads = self.page.locator(".group-head h3").all_inner_texts()
        found = [re.fullmatch(r"(.+?) ([\d,]+)( · .*)?", head.replace("\n", " ")) for head in heads]
        return {one[1]: int(one[2].replace(",", "")) for one in found if one}

    def reviewed(self, place: str) -> tuple[str, str]:
        """Cells and share of a class after review, as the differential says."""
        row = self.page.locator(f".panel tr[data-place={place}] td")
        return row.nth(3).inner_text(), row.nth(2).inner_text()

    def cell(self, file: str) -> Locator:
        """The cell of a file."""
        return self.page.locator(f"[role=option][aria-label$={json.dumps(file)}]")

    def press(self, *keys: str) -> None:
        for key in keys:
            self.page.keyboard.press(key)

    def focus_cells(self) -> None:
        self.page.locator("[role=listbox][tabindex='0']").focus()

    def download(self, button: str, to: Path) -> Path:
        with self.page.expect_download() as started:
            self.page.click(button)
        path = to / started.value.suggested_filename
        started.value.save_as(path)
        return path


class Gate:
    """Lets so many requests pass and holds the next ones until it is opened."""

    def __init__(self, page: Page, requests: int, path: str = "**/classify") -> None:
        self._page, self._left = page, requests
        self._held: list[Route] = []
        page.route(path, self._pass)

    def _pass(self, route: Route) -> None:
        self._left -= 1
        if self._left >= 0:
            route.continue_()
        else:
            self._held.append(route)

    def answer(self, **answer: Any) -> None:
        """Give the first one that is held, or comes, an answer."""
        while not self._held:
            self._page.wait_for_timeout(20)
        self._held.pop(0).fulfill(**answer)

    def open(self) -> None:
        """Let all pass, those that are held first."""
        self._left = 10**9
        for route in self._held:
            with contextlib.suppress(Error):  # the page may have gone
                route.continue_()


def kept(page: Page, *stores: str) -> list[int]:
    """How many records the browser keeps."""
    counted = """async (names) => {
        const open = indexedDB.open("hal");
        await new Promise((done) => open.onsuccess = done);
        const count = (name) => new Promise((done) => {
            const asked = open.result.transaction(name).objectStore(name).count();
            asked.onsuccess = () => done(asked.result);
        });
        return Promise.all(names.map(count));
    }"""
    found: list[int] = page.evaluate(counted, [*stores])
    return found


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


@contextlib.contextmanager
def visiting(browser: Browser, url: str, *, strict: bool = True, path: str = "/", **options: Any) -> Iterator[Visit]:
    """Open the page; it must request nothing from another host and, if ``strict``, log no error."""
    context = browser.new_context(**({"viewport": {"width": 1280, "height": 900}} | options))
    context.set_default_timeout(PATIENCE_MS)
    page = context.new_page()
    visit = Visit(page, url)
    page.on("console", lambda message: message.type in ("error", "warning") and visit.errors.append(message.text))
    page.on("pageerror", lambda error: visit.errors.append(str(error)))
    page.on("request", lambda request: visit.requests.append(request))
    try:
        page.goto(url + path)
        if path == "/":
            page.wait_for_selector("main")
        yield visit
        here = urlsplit(url).netloc
        elsewhere = [r.url for r in visit.requests if not r.url.startswith("blob:") and urlsplit(r.url).netloc != here]
        assert elsewhere == []
        if strict:
            assert not visit.errors, visit.errors
    finally:
        context.close()
