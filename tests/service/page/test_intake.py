"""What the page accepts: folders and files, what it crops, and what it leaves to the service to refuse."""

import io
from pathlib import Path
from typing import Any

from PIL import Image as Pillow
from playwright.sync_api import Browser, expect

from contract.bundle import Bundle
from tests.service.live_server import serving
from tests.service.page.browser import ERYTHROBLAST, LYMPHOCYTE, Image, Visit, visiting
from tests.service.slow_device import SlowDevice
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
    (inner.parent / "CELL.PNG").write_bytes(image(LYMPHOCYTE, 3))
    (inner.parent / "notes.txt").write_text("not an image")
    (inner.parent / "a.png.exe").write_text("not an image")
    (inner.parent / ".DS_Store").write_text("hidden")
    visit.page.locator("#folder").set_input_files(inner.parent)
    visit.progress("3 of 3 classified")
    visit.shows("#warnings", "2 files skipped")
    visit.page.select_option("#order", "file")
    labels = [str(cell.get_attribute("aria-label")) for cell in visit.page.locator("[role=option]").all()]
    assert [label.split()[-1] for label in labels] == ["smear/a.png", "smear/CELL.PNG", "smear/field-2/b.png"]


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
    dispatchEvent(Object.assign(event, { dataTransfer: { types: ["Files"], items, files: [] } }));
}"""


def test_files_and_folders_that_cannot_be_read_are_named_and_the_others_classified(visit: Visit, image: Image) -> None:
    visit.page.evaluate(DROP_A_FOLDER, list(image(LYMPHOCYTE, 1)))
    visit.progress("1 of 1 classified")
    visit.shows("#warnings", "2 files or folders cannot be read (smear/locked.png, …)")


def test_a_larger_image_is_cropped_to_its_centre_exactly_and_what_would_be_converted_is_refused(
    visit: Visit, network: TinyNetwork
) -> None:
    # The tiny network sees one pixel, (128, 128) of what it is given; only the centre crop has it there.
    pixels = coloured(network.colours[LYMPHOCYTE], 301, 298)
    pixels[(301 - 256) // 2 + 128, (298 - 256) // 2 + 128] = network.colours[ERYTHROBLAST]
    side = (300, 300)
    visit.drop(
        {
            "large.png": encoded(pixels),
            "small.png": encoded(pixels[:100, :100]),
            "grey.png": saved(Pillow.new("L", side, 128), "PNG"),
            "grey.jpg": saved(Pillow.new("L", side, 128), "JPEG"),
            "cmyk.jpg": saved(Pillow.new("CMYK", side, (90, 60, 30, 0)), "JPEG"),
            "deep.png": saved(Pillow.new("I;16", side, 30_000), "PNG"),
        }
    )
    visit.progress("1 of 6 classified · 5 refused · 1 cropped to the centre")
    assert visit.sections() == {"Erythroblast (NRBC)": 1, "Not counted": 5}
    visit.focus_cells()
    visit.press("Enter")
    visit.shows("#viewer .notes", "Only the central 256")


def test_a_larger_image_is_cropped_as_it_is_stored_and_not_turned(visit: Visit, network: TinyNetwork) -> None:
    """The service and the training never turn an image by its EXIF orientation, which browsers do."""
    # The centre crop's (128, 128) is (152, 152) of these, and (151, 151) of them turned upside down.
    pixels = coloured(network.colours[LYMPHOCYTE], 304, 304)
    pixels[:, 152:] = network.colours[ERYTHROBLAST]
    turned = Pillow.Exif()
    turned[0x0112] = 3
    visit.drop(
        {"turned.jpg": saved(Pillow.fromarray(pixels), "JPEG", quality=100, subsampling=0, exif=turned)}, "image/jpeg"
    )
    visit.progress("1 of 1 classified · 1 cropped to the centre")
    assert visit.sections() == {"Erythroblast (NRBC)": 1}


def test_a_tiff_is_classified_and_shown_by_type_and_name(visit: Visit, network: TinyNetwork) -> None:
    """Chromium cannot show TIFF."""
    tiff = saved(Pillow.fromarray(coloured(network.colours[LYMPHOCYTE])), "TIFF", compression="tiff_lzw")
    visit.drop({"slide-7.tif": tiff}, "image/tiff")
    visit.wait_until_done()
    assert visit.sections() == {"Lymphocyte": 1}
    expect(visit.page.locator(".cell .placeholder")).to_have_text("TIFFslide-7.tif")


def test_file_names_stay_in_the_browser(visit: Visit, image: Image) -> None:
    bodies: list[bytes] = []
    visit.page.on("request", lambda request: bodies.append(request.post_data_buffer or b""))
    visit.drop({"doe-jane-1970.png": image(LYMPHOCYTE, 1)})
    visit.wait_until_done()
    assert b"doe-jane" not in b"".join(bodies)
    assert b"image_sha256" in b"".join(bodies)


def test_a_busy_service_is_waited_for_as_long_as_it_asks(browser: Browser, bundle: Bundle, image: Image) -> None:
    device = SlowDevice(held=True)
    with (
        serving(bundle, open_engine=lambda *_: device, queue_limit=1, max_batch=1) as live,
        visiting(browser, live.url, strict=False) as visit,
    ):
        visit.drop({f"{number}.png": image(LYMPHOCYTE, number) for number in range(24)})
        # Two requests at a time and a queue of one image: the second gets 429.
        visit.shows("#warnings", "The service is busy")
        assert live.hal.statistics.refused > 0
        device.let_go()
        visit.progress("24 of 24 classified")
        expect(visit.page.locator("#warnings")).not_to_contain_text("busy")


def test_unfamiliar_images_are_warned_of_above_all(
    browser: Browser, familiar: Bundle, image: Image, network: TinyNetwork
) -> None:
    order = network.colours.sum(axis=1).argsort().tolist()
    pictures = {f"{n}.png": image(order[0] if n < 3 else order[-1], n) for n in range(10)}
    with serving(familiar, site_fpr=0.002, slide_min_cells=2) as live, visiting(browser, live.url) as visit:
        visit.drop(pictures)
        visit.shows(
            "#warnings",
            "70\u00a0% of these images look unlike those this model has learned from: do not use these results.",
        )
        expect(visit.page.locator("#advice strong")).to_have_text("Not supported on these images")
        visit.page.click("[data-filter=unfamiliar]")
        assert sum(visit.sections().values()) == 7
        visit.page.click("#new-slide")
        visit.press("Enter")
        expect(visit.page.locator("#warnings")).to_be_empty()
