"""Embedding images: as many at once as the device has memory for."""

from collections.abc import Callable
from typing import Any

import keras
import numpy as np
import pytest
import tensorflow as tf

from tests.training import small
from training.data.manifest import LabelledImage
from training.errors import MemoryShortError
from training.fit import features


def _memory_for(images: int, shown: list[int]) -> Callable[..., Any]:
    """:func:`training.fit.features.image_batches`, whose batches of more than ``images`` do not fit a device."""

    def batches(*arguments: Any) -> Any:
        for pixels, indices in whole(*arguments):
            shown.append(len(indices))
            if len(indices) > images:
                raise tf.errors.ResourceExhaustedError(None, None, "OOM when allocating tensor")
            yield pixels, indices

    whole = features.image_batches
    return batches


def test_the_batch_is_halved_until_it_fits_and_no_image_is_left_out(
    cells: list[LabelledImage], small_encoder: keras.Model, monkeypatch: pytest.MonkeyPatch
) -> None:
    paths = [cell.path for cell in cells]
    expected = features.encode(small_encoder, paths, None, "whole")
    shown: list[int] = []
    monkeypatch.setattr(features, "image_batches", _memory_for(8, shown))
    found = features.encode(small_encoder, paths, None, "halved")
    np.testing.assert_allclose(found, expected, atol=1e-4)
    assert shown == [32, 16, 8, 8, 8, 8, small.IMAGES - 32]


def test_no_memory_for_one_image_is_said_with_advice(
    cells: list[LabelledImage], small_encoder: keras.Model, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(features, "image_batches", _memory_for(0, []))
    with pytest.raises(MemoryShortError, match=r"even one image.*CUDA_VISIBLE_DEVICES"):
        features.encode(small_encoder, [cells[0].path], None, "none")
