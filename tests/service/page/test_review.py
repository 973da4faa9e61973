"""The flows of a technologist: look, reclassify, confirm, undo, sign off, reopen, by mouse and by keyboard alone."""

import re

from playwright.sync_api import expect

from tests.service.page.browser import Visit

FIRST = {"Hairy cell": 3, "Unidentified": 1, "Lymphocyte": 20, "Erythroblast (NRBC)": 4}


def test_a_slide_is_corrected_by_mouse_and_the_figures_follow(classified: Visit) -> None:
    page = classified.page
    assert classified.sections() == FIRST
    assert page.locator("[role=option]").count() == 28, "24 or more thumbnails at 1280x900"
    assert classified.reviewed("lymphocyte") == ("20", "87.0")
    expect(page.locator("#advice strong")).to_have_text("Follow up by flow cytometry")

    classified.cell("cell-00.png").drag_to(page.locator(".panel tr[data-place=monocyte]"))
    assert classified.reviewed("monocyte") == ("1", "4.3")
    classified.cell("cell-01.png").click()
    classified.cell("cell-03.png").click(modifiers=["Shift"])
    classified.cell("cell-02.png").click(modifiers=["Control"])
    expect(page.locator("[role=option][aria-selected=true]")).to_have_count(2)
    classified.cell("cell-03.png").drag_to(page.locator(".group.hairy-cell .group-head"))
    expect(page.locator("#live")).to_have_text("2 cells: Hairy cell.")
    assert classified.sections() == FIRST | {"Hairy cell": 5, "Lymphocyte": 17, "Monocyte": 1}
    assert classified.reviewed("hairy-cell") == ("5", "21.7")
    classified.shows("#advice", "5 of 24 white cells flagged")

    classified.cell("cell-20.png").click(button="right")
    page.locator("#menu").get_by_text("Reactive lymphocyte").click()
    page.click("[data-filter=corrected]")
    assert classified.sections() == {"Hairy cell": 2, "Monocyte": 1, "Reactive lymphocyte": 1}
    page.click("[data-filter=all]")
    for _ in range(3):
        page.click("#undo")
    assert classified.sections() == FIRST
    classified.shows("#advice", "3 of 24 white cells flagged")
    expect(page.locator("#undo")).to_be_disabled()
    page.click("#redo")
    assert classified.reviewed("monocyte") == ("1", "4.3")

    page.click(".group.erythroblast button")
    expect(page.locator(".group.erythroblast .all-reviewed")).to_be_visible()
    page.click("#confirm-shown")
    expect(page.locator("#state")).to_have_text("27 reviewed · 1 cell to review")


def test_the_large_view_has_scale_reasons_and_reference_cells(classified: Visit) -> None:
    page = classified.page
    classified.cell("unsure.png").dblclick()
    viewer = page.locator("#viewer")
    expect(viewer.locator("h2")).to_have_text("Unidentified")
    expect(viewer.locator(".notes")).to_contain_text(re.compile("below", re.IGNORECASE))
    expect(viewer.locator(".bars .row")).to_have_count(20)
    bar = viewer.locator(".scale-bar")
    expect(bar).to_have_css("width", "200px")
    viewer.locator("#zoom").select_option("1")
    expect(bar).to_have_css("width", "100px")
    expect(viewer.locator(".large img")).to_have_css("width", "256px")
    viewer.get_by_label("Contrast").fill("150")
    expect(viewer.locator(".large img")).to_have_css("filter", "brightness(1) contrast(1.5)")
    names = viewer.locator(".references figcaption").all_inner_texts()
    assert {name.split(" ")[0] for name in names} == {"Segmented", "Eosinophil"}
    loaded = "images => images.every(image => image.complete && image.naturalWidth === 256)"
    page.wait_for_function(f"({loaded})([...document.querySelectorAll('.references img')])")
    assert viewer.locator(".references img").count() == 4
    viewer.locator("#next").focus()
    classified.press("ArrowLeft")
    expect(viewer.locator("h2")).to_have_text("Hairy cell")
    classified.press("ArrowRight", "=")
    expect(page.locator("#state")).to_contain_text("1 reviewed")
    classified.press("Escape")
    expect(page.locator(".group.unidentified")).to_have_count(0)


def test_a_slide_is_reviewed_signed_and_reopened_by_keyboard_alone(classified: Visit) -> None:
    page = classified.page
    page.evaluate("document.activeElement.blur()")
    for _ in range(60):
        classified.press("Tab")
        if page.evaluate("document.activeElement.getAttribute('role')") == "listbox":
            break
    active = page.locator("[role=listbox]:focus .cell.active")
    expect(active).to_have_attribute("aria-label", re.compile("^Hairy cell .*possible hairy cell, to review"))
    classified.press("Space", "Shift+ArrowRight", "r")
    expect(page.locator("#live")).to_have_text("2 cells: Reactive lymphocyte.")
    classified.press("Home", "Control+ArrowDown", "Control+ArrowDown", "u")
    expect(page.locator("#live")).to_have_text("1 cell: Unidentified.")
    classified.press("Control+z", "Control+z", "Control+y")
    expect(page.locator("#live")).to_have_text("Done again: 2 cells: Reactive lymphocyte.")
    classified.press("?")
    expect(page.locator("#keys")).to_contain_text("Metamyelocyte")
    classified.press("Escape", "Control+Enter")
    expect(page.locator("#state")).to_have_text("27 reviewed · 1 cell to review")

    page.locator("#sign").focus()
    classified.press("Enter")
    expect(page.locator("dialog#sign button[type=submit]")).to_be_disabled()
    classified.press("Escape")
    classified.focus_cells()
    classified.press("Home", "Control+ArrowDown")
    expect(active).to_have_attribute("aria-label", re.compile("unsure.png$"))
    classified.press("Shift+F10", "u")
    expect(page.locator("#state")).to_have_text("28 reviewed · nothing left to review")
    page.locator("button#sign").focus()
    classified.press("Enter")
    page.keyboard.type("Ada Byron")
    classified.press("Enter")
    expect(page.locator("#signed")).to_have_count(0)  # The reason for the cell without a class is missing.
    page.get_by_label("in no class").focus()
    page.keyboard.type("damaged")
    classified.press("Tab")
    classified.press("Enter")
    expect(page.locator("#signed")).to_contain_text("Signed off by Ada Byron")
    expect(page.locator("#signed")).to_contain_text("damaged")

    classified.focus_cells()
    classified.press("b")
    expect(page.locator("#live")).to_have_text("The slide is signed off. Reopen it to change it.")
    expect(page.locator("#undo")).to_be_disabled()
    page.locator("#reopen").focus()
    classified.press("Enter")
    page.keyboard.type("second look")
    classified.press("Tab", "Enter")
    expect(page.locator(".panel")).to_contain_text("after the signature of Ada Byron: second look")
    classified.focus_cells()
    classified.press("b")
    assert classified.reviewed("basophil")[0] == "1"


def test_a_dialog_that_is_opened_right_after_escape_stays_open(classified: Visit) -> None:
    for button, dialog in [("#export", "#exports"), ("#open-slides", "#slides"), ("#open-keys", "#keys")] * 10:
        classified.page.locator(button).focus()
        classified.press("Enter")
        expect(classified.page.locator(dialog)).to_be_visible()
        classified.press("Escape")


def test_a_photograph_that_occurs_twice_and_a_refused_one_are_not_counted(classified: Visit, unsure: bytes) -> None:
    classified.drop({"again.png": unsure, "broken.jpg": b"\xff\xd8\xffnonsense"})
    classified.progress("29 of 30 classified · 1 refused")
    assert classified.sections() == FIRST | {"Not counted": 2}
    classified.page.click("#cards")
    classified.focus_cells()
    classified.press("End")
    expect(classified.page.locator(".group.not-counted")).to_contain_text("occurs in the slide more than once")
    expect(classified.page.locator(".group.not-counted")).to_contain_text("The JPEG image is cut")
