"""The page at ``/`` in a real Chromium against the running service: what a technologist sees and can do."""

import csv
import io
import json
import re
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import PIL.Image
import pytest
from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import Browser, Page, expect

from contract import bundle as bundles
from contract.bundle import Bundle
from contract.classes import BY_SLUG, CLASS_NAMES, HAIRY_CELL
from contract.slide_results import read_files
from service.settings import Settings
from tests.service.browser import Visit, chromium, visiting
from tests.service.live_server import LiveServer, serving
from tests.service.tiny_bundle import TinyNetwork, coloured, encoded

ROOT = Path(__file__).parents[2]
CELLS = ROOT / "tests/data/cells"
LYMPHOCYTE, ERYTHROBLAST = BY_SLUG["lymphocyte"].index, BY_SLUG["erythroblast"].index

Image = Callable[[int, int], bytes]


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with chromium() as opened:
        yield opened


@pytest.fixture(scope="module")
def server(bundle: Bundle) -> Iterator[LiveServer]:
    with serving(bundle, site_fpr=0.002, slide_min_cells=20) as live:
        yield live


@pytest.fixture(scope="module")
def image(network: TinyNetwork) -> Image:
    """A PNG of a class, unlike every other with another number."""

    def made(index: int, number: int) -> bytes:
        pixels = network.cell(index).copy()
        pixels[0, 0] = (number % 256, number // 256, 7)
        return encoded(pixels)

    return made


@pytest.fixture(scope="module")
def slide(tmp_path_factory: pytest.TempPathFactory, image: Image) -> list[Path]:
    """20 lymphocytes, 3 hairy cells, 4 erythroblasts."""
    folder = tmp_path_factory.mktemp("slide")
    for number, index in enumerate([LYMPHOCYTE] * 20 + [HAIRY_CELL.index] * 3 + [ERYTHROBLAST] * 4):
        (folder / f"cell-{number:02}.png").write_bytes(image(index, number))
    return sorted(folder.iterdir())


@pytest.fixture(scope="module")
def visited(browser: Browser, server: LiveServer, slide: list[Path]) -> Iterator[Visit]:
    with visiting(browser, server.url) as visit:
        visit.choose(*slide)
        visit.wait_until_done()
        yield visit


@pytest.fixture
def seen(visited: Visit) -> Visit:
    """The page with the slide classified, as it was before anything was looked at."""
    visited.page.keyboard.press("Escape")
    visited.page.select_option("#class-filter", "")
    visited.page.select_option("#order", "urgent")
    visited.page.click("[data-filter=all]")
    return visited


# Real cells


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


# Taking images in


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


def test_a_folder_is_taken_with_its_folders_and_only_its_images(
    browser: Browser, server: LiveServer, tmp_path: Path, image: Image
) -> None:
    inner = tmp_path / "smear" / "field-2"
    inner.mkdir(parents=True)
    (inner / "b.png").write_bytes(image(LYMPHOCYTE, 1))
    (inner.parent / "a.png").write_bytes(image(LYMPHOCYTE, 2))
    (inner.parent / "notes.txt").write_text("not an image")
    (inner.parent / ".DS_Store").write_text("hidden")
    with visiting(browser, server.url) as visit:
        visit.page.locator("#folder").set_input_files(inner.parent)
        visit.wait_until_done()
        expect(visit.page.locator("#progress-text")).to_have_text("2 of 2 classified")
        expect(visit.page.locator("#banner")).to_contain_text("1 file left out")
        expect(visit.page.locator("#banner")).to_contain_text("notes.txt")
        visit.page.select_option("#order", "file")
        labels = [card.get_attribute("aria-label") for card in visit.page.locator("#grid .cell").all()]
    assert ["smear/a.png" in str(labels[0]), "smear/field-2/b.png" in str(labels[1])] == [True, True]


def test_a_refused_image_says_why_and_hurts_no_other(browser: Browser, server: LiveServer, image: Image) -> None:
    small = encoded(np.zeros((100, 100, 3), np.uint8))
    with visiting(browser, server.url) as visit:
        visit.drop({"good.png": image(LYMPHOCYTE, 1), "small.png": small, "broken.jpg": b"\xff\xd8\xffnonsense"})
        visit.wait_until_done()
        expect(visit.page.locator("#progress-text")).to_have_text("1 of 3 classified · 2 refused")
        visit.page.click("[data-filter=refused]")
        expect(visit.page.locator("#grid .cell")).to_have_count(2)
        cards = " ".join(visit.page.locator("#grid .cell").all_inner_texts())
        assert "The image is 100x100 pixels, expected exactly 256x256" in cards
        assert "no end marker" in cards


def test_a_larger_image_is_cropped_to_its_centre_exactly_and_says_so(
    browser: Browser, server: LiveServer, network: TinyNetwork
) -> None:
    # The tiny network sees one pixel, (128, 128) of what it is given; only the centre crop has it there.
    pixels = coloured(network.colours[LYMPHOCYTE], 301, 298)
    pixels[(301 - 256) // 2 + 128, (298 - 256) // 2 + 128] = network.colours[ERYTHROBLAST]
    with visiting(browser, server.url) as visit:
        visit.drop({"large.png": encoded(pixels)})
        visit.wait_until_done()
        assert visit.classes() == ["Erythroblast (NRBC)"]
        expect(visit.page.locator("#progress-text")).to_contain_text("1 image was larger and cropped to the centre")
        expect(visit.page.locator(".cell .tag.cropped")).to_be_visible()
        visit.page.click(".cell")
        expect(visit.page.locator("#viewer .notes")).to_contain_text("Only the centre of 256")


def test_what_a_browser_would_quietly_convert_is_not_cropped_but_refused(
    browser: Browser, server: LiveServer, image: Image
) -> None:
    def stored(mode: str, kind: str) -> bytes:
        stream = io.BytesIO()
        PIL.Image.new(mode, (300, 300), 128 if mode == "L" else (90, 60, 30, 0)).save(stream, kind)
        return stream.getvalue()

    sixteen = io.BytesIO()
    PIL.Image.new("I;16", (300, 300), 30_000).save(sixteen, "PNG")
    files = {
        "good.png": image(LYMPHOCYTE, 1),
        "grey.png": stored("L", "PNG"),
        "grey.jpg": stored("L", "JPEG"),
        "cmyk.jpg": stored("CMYK", "JPEG"),
        "deep.png": sixteen.getvalue(),
    }
    with visiting(browser, server.url) as visit:
        visit.drop(files)
        expect(visit.page.locator("#progress-text")).to_have_text("1 of 5 classified · 4 refused")
        assert visit.page.locator(".tag.cropped").count() == 0


def test_file_names_stay_in_the_browser(browser: Browser, server: LiveServer, image: Image) -> None:
    with visiting(browser, server.url) as visit:
        bodies: list[bytes] = []
        visit.page.on("request", lambda request: bodies.append(request.post_data_buffer or b""))
        visit.drop({"doe-jane-1970.png": image(LYMPHOCYTE, 1)})
        visit.wait_until_done()
    sent = b"".join(bodies)
    assert b"summary" not in sent
    assert b"doe-jane" not in sent
    assert b"image_sha256" in sent


# Looking


def test_hairy_cells_come_first_and_doubtful_ones_say_why(
    browser: Browser, server: LiveServer, image: Image, network: TinyNetwork
) -> None:
    between = (network.colours[0].astype(int) + network.colours[1].astype(int)) // 2
    doubtful = coloured(between)
    with visiting(browser, server.url) as visit:
        visit.drop({"1.png": image(LYMPHOCYTE, 1), "2.png": encoded(doubtful), "3.png": image(HAIRY_CELL.index, 3)})
        visit.wait_until_done()
        first, second, third = visit.page.locator("#grid .cell").all()
        expect(first).to_contain_text("Hairy?")
        expect(first).to_contain_text("Possible hairy cell: confirm by flow cytometry.")
        expect(second).to_contain_text("Review")
        expect(second.locator(".why")).not_to_be_empty()
        assert third.inner_text().count("Review") == 0
        expect(visit.page.locator("[data-filter=hairy]")).to_have_text("Possible hairy (1)")


def test_cells_are_filtered_by_class_and_by_need(seen: Visit) -> None:
    page = seen.page
    options = page.locator("#class-filter option").all_inner_texts()
    assert options == ["All classes", "Lymphocyte (20)", "Hairy cell (3)", "Erythroblast (NRBC) (4)"]
    page.select_option("#class-filter", "Erythroblast (NRBC)")
    assert set(seen.classes()) == {"Erythroblast (NRBC)"}
    assert page.locator("#grid .cell").count() == 4
    page.click("[data-filter=hairy]")
    expect(page.locator("#no-cells")).to_be_visible()
    page.select_option("#class-filter", "")
    assert seen.classes() == ["Hairy cell"] * 3
    page.click("[data-filter=all]")
    page.select_option("#order", "class")
    page.set_viewport_size({"width": 1280, "height": 2500})
    expect(page.locator("#grid .cell")).to_have_count(27)
    assert list(Counter(seen.classes())) == ["Lymphocyte", "Hairy cell", "Erythroblast (NRBC)"]
    page.set_viewport_size({"width": 1280, "height": 900})


def test_the_keyboard_alone_moves_through_the_cells_and_the_large_view(seen: Visit) -> None:
    page = seen.page
    active = page.locator(".cell.active")

    def place() -> str | None:
        return active.get_attribute("aria-posinset")

    page.focus("#grid")
    assert place() == "1"
    page.keyboard.press("ArrowRight")
    assert place() == "2"
    page.keyboard.press("End")
    assert place() == "27"
    page.keyboard.press("ArrowRight")
    assert place() == "27"
    page.keyboard.press("Home")
    page.keyboard.press("ArrowDown")
    columns = int(place() or 0) - 1
    assert columns > 1
    page.keyboard.press("ArrowUp")
    page.keyboard.press("Enter")
    viewer = page.locator("#viewer")
    expect(viewer).to_be_visible()
    expect(page.locator("#viewer-class")).to_have_text("Hairy cell")
    expect(viewer.locator(".facts")).to_contain_text("1 of 27")
    for _ in range(3):
        page.keyboard.press("ArrowRight")
    expect(viewer.locator(".facts")).to_contain_text("4 of 27")
    expect(page.locator("#viewer-class")).not_to_have_text("Hairy cell")
    assert viewer.locator(".bars .row").count() == 20
    page.keyboard.press("Escape")
    expect(viewer).to_be_hidden()
    assert place() == "4"
    assert page.evaluate("document.activeElement.id") == "grid"
    assert page.locator("#grid").get_attribute("aria-activedescendant") == active.get_attribute("id")


def test_every_control_is_reached_by_tab(seen: Visit) -> None:
    reached = set()
    seen.page.evaluate("document.activeElement.blur()")
    for _ in range(40):
        seen.page.keyboard.press("Tab")
        reached.add(seen.page.evaluate("document.activeElement.id || document.activeElement.dataset.filter"))
    wanted = {"choose-images", "choose-folder", "clear", "export-csv", "export-json", "print-slide", "theme"}
    assert wanted | {"open-card", "class-filter", "order", "grid", "hairy", "doubtful"} <= reached


# Taking away


def test_exports_hold_every_cell_and_are_read_by_the_command_line(seen: Visit, tmp_path: Path) -> None:
    table = seen.download("#export-csv", tmp_path)
    document = json.loads(seen.download("#export-json", tmp_path).read_text(encoding="utf-8"))
    assert [entry["file"] for entry in document["results"]] == [f"cell-{number:02}.png" for number in range(27)]
    assert list(document["results"][0]["probabilities"]) == list(CLASS_NAMES)
    assert document["summary"]["advice"] == "follow up by flow cytometry"
    saved = tmp_path / "again.json"
    saved.write_text(json.dumps(document), encoding="utf-8")
    threshold = document["results"][0]["hairy_cell"]["threshold"]
    by_table, by_document = (read_files([path]).cells(threshold) for path in (table, saved))
    assert by_table == by_document
    assert Counter(cell.predicted.index for cell in by_table) == {LYMPHOCYTE: 20, HAIRY_CELL.index: 3, ERYTHROBLAST: 4}


def test_a_file_name_is_never_a_formula_nor_markup(
    browser: Browser, server: LiveServer, image: Image, tmp_path: Path
) -> None:
    name = '=HYPERLINK("x"),<img src=x onerror=alert(1)>.png'
    with visiting(browser, server.url) as visit:
        visit.drop({name: image(LYMPHOCYTE, 1)})
        visit.wait_until_done()
        visit.page.click(".cell")
        expect(visit.page.locator("#viewer .facts")).to_contain_text(name)
        visit.page.keyboard.press("Escape")
        exported = visit.download("#export-csv", tmp_path)
    with exported.open(encoding="utf-8-sig", newline="") as stream:
        (row,) = csv.DictReader(stream)
    assert row["file"] == f"'{name}"


def test_the_print_view_has_the_summary_and_the_cells_to_look_at(
    browser: Browser, server: LiveServer, slide: list[Path]
) -> None:
    with visiting(browser, server.url) as visit:
        visit.page.evaluate("() => { window.print = () => document.body.dataset.printed = 'yes'; }")
        visit.choose(*slide)
        visit.wait_until_done()
        visit.page.click("#print-slide")
        expect(visit.page.locator("body")).to_have_attribute("data-printed", "yes")
        visit.page.emulate_media(media="print")
        printed = visit.page.locator("#print")
        expect(printed).to_contain_text("Follow up by flow cytometry")
        expect(printed).to_contain_text("to be confirmed by a qualified technologist")
        expect(printed.locator("figure")).to_have_count(3)
        assert printed.locator("tbody tr").count() == 20
        expect(visit.page.locator("#grid")).to_be_hidden()
        widths = printed.locator("figure img").evaluate_all("images => images.map(image => image.naturalWidth)")
    assert widths == [256] * 3


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


# The model's card


def test_the_card_tells_the_evidence_of_each_class_and_the_limits(seen: Visit) -> None:
    seen.page.click("#open-card")
    card = seen.page.locator("#card")
    expect(card).to_contain_text("Model tiny 1.2.3")
    expect(card).to_contain_text("sees one pixel")
    assert card.locator("tbody").first.locator("tr").count() == 20
    assert card.locator(".evidence.real").count() == 20


def test_composite_evidence_is_told_in_the_header_the_advice_and_the_card(
    browser: Browser, bundle: Bundle, slide: list[Path], tmp_path: Path
) -> None:
    described = bundle.manifest.model_dump(mode="json")
    described["classes"][HAIRY_CELL.index]["evidence"] = "composite"
    described["policy"]["false_flags"] = {"flagged": 1, "cells": 3000, "data": "val split"}
    for file in bundle.root.iterdir():
        (tmp_path / file.name).write_bytes(file.read_bytes())
    (tmp_path / bundles.MANIFEST_NAME).write_text(json.dumps(described), encoding="utf-8")
    with serving(bundles.load(tmp_path)) as live, visiting(browser, live.url) as visit:
        visit.choose(*slide)
        visit.wait_until_done()
        expect(visit.page.locator("#model-name")).to_contain_text("hairy class learned from composite images")
        expect(visit.page.locator(".cautions").first).to_contain_text("was learned from composite images")
        visit.page.click("#open-card")
        expect(visit.page.locator("#card .evidence.composite")).to_have_count(1)


# For everybody


def violations(page: Page) -> list[str]:
    found = Axe().run(page).response["violations"]
    return [f"{one['id']}: {[node['html'][:120] for node in one['nodes'][:3]]}" for one in found]


@pytest.mark.parametrize(("width", "scheme"), [(1280, "light"), (768, "dark")])
def test_axe_finds_nothing_to_complain_about(
    browser: Browser, server: LiveServer, slide: list[Path], width: int, scheme: Any
) -> None:
    options = {"color_scheme": scheme, "viewport": {"width": width, "height": 900}}
    with visiting(browser, server.url, strict=False, **options) as visit:
        page = visit.page
        expect(page.locator("#open-card")).to_be_enabled()
        assert violations(page) == []
        visit.choose(*slide)
        visit.drop({"broken.jpg": b"\xff\xd8\xffnonsense"})
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


# How it is served


def test_the_page_runs_nothing_but_its_own_files(server: LiveServer) -> None:
    response = server.http.get("/")
    assert response.headers["content-type"] == "text/html; charset=utf-8"
    policy = response.headers["content-security-policy"]
    assert "default-src 'none'" in policy
    assert "script-src 'self';" in policy
    assert "unsafe" not in policy
    assert "<script>" not in response.text
    assert re.findall(r"\son\w+=|style=", response.text) == []


def test_files_of_the_page_are_asked_for_again_and_not_sent_twice(server: LiveServer) -> None:
    first = server.http.get("/static/page.js")
    assert first.headers["content-type"] == "text/javascript; charset=utf-8"
    again = server.http.get("/static/page.js", headers={"If-None-Match": first.headers["etag"]})
    assert (again.status_code, again.content) == (304, b"")


@pytest.mark.parametrize("name", ["nothing.js", "..%2Fapp.py", "%2e%2e%2fsettings.py", "__init__.py"])
def test_no_path_leads_out_of_the_page_s_files(server: LiveServer, name: str) -> None:
    response = httpx.get(f"{server.url}/static/{name}")
    assert response.status_code == 404


def test_the_api_reference_is_there_without_another_machine(browser: Browser, server: LiveServer) -> None:
    with visiting(browser, server.url, path="/docs") as visit:
        expect(visit.page.get_by_text("/slides/classify", exact=True).first).to_be_visible()
        visit.page.get_by_text("/slides/summary", exact=True).first.click()
        expect(visit.page.get_by_text("Try it out").first).to_be_visible()
