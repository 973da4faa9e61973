"""Pictures of the page for the README: ``python -m tests.service.page.screenshots --out docs/images``.

The sample cells of ``service/static/cells`` on the shipped bundle, in the Chromium of this machine.
"""

import argparse
import io
from pathlib import Path

from PIL import Image

from contract import bundle as bundles
from service.settings import Settings
from tests.paths import ROOT
from tests.service.live_server import serving
from tests.service.page.browser import chromium, visiting

PICTURES = {"page-light": (1280, 860, "light"), "page-dark": (768, 1100, "dark")}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, default=ROOT / "docs/images")
    parser.add_argument("--images", type=Path, default=ROOT / "service/static/cells", help="folder of images of cells")
    parser.add_argument("--bundle", type=Path, default=ROOT / Settings().bundle)
    given = parser.parse_args()
    cells = sorted(path for path in given.images.rglob("*") if path.suffix.lower() in (".jpg", ".png"))
    with serving(bundles.load(given.bundle)) as live, chromium() as browser:
        for name, (width, height, scheme) in PICTURES.items():
            options = {"viewport": {"width": width, "height": height}, "color_scheme": scheme}
            with visiting(browser, live.url, **options) as visit:
                visit.choose(*cells)
                visit.wait_until_done()
                visit.page.evaluate("Promise.all([...document.images].map((image) => image.decode().catch(() => 0)))")
                picture = Image.open(io.BytesIO(visit.page.screenshot())).convert("RGB")
            path = given.out / f"{name}.png"
            # 256 colours are enough for grey panels and stained cells, and a third of the size.
            picture.quantize(256, dither=Image.Dither.NONE).save(path, optimize=True)
            print(path, path.stat().st_size)  # noqa: T201


if __name__ == "__main__":
    main()
