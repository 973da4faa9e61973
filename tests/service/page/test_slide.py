"""A slide on the page: its cells have the service's classes, and it has a differential and advice."""

import csv
import re
from pathlib import Path

from playwright.sync_api import Browser, expect

from contract import bundle as bundles
from service.settings import Settings
from tests.paths import ROOT
from tests.service.live_server import LiveServer, serving
from tests.service.page.browser import Visit, visiting
from tests.service.page.cells import ERYTHROBLAST, LYMPHOCYTE, Image

CELLS = ROOT / "tests/data/cells"


def test_real_cells_get_the_classes_that_the_service_gives_them(browser: Browser, tmp_path: Path) -> None:
    images = sorted(CELLS.glob("*.jpg"))
    shipped = bundles.load(ROOT / Settings.model_fields["bundle"].default)
    with serving(shipped) as live, visiting(browser, live.url) as visit:
        visit.drop({path.name: path.read_bytes() for path in images}, "image/jpeg")
        visit.wait_until_done()
        exported = visit.download("#export-csv", tmp_path)
        expect(visit.page.locator("#advice strong")).to_have_text("Too few cells")
        expect(visit.page.locator("#advice")).to_contain_text("learned from composite images")
        answers = [
            live.http.post("/classify", files={"file": path.read_bytes()}).json()["results"][0] for path in images
        ]
    with exported.open(encoding="utf-8-sig", newline="") as stream:
        rows = {row["file"]: row for row in csv.DictReader(stream)}
    with (CELLS / "labels.csv").open(encoding="utf-8") as stream:
        labels = {row["file"]: row["label"] for row in csv.DictReader(stream)}
    assert [rows[path.name]["predicted_class"] for path in images] == [a["predicted_class"] for a in answers]
    assert [rows[path.name]["image_sha256"] for path in images] == [a["image_sha256"] for a in answers]
    assert {row["hairy_flag"] for row in rows.values()} == {"false"}
    right = sum(rows[name]["predicted_class"] == label for name, label in labels.items())
    assert right >= 0.8 * len(labels)


def test_the_slide_is_counted_and_advised_on(seen: Visit) -> None:
    page = seen.page
    expect(page.locator("#progress-text")).to_have_text("27 of 27 classified")
    expect(page.locator("#advice strong")).to_have_text("Follow up by flow cytometry")
    expect(page.locator(".figures")).to_contain_text("3 of 23")
    expect(page.locator("#chart svg")).to_have_attribute("aria-label", _containing("Lymphocyte 87.0, Hairy cell 13.0"))
    expect(page.locator("#chart svg")).to_have_attribute("aria-label", _containing("Erythroblast (NRBC) 17.4"))
    page.click("#table-details summary")
    row = page.locator("#differential tr", has_text="Lymphocyte").first
    expect(row).to_contain_text("87.0")
    assert page.locator("#differential tbody tr").count() == 20


def _containing(text: str) -> re.Pattern[str]:
    return re.compile(re.escape(text))


def test_a_new_slide_begins_empty(browser: Browser, server: LiveServer, image: Image) -> None:
    with visiting(browser, server.url) as visit:
        visit.drop({"first.png": image(LYMPHOCYTE, 1)})
        visit.wait_until_done()
        visit.page.click("#clear")
        for hidden in ("#cells", "#slide", "#run"):
            expect(visit.page.locator(hidden)).to_be_hidden()
        assert visit.page.locator(".cell").count() == 0
        visit.drop({"second.png": image(ERYTHROBLAST, 2)})
        visit.wait_until_done()
        assert visit.classes() == ["Erythroblast (NRBC)"]
