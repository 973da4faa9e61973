"""A small stand-in encoder and a small labelled data set, so that the whole road runs in seconds."""

import os

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")

from pathlib import Path

import keras
import numpy as np
import pytest
from PIL import Image

from contract.classes import CLASS_NAMES
from training.data.manifest import LabelledImage
from training.recipe import ContrastiveRecipe, classifier_step, projection_step

LABELS = ("Segmented neutrophil", "Lymphocyte", "Large thrombocyte")


@pytest.fixture(autouse=True)
def _float32() -> None:
    keras.mixed_precision.set_global_policy("float32")


@pytest.fixture
def small_encoder() -> keras.Model:
    """The interface of the encoder (pixels to 2048 features, batch normalisation inside) at a thousandth of its cost."""
    keras.utils.set_random_seed(7)
    pixels = keras.Input((256, 256, 3))
    x = keras.layers.Rescaling(1 / 127.5, offset=-1.0)(pixels)
    x = keras.layers.Conv2D(8, 8, strides=8)(x)
    x = keras.layers.BatchNormalization()(x)
    x = keras.layers.ReLU()(x)
    x = keras.layers.Conv2D(2048, 4, strides=8)(x)
    return keras.Model(pixels, keras.layers.GlobalAveragePooling2D()(x), name="encoder")


@pytest.fixture
def cells(tmp_path: Path) -> list[LabelledImage]:
    """36 images of three classes that differ in the colour of a disc."""
    generator = np.random.default_rng(3)
    colours = np.array([[200, 80, 160], [60, 60, 200], [180, 40, 60]])
    images = []
    rows, columns = np.mgrid[:256, :256]
    for index in range(36):
        label = index % 3
        radius = generator.uniform(30, 60)
        disc = np.hypot(rows - 128 - generator.normal(0, 8), columns - 128) < radius
        pixels = np.full((256, 256, 3), 235.0)
        pixels[disc] = colours[label]
        pixels += generator.normal(0, 6, pixels.shape)
        path = tmp_path / "cells" / f"{index}.png"
        path.parent.mkdir(exist_ok=True)
        Image.fromarray(pixels.clip(0, 255).astype(np.uint8)).save(path)
        extra = {"evidence": "size-derived" if LABELS[label].startswith("Large") else "real"}
        images.append(LabelledImage(path, LABELS[label], "", "made", "val" if index >= 24 else "train", extra))
    assert {image.label for image in images} <= set(CLASS_NAMES)
    return images


@pytest.fixture
def small_recipe() -> ContrastiveRecipe:
    """All three steps, online augmentation in the frozen ones, as the thesis has them."""
    return ContrastiveRecipe(
        name="small",
        projection_units=16,
        projection_step=projection_step(epochs=1, learning_rate=1e-3, batch_size=8),
        encoder_step=projection_step(epochs=2, learning_rate=1e-3, batch_size=6, classes_per_batch=3, decay="cosine"),
        classifier_step=classifier_step(epochs=2, learning_rate=1e-2, dropout=0.3, batch_size=8),
        fewest_images=3,
    )
