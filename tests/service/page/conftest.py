"""The page at ``/`` in a real Chromium against the running service, and a slide that is classified on it."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Browser

from contract.bundle import Bundle
from contract.classes import HAIRY_CELL
from tests.service.live_server import LiveServer, serving
from tests.service.page.browser import ERYTHROBLAST, LYMPHOCYTE, Image, Visit, chromium, visiting
from tests.service.tiny_bundle import TinyNetwork, coloured, encoded


@pytest.fixture(scope="package")
def browser() -> Iterator[Browser]:
    with chromium() as opened:
        yield opened


@pytest.fixture(scope="package")
def server(bundle: Bundle) -> Iterator[LiveServer]:
    with serving(bundle, site_fpr=0.002, slide_min_cells=20) as live:
        yield live


@pytest.fixture(scope="package")
def image(network: TinyNetwork) -> Image:
    """A PNG of a class, unlike every other with another number."""

    def made(index: int, number: int) -> bytes:
        pixels = network.cell(index).copy()
        pixels[0, 0] = (number % 256, number // 256, 7)
        return encoded(pixels)

    return made


@pytest.fixture(scope="package")
def unsure(network: TinyNetwork) -> bytes:
    """An image below the review limit: half a segmented neutrophil, half an eosinophil."""
    return encoded(coloured((network.colours[0].astype(int) + network.colours[1].astype(int)) // 2))


@pytest.fixture(scope="package")
def slide(tmp_path_factory: pytest.TempPathFactory, image: Image, unsure: bytes) -> list[Path]:
    """20 lymphocytes, 3 hairy cells, 4 erythroblasts, one cell below the review limit."""
    folder = tmp_path_factory.mktemp("slide")
    for number, index in enumerate([LYMPHOCYTE] * 20 + [HAIRY_CELL.index] * 3 + [ERYTHROBLAST] * 4):
        (folder / f"cell-{number:02}.png").write_bytes(image(index, number))
    (folder / "unsure.png").write_bytes(unsure)
    return sorted(folder.iterdir())


@pytest.fixture(scope="package")
def images(tmp_path_factory: pytest.TempPathFactory, image: Image) -> list[Path]:
    """48 lymphocytes, no two alike."""
    folder = tmp_path_factory.mktemp("cells")
    for number in range(48):
        (folder / f"{number:02}.png").write_bytes(image(LYMPHOCYTE, number))
    return sorted(folder.iterdir())


@pytest.fixture
def visit(browser: Browser, server: LiveServer) -> Iterator[Visit]:
    with visiting(browser, server.url) as opened:
        yield opened


@pytest.fixture
def classified(visit: Visit, slide: list[Path]) -> Visit:
    """The page with the slide classified."""
    visit.choose(*slide)
    visit.wait_until_done()
    return visit
