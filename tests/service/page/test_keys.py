"""The page of a service that was started with a file of API keys: no key, a wrong one, the right one, a revoked one."""

from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest
from playwright.sync_api import Browser, expect

from contract.bundle import Bundle
from service.auth.keys import Role, add, revoke
from tests.service.live_server import LiveServer, serving, until
from tests.service.page.browser import LYMPHOCYTE, Image, Visit, visiting

GUARDED = ("/model", "/classify", "/slides/summary")


@pytest.fixture
def keys(tmp_path: Path) -> Path:
    return tmp_path / "keys.json"


@pytest.fixture
def right(keys: Path) -> str:
    return add(keys, "technologist", Role.CLASSIFY)


@pytest.fixture
def guarded(bundle: Bundle, keys: Path, right: str) -> Iterator[LiveServer]:
    assert right
    with serving(bundle, keys_file=keys, site_fpr=0.001) as live:
        yield live


@pytest.fixture(scope="module")
def images(image: Image, tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    folder = tmp_path_factory.mktemp("cells")
    for number in range(24):
        (folder / f"{number:02}.png").write_bytes(image(LYMPHOCYTE, number))
    return sorted(folder.iterdir())


def give(visit: Visit, key: str) -> None:
    visit.page.fill("#key input", key)
    visit.page.keyboard.press("Enter")


def sent_keys(visit: Visit) -> list[str | None]:
    """Of the requests that need one, in order."""
    return [request.headers.get("authorization") for request in visit.requests if request.url.endswith(GUARDED)]


def test_a_wrong_and_a_revoked_key_are_told_and_no_image_is_lost(
    browser: Browser, guarded: LiveServer, keys: Path, right: str, images: list[Path]
) -> None:
    other = add(keys, "night-shift", Role.CLASSIFY)
    with visiting(browser, guarded.url, strict=False) as visit:
        dialog = visit.page.locator("#key")
        expect(dialog).to_contain_text("This service requires an API key.")
        give(visit, "hal_wrong")
        expect(dialog).to_contain_text("does not know this API key, or it was revoked")
        give(visit, right)
        expect(dialog).to_have_count(0)
        visit.shows("#model", "tiny 1.2.3")
        visit.choose(*images[:8])
        visit.wait_until_done()
        sent = sent_keys(visit)
        assert sent[:3] == [None, "Bearer hal_wrong", f"Bearer {right}"]
        assert set(sent[3:]) == {f"Bearer {right}"}

        revoke(keys, "technologist")
        asked = {"Authorization": f"Bearer {right}"}
        until(lambda: httpx.get(f"{guarded.url}/model", headers=asked).status_code == 401)
        visit.choose(*images[8:])
        expect(dialog).to_contain_text("does not know this API key, or it was revoked")
        give(visit, other)
        visit.progress("24 of 24 classified")
        expect(dialog).to_have_count(0)
        until(lambda: sent_keys(visit)[-1] == f"Bearer {other}")


def test_without_a_key_the_page_waits_and_goes_on_when_there_is_one(
    browser: Browser, guarded: LiveServer, right: str, images: list[Path]
) -> None:
    with visiting(browser, guarded.url, strict=False) as visit:
        dialog = visit.page.locator("#key")
        expect(dialog).to_be_visible()
        visit.page.keyboard.press("Escape")
        visit.shows("#model", "no API key was entered")
        visit.choose(*images)
        expect(dialog).to_be_visible()
        dialog.get_by_label("Close").click()
        visit.progress("0 of 24 classified · stopped")
        visit.page.click("#open-key")
        give(visit, right)
        visit.shows("#model", "tiny 1.2.3")
        visit.page.click("#stop")
        visit.progress("24 of 24 classified")
