"""Images of another size: refused, cropped or padded as ``HAL_FIT`` says, and never resampled."""

from collections.abc import Iterator

import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from contract.refusals import ImageRefusedError, RefusalCode
from service.settings import Fit
from tests.service.image_files import decoded, noise, refusal
from tests.service.tiny_bundle import encoded

pytestmark = pytest.mark.filterwarnings("ignore::UserWarning:PIL")


def test_strict_refuses_every_other_size_and_says_why() -> None:
    error = refusal(encoded(noise(360, 363), "PNG"))
    assert error.code is RefusalCode.WRONG_SIZE
    assert "360x363" in str(error)
    assert "256x256" in str(error)


@pytest.mark.parametrize(
    ("width", "height", "remedy"),
    [
        (360, 363, "set HAL_FIT=crop"),
        (256, 257, "set HAL_FIT=crop"),
        (250, 250, "set HAL_FIT=pad"),
        (129, 256, "set HAL_FIT=pad"),
        (100, 100, "export a larger field"),
        (250, 360, "export a larger field"),
    ],
)
def test_strict_names_the_fit_that_would_take_the_image_and_no_other(width: int, height: int, remedy: str) -> None:
    data = encoded(noise(width, height), "PNG")
    assert remedy in str(refusal(data))
    if "HAL_FIT" in remedy:
        assert decoded(data, Fit(remedy.rpartition("=")[2])).shape == (256, 256, 3)
    assert str(refusal(data)).count("HAL_FIT") == remedy.count("HAL_FIT")


def size_cases() -> Iterator[tuple[Fit, int, int]]:
    yield Fit.CROP, 255, 256
    yield Fit.CROP, 300, 200
    yield Fit.PAD, 257, 256
    yield Fit.PAD, 300, 200
    yield Fit.PAD, 128, 256
    yield Fit.PAD, 1, 1


@pytest.mark.parametrize(("fit", "width", "height"), list(size_cases()))
def test_neither_crop_nor_pad_does_the_others_work(fit: Fit, width: int, height: int) -> None:
    assert refusal(encoded(noise(width, height)), fit=fit).code is RefusalCode.WRONG_SIZE


@given(width=st.integers(1, 400), height=st.integers(1, 400), fit=st.sampled_from(Fit))
@example(width=129, height=129, fit=Fit.PAD)
def test_every_pixel_of_an_answer_is_a_pixel_of_the_image(width: int, height: int, fit: Fit) -> None:
    column, row = np.meshgrid(np.arange(width) % 256, np.arange(height) % 256)
    pixels = np.stack([column, row, (column + row) % 256], axis=-1).astype(np.uint8)
    try:
        result = decoded(encoded(pixels, "BMP"), fit)
    except ImageRefusedError as error:
        assert error.code is RefusalCode.WRONG_SIZE
        return
    assert result.shape == (256, 256, 3)
    assert np.array_equal(result[..., 2], (result[..., 0].astype(int) + result[..., 1]) % 256)
