"""What a technologist takes away: tables, documents and a printed sheet."""

import csv
import json
from collections import Counter
from pathlib import Path

from playwright.sync_api import expect

from contract.classes import CLASS_NAMES, HAIRY_CELL
from service.slides.results import read_files
from tests.service.page.browser import ERYTHROBLAST, LYMPHOCYTE, Image, Visit


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


def test_a_file_name_is_never_a_formula_nor_markup(visit: Visit, image: Image, tmp_path: Path) -> None:
    name = '=HYPERLINK("x"),<img src=x onerror=alert(1)>.png'
    visit.drop({name: image(LYMPHOCYTE, 1)})
    visit.wait_until_done()
    visit.page.click(".cell")
    visit.shows("#viewer .facts", name)
    visit.page.keyboard.press("Escape")
    exported = visit.download("#export-csv", tmp_path)
    with exported.open(encoding="utf-8-sig", newline="") as stream:
        (row,) = csv.DictReader(stream)
    assert row["file"] == f"'{name}"


def test_the_print_view_has_the_summary_and_the_cells_for_review(visit: Visit, slide: list[Path]) -> None:
    visit.page.evaluate("() => { window.print = () => document.body.dataset.printed = 'yes'; }")
    visit.choose(*slide)
    visit.wait_until_done()
    visit.page.click("#print-slide")
    expect(visit.page.locator("body")).to_have_attribute("data-printed", "yes")
    visit.page.emulate_media(media="print")
    printed = visit.page.locator("#print")
    expect(printed).to_contain_text("Follow up by flow cytometry")
    expect(printed).to_contain_text("A qualified technologist must confirm it")
    expect(printed.locator("figure")).to_have_count(3)
    expect(printed.locator("tbody tr")).to_have_count(20)
    expect(visit.page.locator("#grid")).to_be_hidden()
    widths = printed.locator("figure img").evaluate_all("images => images.map(image => image.naturalWidth)")
    assert widths == [256] * 3
