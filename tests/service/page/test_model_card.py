"""The model's card: what evidence each class has, and what the model cannot do."""

import json
from pathlib import Path

from playwright.sync_api import Browser, expect

from contract import bundle as bundles
from contract.bundle import Bundle
from contract.classes import HAIRY_CELL
from tests.service.live_server import serving
from tests.service.page.browser import Visit, visiting


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
    described = bundle.description.model_dump(mode="json")
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
