"""Images keep their scale: cropped or reflected, never resampled; training and service do it alike."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from contract.files import IMAGE_SUFFIXES
from contract.pixels import fit
from service.images.decode import decode
from service.settings import Fit
from training.data.images import read_image


def numbered(height: int, width: int) -> np.ndarray:
    generator = np.random.default_rng(height * 1000 + width)
    return generator.integers(0, 256, (height, width, 3), dtype=np.uint8)


def test_a_barcelona_image_is_cropped_at_its_centre() -> None:
    pixels = numbered(363, 360)
    np.testing.assert_array_equal(fit(pixels), pixels[53 : 53 + 256, 52 : 52 + 256])


def test_a_marrow_image_is_padded_by_reflection() -> None:
    pixels = numbered(250, 250)
    fitted = fit(pixels)
    np.testing.assert_array_equal(fitted[3:253, 3:253], pixels)
    np.testing.assert_array_equal(fitted[2, 3:253], pixels[1])
    np.testing.assert_array_equal(fitted[253, 3:253], pixels[-2])


def test_too_small_an_image_is_refused() -> None:
    with pytest.raises(ValueError, match="at least 129"):
        fit(numbered(100, 300))


@settings(max_examples=40, deadline=None)
@given(
    height=st.integers(129, 400),
    width=st.integers(129, 400),
    suffix=st.sampled_from(sorted(IMAGE_SUFFIXES)),
    mode=st.sampled_from(["RGB", "RGBA", "P"]),
)
def test_training_and_service_see_the_same_pixels(
    tmp_path_factory: pytest.TempPathFactory, height: int, width: int, suffix: str, mode: str
) -> None:
    path = tmp_path_factory.mktemp("cell") / f"cell{suffix}"
    image = Image.fromarray(numbered(height, width))
    image.convert("RGB" if suffix in (".jpg", ".jpeg") else mode).save(path)
    served = next((each for each in (Fit.CROP, Fit.PAD) if takes(each, height, width)), None)
    if served is not None:
        seen = decode(path.read_bytes(), fit=served, max_bytes=10**7, max_pixels=10**7)
        np.testing.assert_array_equal(seen, read_image(path))


def takes(fit: Fit, height: int, width: int) -> bool:
    return min(height, width) >= 256 if fit is Fit.CROP else max(height, width) <= 256
