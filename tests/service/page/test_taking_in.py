"""What the page accepts: folders and files, what it crops, and what it leaves to the service to refuse."""

import io
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image as Pillow
from playwright.sync_api import expect

from tests.service.page.browser import ERYTHROBLAST, LYMPHOCYTE, Image, Visit
from tests.service.tiny_bundle import TinyNetwork, coloured, encoded


def saved(image: Pillow.Image, kind: str, **options: Any) -> bytes:
    stream = io.BytesIO()
    image.save(stream, kind, **options)
    return stream.getvalue()


def test_a_folder_is_taken_with_its_folders_and_only_its_images(visit: Visit, tmp_path: Path, image: Image) -> None:
    inner = tmp_path / "smear" / "field-2"
    inner.mkdir(parents=True)
    (inner / "b.png").write_bytes(image(LYMPHOCYTE, 1))
    (inner.parent / "a.png").write_bytes(image(LYMPHOCYTE, 2))
    (inner.parent / "notes.txt").write_text("not an image")
    (inner.parent / ".DS_Store").write_text("hidden")
    visit.page.locator("#folder").set_input_files(inner.parent)
    visit.wait_until_done()
    visit.progress("2 of 2 classified")
    visit.shows("#banner", "1 file skipped")
    visit.shows("#banner", "notes.txt")
    visit.page.select_option("#order", "file")
    labels = [str(card.get_attribute("aria-label")) for card in visit.page.locator("#grid .cell").all()]
    assert ["smear/a.png" in labels[0], "smear/field-2/b.png" in labels[1]] == [True, True]


@pytest.mark.parametrize("name", ["png", "a.constructor", "a.png.exe", "a.gif"])
def test_a_file_of_another_type_is_skipped_by_its_name(visit: Visit, image: Image, name: str) -> None:
    visit.drop({name: image(LYMPHOCYTE, 1), "CELL.PNG": image(LYMPHOCYTE, 2)})
    visit.progress("1 of 1 classified")
    visit.shows("#banner", name)


DROP_A_FOLDER = """async (bytes) => {
    const event = new Event("drop");
    const file = new File([new Uint8Array(bytes)], "a.png");
    const failing = (_, reject) => reject(new DOMException("locked", "NotReadableError"));
    const entries = [
        { isFile: true, fullPath: "/smear/a.png", file: (resolve) => resolve(file) },
        { isFile: true, fullPath: "/smear/locked.png", file: failing },
        { isDirectory: true, fullPath: "/smear/field-2", createReader: () => ({ readEntries: failing }) },
    ];
    const items = entries.map((entry) => ({ webkitGetAsEntry: () => entry }));
    dispatchEvent(Object.assign(event, { dataTransfer: { items, files: [] } }));
}"""


def test_files_and_folders_that_cannot_be_read_are_named_and_the_others_classified(visit: Visit, image: Image) -> None:
    visit.page.evaluate(DROP_A_FOLDER, list(image(LYMPHOCYTE, 1)))
    visit.progress("1 of 1 classified")
    visit.shows("#banner", "2 files or folders cannot be read (smear/locked.png, …)")


def test_a_refused_image_says_why_and_does_not_affect_others(visit: Visit, image: Image) -> None:
    small = encoded(np.zeros((100, 100, 3), np.uint8))
    visit.drop({"good.png": image(LYMPHOCYTE, 1), "small.png": small, "broken.jpg": b"\xff\xd8\xffnonsense"})
    visit.wait_until_done()
    visit.progress("1 of 3 classified · 2 refused")
    visit.page.click("[data-filter=refused]")
    expect(visit.page.locator("#grid .cell")).to_have_count(2)
    cards = " ".join(visit.page.locator("#grid .cell").all_inner_texts())
    assert "The image is 100x100 pixels, expected exactly 256x256" in cards
    assert "The JPEG image is cut" in cards


def test_a_larger_image_is_cropped_to_its_centre_exactly_and_says_so(visit: Visit, network: TinyNetwork) -> None:
    # The tiny network sees one pixel, (128, 128) of what it is given; only the centre crop has it there.
    pixels = coloured(network.colours[LYMPHOCYTE], 301, 298)
    pixels[(301 - 256) // 2 + 128, (298 - 256) // 2 + 128] = network.colours[ERYTHROBLAST]
    visit.drop({"large.png": encoded(pixels)})
    visit.wait_until_done()
    assert visit.classes() == ["Erythroblast (NRBC)"]
    visit.progress("1 of 1 classified · 1 cropped to the centre")
    expect(visit.page.locator(".cell .tag.cropped")).to_be_visible()
    visit.page.click(".cell")
    visit.shows("#viewer .notes", "central 256")


def test_a_tiff_is_classified_and_shown_by_type_and_name(visit: Visit, network: TinyNetwork) -> None:
    """Chromium cannot show TIFF."""
    tiff = saved(Pillow.fromarray(coloured(network.colours[LYMPHOCYTE])), "TIFF", compression="tiff_lzw")
    large = saved(Pillow.fromarray(coloured(network.colours[LYMPHOCYTE], 300, 300)), "TIFF")
    visit.drop({"slide-7.tif": tiff, "large.TIFF": large}, "image/tiff")
    visit.wait_until_done()
    visit.progress("1 of 2 classified · 1 refused")
    visit.page.select_option("#order", "file")
    for card, name in zip(visit.page.locator("#grid .cell").all(), ("large.TIFF", "slide-7.tif"), strict=True):
        expect(card.locator(".placeholder strong")).to_have_text("TIFF")
        expect(card.locator(".placeholder span")).to_have_text(name)
    assert "Lymphocyte" in visit.classes()
    visit.page.locator(".cell").last.click()
    expect(visit.page.locator("#viewer .placeholder")).to_be_visible()
    visit.shows("#viewer-class", "Lymphocyte")


def test_what_a_browser_would_convert_without_notice_is_not_cropped_but_refused(visit: Visit, image: Image) -> None:
    side = (300, 300)
    visit.drop(
        {
            "good.png": image(LYMPHOCYTE, 1),
            "grey.png": saved(Pillow.new("L", side, 128), "PNG"),
            "grey.jpg": saved(Pillow.new("L", side, 128), "JPEG"),
            "cmyk.jpg": saved(Pillow.new("CMYK", side, (90, 60, 30, 0)), "JPEG"),
            "deep.png": saved(Pillow.new("I;16", side, 30_000), "PNG"),
        }
    )
    visit.progress("1 of 5 classified · 4 refused")
    assert visit.page.locator(".tag.cropped").count() == 0


def test_file_names_stay_in_the_browser(visit: Visit, image: Image) -> None:
    bodies: list[bytes] = []
    visit.page.on("request", lambda request: bodies.append(request.post_data_buffer or b""))
    visit.drop({"doe-jane-1970.png": image(LYMPHOCYTE, 1)})
    visit.wait_until_done()
    sent = b"".join(bodies)
    assert b"doe-jane" not in sent
    assert b"image_sha256" in sent
