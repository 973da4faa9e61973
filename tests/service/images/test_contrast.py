"""An image that shows nothing is refused; no real cell is."""

import os
import re
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from contract.refusals import RefusalCode
from service.images.decode import LEAST_CONTRAST, contrast
from service.settings import Fit
from tests.paths import CELLS
from tests.service.image_files import decoded, refusal
from tests.service.tiny_bundle import encoded

SHARED = os.environ.get("HAL_SHARED")


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "BMP", "TIFF"])
@pytest.mark.parametrize("colour", [(0, 0, 0), (255, 255, 255), (240, 225, 215)], ids=["dark", "white", "empty field"])
def test_what_a_camera_gives_of_nothing_is_refused_noise_included(colour: tuple[int, int, int], kind: str) -> None:
    noise = np.random.default_rng(7).normal(0, 2, (256, 256, 3))
    blank = np.clip(np.array(colour) + noise, 0, 255).astype(np.uint8)

    error = refusal(encoded(blank, kind))
    assert error.code is RefusalCode.BLANK
    assert re.search("shows nothing.*levels of green, expected at least 24.*lamp", str(error))


def test_what_is_cropped_away_does_not_count() -> None:
    framed = np.full((300, 300, 3), 240, np.uint8)
    framed[:10] = 0

    assert refusal(encoded(framed, "PNG"), fit=Fit.CROP).code is RefusalCode.BLANK


def test_a_small_pale_platelet_is_something() -> None:
    rows, columns = np.mgrid[:256, :256]
    field = np.full((256, 256, 3), 235, np.uint8)
    field[(rows - 131) ** 2 + (columns - 118) ** 2 < 10**2] = 200

    assert decoded(encoded(field, "PNG")).shape == (256, 256, 3)


def test_the_sample_cells_are_far_from_blank() -> None:
    assert min(contrast(decoded(sample.read_bytes())) for sample in CELLS.glob("*.jpg")) > 4 * LEAST_CONTRAST


@pytest.mark.skipif(not SHARED, reason="HAL_SHARED is not set: the real images are not at hand")
def test_no_real_cell_at_hand_is_near_the_limit() -> None:
    folder = Path(str(SHARED)) / "data" / "real" / "images"
    images = sorted(path for path in folder.rglob("*") if path.suffix in (".jpg", ".png"))
    assert len(images) > 4000
    lowest = min(contrast(np.asarray(Image.open(path).convert("RGB"))) for path in images[::5])
    assert lowest > 4 * LEAST_CONTRAST
