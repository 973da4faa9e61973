"""What the page takes in: folders and files, what it crops, and what it leaves to the service to refuse."""

import io
from pathlib import Path

import numpy as np
import PIL.Image
from playwright.sync_api import Browser, expect

from tests.service.live_server import LiveServer
from tests.service.page.browser import visiting
from tests.service.page.cells import ERYTHROBLAST, LYMPHOCYTE, Image
from tests.service.tiny_bundle import TinyNetwork, coloured, encoded


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
