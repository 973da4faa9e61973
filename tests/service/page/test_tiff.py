"""TIFF on the page: browsers cannot show it, so the page reads the usual kinds itself, or says that it cannot."""

import io
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image
from playwright.sync_api import Browser, Page, expect

from contract.bundle import Bundle
from tests.service.live_server import serving
from tests.service.page.browser import Visit, visiting
from tests.service.page.cells import ERYTHROBLAST, LYMPHOCYTE
from tests.service.tiny_bundle import TinyNetwork, coloured

PREDICTOR, ROWS_PER_STRIP, ORIENTATION = 317, 278, 274
DECODE = """async (bytes) => {
    const { decodeTiff } = await import("/static/tiff.js");
    const image = await decodeTiff(new DataView(new Uint8Array(bytes).buffer));
    return image && [image.width, image.height, [...image.data]];
}"""
Pixels = NDArray[np.uint8]


@pytest.fixture(scope="module")
def url(bundle: Bundle) -> Iterator[str]:
    with serving(bundle) as live:
        yield live.url


@pytest.fixture(scope="module")
def visit(browser: Browser, url: str) -> Iterator[Visit]:
    with visiting(browser, url) as opened:
        yield opened


def tiff(pixels: Pixels | Image.Image, **options: Any) -> bytes:
    stream = io.BytesIO()
    image = pixels if isinstance(pixels, Image.Image) else Image.fromarray(pixels)
    image.save(stream, "TIFF", **options)
    return stream.getvalue()


def decoded(page: Page, data: bytes) -> Pixels | None:
    found = page.evaluate(DECODE, list(data))
    if found is None:
        return None
    width, height, values = found
    return np.array(values, np.uint8).reshape(height, width, 4)


def pictures() -> dict[str, Pixels]:
    """What compresses well, badly, and with runs; no side is a power of two."""
    rng = np.random.default_rng(6)
    smooth = np.add.outer(np.arange(61) * 3, np.arange(47) * 2)[..., None] + np.array([0, 40, 80])
    return {
        "noise": rng.integers(0, 256, (61, 47, 3), np.uint8),
        "smooth": smooth.astype(np.uint8),
        "flat": np.full((130, 150, 3), (200, 30, 90), np.uint8),
    }


@pytest.mark.parametrize("rows", [None, 7])
@pytest.mark.parametrize(
    ("compression", "predictor"),
    [(None, 1), ("packbits", 1), ("tiff_lzw", 1), ("tiff_lzw", 2), ("tiff_deflate", 1), ("tiff_adobe_deflate", 2)],
)
@pytest.mark.parametrize("name", pictures())
def test_usual_kinds_are_read_exactly(
    visit: Visit, name: str, compression: str | None, predictor: int, rows: int | None
) -> None:
    info = ({PREDICTOR: 2} if predictor == 2 else {}) | ({ROWS_PER_STRIP: rows} if rows and compression else {})
    pixels = pictures()[name]
    found = decoded(visit.page, tiff(pixels, compression=compression, tiffinfo=info))
    assert found is not None
    assert np.array_equal(found[..., :3], pixels)
    assert np.all(found[..., 3] == 255)


def test_big_endian_is_read_too(visit: Visit) -> None:
    pixels = pictures()["noise"]
    entries = [
        (256, 3, 47),
        (257, 3, 61),
        (258, 3, 0),
        (262, 3, 2),
        (273, 4, 0),
        (277, 3, 3),
        (278, 3, 61),
        (279, 4, 0),
    ]
    end = 8 + 2 + 12 * len(entries) + 4
    values = {258: end, 273: end + 6, 279: pixels.size}
    data = b"MM\0*" + (8).to_bytes(4, "big") + len(entries).to_bytes(2, "big")
    for tag, kind, value in entries:
        count = 3 if tag == 258 else 1
        given = values.get(tag, value)
        stored = given.to_bytes(2, "big") + b"\0\0" if kind == 3 and count == 1 else given.to_bytes(4, "big")
        data += tag.to_bytes(2, "big") + kind.to_bytes(2, "big") + count.to_bytes(4, "big") + stored
    data += bytes(4) + b"\0\x08" * 3 + pixels.tobytes()
    assert np.array_equal(np.asarray(Image.open(io.BytesIO(data))), pixels), "it is a TIFF to others"
    found = decoded(visit.page, data)
    assert found is not None
    assert np.array_equal(found[..., :3], pixels)


def other_kinds() -> dict[str, bytes]:
    noise = pictures()["noise"]
    image = Image.fromarray(noise)
    return {
        "jpeg": tiff(noise, compression="jpeg"),
        "grey": tiff(image.convert("L")),
        "palette": tiff(image.convert("P")),
        "cmyk": tiff(image.convert("CMYK")),
        "transparent": tiff(image.convert("RGBA")),
        "two images": tiff(image, save_all=True, append_images=[image]),
        "turned": tiff(noise, tiffinfo={ORIENTATION: 6}),
        "cut": tiff(noise)[:4000],
        "cut in lzw": tiff(noise, compression="tiff_lzw")[:4000],
        "nothing": b"II*\0",
        "a directory that is not there": b"II*\0\xff\xff\xff\x7f" + bytes(20),
    }


@pytest.mark.parametrize("name", other_kinds())
def test_other_kinds_and_damage_are_left_to_the_service(visit: Visit, name: str) -> None:
    assert decoded(visit.page, other_kinds()[name]) is None


@pytest.mark.parametrize("compression", ["tiff_lzw", "tiff_deflate", "packbits"])
def test_damaged_bytes_never_hold_the_page_up(visit: Visit, compression: str) -> None:
    rng = np.random.default_rng(7)
    whole = np.frombuffer(tiff(pictures()["smooth"], compression=compression), np.uint8)
    for _ in range(20):
        damaged = whole.copy()
        damaged[rng.integers(8, damaged.size, 5)] = rng.integers(0, 256, 5)
        decoded(visit.page, damaged.tobytes())


def test_a_tiff_has_a_preview_is_classified_and_a_larger_one_is_cropped(
    browser: Browser, url: str, network: TinyNetwork
) -> None:
    # The tiny network sees one pixel, (128, 128) of what it is given; only the centre crop has it there.
    large = coloured(network.colours[LYMPHOCYTE], 288, 291)
    large[(288 - 256) // 2 + 128, (291 - 256) // 2 + 128] = network.colours[ERYTHROBLAST]
    files = {"cell.tif": tiff(network.cell(LYMPHOCYTE), compression="tiff_lzw"), "large.tiff": tiff(large)}
    with visiting(browser, url) as visit:
        visit.drop(files, "image/tiff")
        visit.wait_until_done()
        visit.page.select_option("#order", "file")
        assert visit.classes() == ["Lymphocyte", "Erythroblast (NRBC)"]
        expect(visit.page.locator("#progress-text")).to_contain_text("1 image was larger and cropped to the centre")
        previews = visit.page.locator(".cell .frame canvas")
        expect(previews).to_have_count(2)
        shown = previews.first.evaluate("(canvas) => [...canvas.getContext('2d').getImageData(9, 9, 1, 1).data]")
        assert shown == [*network.cell(LYMPHOCYTE)[9, 9].tolist(), 255]
        visit.page.locator(".cell").first.click()
        expect(visit.page.locator("#viewer canvas")).to_have_attribute("aria-label", "Photograph of the cell cell.tif")


def test_a_tiff_that_cannot_be_shown_says_so_and_is_classified(
    browser: Browser, url: str, network: TinyNetwork
) -> None:
    with visiting(browser, url) as visit:
        visit.drop({"cell.tif": tiff(network.cell(LYMPHOCYTE), compression="jpeg", quality=95)}, "image/tiff")
        visit.wait_until_done()
        expect(visit.page.locator("#progress-text")).to_have_text("1 of 1 classified")
        expect(visit.page.locator(".cell .no-picture")).to_have_text(
            "No preview of this kind of TIFF. It is classified all the same."
        )
