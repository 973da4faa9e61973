"""Pictures of the page for the documents: ``python -m tests.service.page.screenshots --out docs/images``.

The sample cells on the shipped bundle, in the Chromium of this machine.
"""

import argparse
import io
from collections.abc import Iterator
from pathlib import Path

from PIL import Image

from contract import bundle as bundles
from service.settings import Settings
from tests.paths import CELLS, ROOT
from tests.service.live_server import serving
from tests.service.page.browser import Visit, chromium, visiting

FRAME_MS = 1400
FRAMES_SIZE = (800, 563)


def picture(visit: Visit) -> Image.Image:
    """The page as it is, with all its pictures."""
    visit.page.evaluate("Promise.all([...document.images].map((image) => image.decode().catch(() => 0)))")
    visit.page.wait_for_timeout(400)
    return Image.open(io.BytesIO(visit.page.screenshot())).convert("RGB")


def save(image: Image.Image, path: Path) -> None:
    # 256 colours take a third of the size.
    image.quantize(256).save(path, optimize=True)


def review(visit: Visit) -> Iterator[Image.Image]:
    """A slide is corrected by keyboard and signed, a picture after each step."""
    yield picture(visit)
    visit.focus_cells()
    visit.press("Shift+ArrowRight")
    yield picture(visit)
    visit.press("n")
    yield picture(visit)
    visit.press("Enter")
    yield picture(visit)
    visit.press("=", "=", "=")
    yield picture(visit)
    visit.press("Escape")
    visit.page.click("[data-filter=open]")
    visit.focus_cells()
    while visit.page.locator("[role=option]").count():
        visit.press("=")
    visit.page.click("[data-filter=all]")
    yield picture(visit)
    visit.page.click("#confirm-shown")
    visit.page.click("button#sign")
    visit.page.get_by_label("Your name").fill("Ada Byron")
    yield picture(visit)
    visit.press("Enter")
    yield picture(visit)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, default=ROOT / "docs/images")
    parser.add_argument("--bundle", type=Path, default=ROOT / Settings().bundle)
    given = parser.parse_args()
    cells = sorted(CELLS.glob("*.jpg"))
    with serving(bundles.load(given.bundle)) as live, chromium() as browser:
        with visiting(browser, live.url) as visit:
            visit.page.fill("#slide-id", "Smear 4711")
            visit.choose(*cells)
            visit.wait_until_done()
            frames = [*review(visit)]
        save(frames[2], given.out / "page-light.png")
        save(frames[3], given.out / "page-cell.png")
        small = [
            frame.resize(FRAMES_SIZE, Image.Resampling.LANCZOS).quantize(64, dither=Image.Dither.NONE)
            for frame in frames
        ]
        small[0].save(
            given.out / "page-review.gif",
            save_all=True,
            append_images=small[1:],
            duration=FRAME_MS,
            loop=0,
            optimize=True,
        )
        with visiting(browser, live.url, viewport={"width": 768, "height": 1000}, color_scheme="dark") as visit:
            visit.choose(*cells)
            visit.wait_until_done()
            save(picture(visit), given.out / "page-dark.png")
    for path in sorted(given.out.glob("page-*")):
        print(path, path.stat().st_size)  # noqa: T201


if __name__ == "__main__":
    main()
