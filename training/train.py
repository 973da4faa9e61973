"""``hal train``: a recipe, a manifest and a folder become a trained run."""

from collections import Counter
from pathlib import Path

import keras

from training import networks, recipe
from training.contrastive import Trainer
from training.data import manifest
from training.data.manifest import LabelledImage
from training.run import Run, RunError


def train(recipe_name: str, data: Path | None, root: Path, resume: bool, weights: Path | None) -> None:
    """Start or resume the run in ``root``.

    Args:
        recipe_name: see :func:`training.recipe.names`.
        data: manifest with ``train`` and ``val`` images; not needed to resume.
        root: the run's folder.
        resume: go on from the folder's checkpoint.
        weights: ImageNet weights of Xception, or ``None`` for Keras' download.

    Raises:
        RecipeError, RunError, ManifestError, WeightsError: each says what was wrong and what to do.
    """
    run = _resume(recipe_name, root) if resume else _start(recipe_name, data, root)
    keras.utils.set_random_seed(run.recipe.seed)
    keras.mixed_precision.set_global_policy(run.recipe.precision)
    encoder = networks.build_encoder(networks.imagenet_weights(weights))
    trainer = Trainer(run, encoder)
    images = f"{len(trainer.train.paths)} training and {len(trainer.validation.paths)} validation images"
    run.say(f"{run.recipe.name}: {images}, from step {trainer.progress.step}, epoch {trainer.progress.epoch + 1}")
    trainer.run_steps()
    run.say(f"done; next: hal export {run.root}")


def _resume(recipe_name: str, root: Path) -> Run:
    run = Run.open(root)
    if run.recipe.name != recipe_name:
        raise RunError(f"{root} is a run of {run.recipe.name}, not of {recipe_name}")
    return run


def _start(recipe_name: str, data: Path | None, root: Path) -> Run:
    chosen = recipe.find(recipe_name)
    if data is None:
        raise RunError("a new run needs --data MANIFEST; 'hal data prepare' writes one")
    images = manifest.read(data)
    return Run.start(root, chosen, enough_images(images, chosen.fewest_images))


def enough_images(images: list[LabelledImage], fewest: int) -> list[LabelledImage]:
    """Leave out classes that have too few training images to be learned."""
    training = Counter(image.label for image in images if image.split == "train")
    kept = [image for image in images if training[image.label] >= fewest]
    if not any(image.split == "train" for image in kept) or not any(image.split == "val" for image in kept):
        raise manifest.ManifestError(
            "nothing to train on",
            [f"{sum(training.values())} training images; a class needs {fewest}, and validation images are needed too"],
        )
    return kept
