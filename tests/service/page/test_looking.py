"""Looking through the cells: the doubtful ones first, by class, by the keyboard alone."""

from collections import Counter

from playwright.sync_api import Browser, expect

from contract.classes import HAIRY_CELL
from tests.service.live_server import LiveServer
from tests.service.page.browser import Visit, visiting
from tests.service.page.cells import LYMPHOCYTE, Image
from tests.service.tiny_bundle import TinyNetwork, coloured, encoded


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
