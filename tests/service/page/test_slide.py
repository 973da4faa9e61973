"""A slide on the page: classes, differential, advice, filters, the keyboard, the model card."""

import csv
import json
import re
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from playwright.sync_api import Browser, expect

from contract import bundle as bundles
from contract.bundle import Bundle
from contract.classes import CLASS_NAMES, HAIRY_CELL
from service.settings import Settings
from tests.paths import CELLS, ROOT
from tests.service.classify_requests import form
from tests.service.live_server import serving
from tests.service.page.browser import ERYTHROBLAST, LYMPHOCYTE, Image, Visit, visiting
from tests.service.tiny_bundle import TinyNetwork, coloured, encoded


def test_real_cells_get_the_classes_that_the_service_gives_them(browser: Browser, tmp_path: Path) -> None:
    images = sorted(CELLS.glob("*.jpg"))
    shipped = bundles.load(ROOT / Settings.model_fields["bundle"].default)
    with serving(shipped) as live, visiting(browser, live.url) as visit:
        visit.drop({path.name: path.read_bytes() for path in images}, "image/jpeg")
        visit.wait_until_done()
        exported = visit.download("#export-csv", tmp_path)
        expect(visit.page.locator("#advice strong")).to_have_text("Not supported by this bundle")
        answers = live.http.post("/classify", files=form(*(path.read_bytes() for path in images))).json()["results"]
    with exported.open(encoding="utf-8-sig", newline="") as stream:
        rows = {row["file"]: row for row in csv.DictReader(stream)}
    with (CELLS / "labels.csv").open(encoding="utf-8") as stream:
        labels = {row["file"]: row["label"] for row in csv.DictReader(stream)}
    for name in ("predicted_class", "image_sha256"):
        assert [rows[path.name][name] for path in images] == [answer[name] for answer in answers]
    assert {row["hairy_flag"] for row in rows.values()} == {"false"}
    right = sum(row["predicted_class"] == labels[name] for name, row in rows.items())
    assert right >= 0.8 * len(images)


def test_the_slide_has_counts_and_advice(seen: Visit) -> None:
    page = seen.page
    seen.progress("27 of 27 classified")
    expect(page.locator("#advice strong")).to_have_text("Follow up by flow cytometry")
    seen.shows(".figures", "3 of 23")
    for figures in ("Lymphocyte 87.0, Hairy cell 13.0", "Erythroblast (NRBC) 17.4"):
        expect(page.locator("#chart svg")).to_have_attribute("aria-label", re.compile(re.escape(figures)))
    page.click("#table-details summary")
    expect(page.locator("#differential tr", has_text="Lymphocyte").first).to_contain_text("87.0")
    expect(page.locator("#differential tbody tr")).to_have_count(20)


def test_a_new_slide_begins_empty(visit: Visit, image: Image) -> None:
    visit.drop({"first.png": image(LYMPHOCYTE, 1)})
    visit.wait_until_done()
    visit.page.click("#clear")
    for hidden in ("#cells", "#slide", "#run"):
        expect(visit.page.locator(hidden)).to_be_hidden()
    assert visit.classes() == []
    visit.drop({"second.png": image(ERYTHROBLAST, 2)})
    visit.wait_until_done()
    assert visit.classes() == ["Erythroblast (NRBC)"]


def test_hairy_cells_come_first_and_cells_for_review_show_the_reason(
    visit: Visit, image: Image, network: TinyNetwork
) -> None:
    between = coloured((network.colours[0].astype(int) + network.colours[1].astype(int)) // 2)
    visit.drop({"1.png": image(LYMPHOCYTE, 1), "2.png": encoded(between), "3.png": image(HAIRY_CELL.index, 3)})
    visit.wait_until_done()
    first, second, third = visit.page.locator("#grid .cell").all()
    expect(first.locator(".tag.hairy")).to_be_visible()
    expect(first.locator(".why")).to_have_text("Possible hairy cell: confirm by flow cytometry.")
    expect(second.locator(".tag.review")).to_be_visible()
    expect(second.locator(".why")).not_to_be_empty()
    expect(third.locator(".tag")).to_have_count(0)
    expect(visit.page.locator("[data-filter=hairy]")).to_contain_text("(1)")


def test_unfamiliar_images_are_warned_of_and_marked(
    browser: Browser, familiar: Bundle, image: Image, network: TinyNetwork
) -> None:
    brightest, darkest = (int(find(network.colours.sum(axis=1))) for find in (np.argmax, np.argmin))
    pictures = {f"{n}.png": image(darkest if n < 3 else brightest, n) for n in range(10)}
    with serving(familiar, site_fpr=0.002, slide_min_cells=2) as live, visiting(browser, live.url) as visit:
        visit.drop(pictures)
        visit.wait_until_done()
        page = visit.page
        expect(page.locator("#banner")).to_have_text(
            "70\u00a0% of these images look unlike those this model has learned from: do not use these results."
        )
        expect(page.locator("#advice strong")).to_have_text("Not supported on these images")
        expect(page.locator("#advice .no-indication")).to_have_count(0)
        visit.shows(".figures", "7 of 10")
        page.set_viewport_size({"width": 1280, "height": 2500})
        marked = page.locator("#grid .cell", has=page.locator(".tag", has_text="Unfamiliar"))
        flagged = network.colours[brightest].tolist() == network.colours[HAIRY_CELL.index].tolist()
        expect(marked).to_have_count(0 if flagged else 7)
        expect(page.locator("#grid .cell .why", has_text="looks unlike those")).to_have_count(7)
        page.click("#clear")
        expect(page.locator("#banner")).to_be_hidden()


def test_cells_are_filtered_and_sorted(seen: Visit) -> None:
    page = seen.page
    options = page.locator("#class-filter option").all_inner_texts()
    assert options == ["All classes", "Lymphocyte (20)", "Hairy cell (3)", "Erythroblast (NRBC) (4)"]
    page.select_option("#class-filter", "Erythroblast (NRBC)")
    assert seen.classes() == ["Erythroblast (NRBC)"] * 4
    page.click("[data-filter=hairy]")
    expect(page.locator("#no-cells")).to_be_visible()
    page.select_option("#class-filter", "")
    assert seen.classes() == ["Hairy cell"] * 3
    page.click("[data-filter=all]")
    page.select_option("#order", "class")
    page.set_viewport_size({"width": 1280, "height": 2500})
    expect(page.locator("#grid .cell")).to_have_count(27)
    assert list(Counter(seen.classes())) == ["Lymphocyte", "Hairy cell", "Erythroblast (NRBC)"]


def test_the_keyboard_alone_moves_through_the_cells_and_the_large_view(seen: Visit) -> None:
    page = seen.page
    active, viewer = page.locator(".cell.active"), page.locator("#viewer")

    def place() -> int:
        return int(active.get_attribute("aria-posinset") or 0)

    page.focus("#grid")
    for key, expected in (("Home", 1), ("ArrowRight", 2), ("End", 27), ("ArrowRight", 27), ("Home", 1)):
        page.keyboard.press(key)
        assert place() == expected, key
    page.keyboard.press("ArrowDown")
    assert place() > 2
    page.keyboard.press("ArrowUp")
    page.keyboard.press("Enter")
    expect(viewer).to_be_visible()
    expect(page.locator("#viewer-class")).to_have_text("Hairy cell")
    expect(viewer.locator(".facts")).to_contain_text("1 of 27")
    for _ in range(3):
        page.keyboard.press("ArrowRight")
    expect(viewer.locator(".facts")).to_contain_text("4 of 27")
    expect(page.locator("#viewer-class")).not_to_have_text("Hairy cell")
    expect(viewer.locator(".bars .row")).to_have_count(20)
    page.keyboard.press("Escape")
    expect(viewer).to_be_hidden()
    assert place() == 4
    expect(page.locator("#grid")).to_be_focused()
    assert page.locator("#grid").get_attribute("aria-activedescendant") == active.get_attribute("id")


def metric(name: str, split: str, images: int, value: float, data: str = "pbc") -> dict[str, Any]:
    return {
        "name": name,
        "value": value,
        "interval95": [0.5, 1.0],
        "method": "Wilson",
        "images": images,
        "data": data,
        "split": split,
        "precision": "float32",
        "command": "hal evaluate",
        "condition": "as photographed",
    }


@pytest.fixture
def composite(bundle: Bundle, tmp_path: Path) -> Bundle:
    """The bundle with a hairy class of composites, and metrics of two splits."""
    described = bundle.description.model_dump(mode="json")
    described["classes"][HAIRY_CELL.index]["evidence"] = "composite"
    described["policy"]["false_flags"] = {"flagged": 1, "cells": 3000, "data": "val split"}
    described["metrics"] = [
        metric("accuracy", "val", 555, 0.5),
        metric("accuracy", "test", 321, 0.9),
        metric(f"recall, {HAIRY_CELL.name}", "val", 66, 0.6),
        metric(f"recall, {HAIRY_CELL.name}", "test", 58, 0.75, "pbc, composites"),
        metric(f"recall, {CLASS_NAMES[LYMPHOCYTE]}", "test", 54, 0.875),
    ]
    for file in bundle.root.iterdir():
        (tmp_path / file.name).write_bytes(file.read_bytes())
    (tmp_path / bundles.MANIFEST_NAME).write_text(json.dumps(described), encoding="utf-8")
    return bundles.load(tmp_path)


def test_the_model_card_has_the_evidence_of_each_class_and_figures_of_the_test_split(
    browser: Browser, composite: Bundle, slide: list[Path]
) -> None:
    with serving(composite) as live, visiting(browser, live.url) as visit:
        visit.shows("#model-name .warning", "This bundle has never seen a real hairy cell")
        visit.choose(*slide)
        visit.wait_until_done()
        visit.shows(".cautions", "composite images")
        visit.page.click("#open-card")
        card = visit.page.locator("#card")
        expect(card).to_contain_text("sees one pixel")
        expect(card.locator(".evidence.real")).to_have_count(19)
        rows = {row.locator("td").first.inner_text(): row.inner_text() for row in card.locator("tbody tr").all()}
    assert len(rows) == 20 + 1
    assert "58 test\t75.0\u00a0% of composites" in rows[HAIRY_CELL.name]
    assert "54 test\t87.5\u00a0%\t" in rows[CLASS_NAMES[LYMPHOCYTE]]
    assert "321" in rows["accuracy"]
