"""Pictures of the page for the documents: ``python -m tests.service.page.screenshots --out docs/images``.

The sample cells on the shipped bundle, in the Chromium of this machine.
"""

import argparse
import io
import re
from collections.abc import Iterator
from pathlib import Path

from PIL import Image

from contract import bundle as bundles
from service.settings import Settings
from tests.paths import CELLS, ROOT
from tests.service.live_server import serving
from tests.service.page.browser import Visit, chromium, visiting

FRAME_MS = 1500
FRAME_SIZE = (960, 675)
_CLASSES = (ROOT / "service" / "static" / "classes.js").read_text(encoding="utf-8")
KEYS = dict(re.findall(r'\["([\w-]+)", "[^"]+", (?:true|false), "(\w)"\]', _CLASSES))


def picture(visit: Visit) -> Image.Image:
    """The page as it is, with all its pictures."""
    visit.page.evaluate("Promise.all([...document.images].map((image) => image.decode().catch(() => 0)))")
    visit.page.wait_for_timeout(400)
    return Image.open(io.BytesIO(visit.page.screenshot())).convert("RGB")


def save(image: Image.Image, path: Path) -> None:
    # 256 colours take a third of the size.
    image.quantize(256).save(path, optimize=True)


def decide(visit: Visit) -> None:
    """Press the key of the class that the experts gave the active cell, as its file's name says."""
    file = str(visit.page.locator(".cell.active").get_attribute("aria-label")).split()[-1]
    visit.press(KEYS[re.sub(r"-\d+\.jpg$", "", file)])


def review(visit: Visit) -> Iterator[Image.Image]:
    """A slide is corrected by keyboard and signed, a picture after each step."""
    visit.focus_cells()
    yield picture(visit)
    decide(visit)
    decide(visit)
    yield picture(visit)
    visit.press("Enter")
    yield picture(visit)
    decide(visit)
    yield picture(visit)
    visit.press("Escape")
    visit.page.click("[data-filter=open]")
    visit.focus_cells()
    while visit.page.locator("[role=option]").count():
        decide(visit)
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
        save(frames[1], given.out / "page-light.png")
        save(frames[2], given.out / "page-cell.png")
        first, *others = (frame.resize(FRAME_SIZE, Image.Resampling.LANCZOS) for frame in frames)
        moving = {"save_all": True, "append_images": others, "duration": FRAME_MS, "loop": 0, "quality": 75}
        first.save(given.out / "page-review.webp", **moving)
        with visiting(browser, live.url, viewport={"width": 768, "height": 1000}, color_scheme="dark") as visit:
            visit.choose(*cells)
            visit.wait_until_done()
            save(picture(visit), given.out / "page-dark.png")
    for path in sorted(given.out.glob("page-*")):
        print(path, path.stat().st_size)  # noqa: T201


if __name__ == "__main__":
    main()
