"""A small stand-in encoder, a small recipe and a small labelled data set: the whole road in seconds.

``python -m tests.training.small RUN`` trains in a process of its own, which a test can kill.
"""

import csv
import functools
import io
import os
import sys
from pathlib import Path

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")

import keras
import numpy as np
from PIL import Image

from training.data.manifest import LabelledImage
from training.fit.run import Run
from training.fit.trainer import Trainer
from training.recipe import ClassifierHead, ProjectionHead, Recipe, classifier_stage, contrastive_stages

COLOURS = {
    "Segmented neutrophil": (200, 80, 160),
    "Lymphocyte": (60, 60, 200),
    "Large thrombocyte": (180, 40, 60),
}
IMAGES = 36

RECIPE = Recipe(
    name="small",
    projection_head=ProjectionHead(units=16),
    classifier_head=ClassifierHead(dropout=0.3, normalised=True),
    stages=contrastive_stages(
        projection={"epochs": 1, "learning_rate": 1e-3, "batch_size": 8},
        encoder={"epochs": 2, "learning_rate": 1e-3, "batch_size": 6, "classes_per_batch": 3, "decay": "cosine"},
        classifier={"epochs": 2, "learning_rate": 1e-2, "batch_size": 8},
    ),
    fewest_images=3,
)
"""All three steps of HAL-C, with online augmentation in the frozen ones, as the thesis has them."""
TRANSFER = Recipe(
    name="small-transfer",
    classifier_head=ClassifierHead(dropout=0.2, normalised=False),
    stages=(
        classifier_stage("top_layer", trains_encoder=False, epochs=1, learning_rate=1e-2, batch_size=8),
        classifier_stage("fine_tuning", trains_encoder=True, epochs=2, learning_rate=1e-3, batch_size=8),
    ),
    fewest_images=3,
)
"""Both stages of HAL-T."""


def only(recipe: Recipe, stage: int) -> Recipe:
    """The recipe with one of its stages."""
    return recipe.model_copy(update={"stages": (recipe.stages[stage],)})


def encoder() -> keras.Model:
    """The encoder's interface (pixels to 2048 features, batch normalisation inside) at a thousandth of its cost."""
    keras.utils.set_random_seed(7)
    pixels = keras.Input((256, 256, 3))
    x = keras.layers.Rescaling(1 / 127.5, offset=-1.0)(pixels)
    x = keras.layers.Conv2D(8, 8, strides=8, name="block1_conv")(x)
    x = keras.layers.BatchNormalization(name="block1_conv_bn")(x)
    x = keras.layers.ReLU()(x)
    x = keras.layers.Conv2D(8, 1, name="block2_conv")(x)
    x = keras.layers.Conv2D(2048, 4, strides=8, name="block3_conv")(x)
    return keras.Model(pixels, keras.layers.GlobalAveragePooling2D()(x), name="encoder")


@functools.cache
def drawn() -> list[bytes]:
    """PNG files, which take longer to write than to copy."""
    generator = np.random.default_rng(3)
    rows, columns = np.mgrid[:256, :256]
    files = []
    for index in range(IMAGES):
        colour = list(COLOURS.values())[index % len(COLOURS)]
        disc = np.hypot(rows - 128 - generator.normal(0, 8), columns - 128) < generator.uniform(30, 60)
        pixels = np.where(disc[..., None], colour, 235) + generator.normal(0, 6, (256, 256, 3))
        file = io.BytesIO()
        Image.fromarray(pixels.clip(0, 255).astype(np.uint8)).save(file, "PNG", compress_level=0)
        files.append(file.getvalue())
    return files


def cells(folder: Path) -> list[LabelledImage]:
    """36 images of three classes that differ in the colour of a disc; 24 for training."""
    folder.mkdir(parents=True, exist_ok=True)
    images = []
    for index, file in enumerate(drawn()):
        label = list(COLOURS)[index % len(COLOURS)]
        path = folder / f"{index}.png"
        path.write_bytes(file)
        extra = {"evidence": "size-derived" if label == "Large thrombocyte" else "real"}
        images.append(LabelledImage(path, label, "", "made", "val" if index >= 24 else "train", extra))
    return images


def train(run: Run) -> Trainer:
    """Train a run from its checkpoint to its end."""
    trainer = Trainer(run, encoder())
    trainer.run_stages()
    return trainer


def history(root: Path) -> list[dict[str, str]]:
    """What a run tells of each epoch in its folder."""
    with (root / "history.csv").open(newline="") as stream:
        return list(csv.DictReader(stream))


if __name__ == "__main__":
    train(Run.open(Path(sys.argv[1])))
