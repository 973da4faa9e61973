"""A recipe: every choice that makes one experiment, typed and stored with the run."""

import importlib
import pkgutil
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field

from training.augment import CLASSIFIER_AUGMENTATION, PROJECTION_AUGMENTATION, Augmentation
from training.errors import TrainingError


class RecipeError(TrainingError):
    """There is no such recipe."""


class _Part(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class Step(_Part):
    """One of the three training steps.

    Attributes:
        epochs: passes over the training images.
        learning_rate: Adam's, at its peak.
        dropout: share of the features dropped before the dense layer.
        augmentation: the random transformations of each view.
        warm_up: share of the step's updates over which the learning rate rises linearly from 0.
        decay: ``cosine`` lets the learning rate fall to 0 over the rest, ``none`` keeps it.
        batch_size: images an update; the contrastive steps see two views of each.
        classes_per_batch: ``None`` shuffles all images, as the thesis does; P draws P classes and
            ``batch_size / P`` images of each.
        feature_views: ``None`` augments and encodes anew in every epoch, as the thesis does. V (frozen encoder only)
            encodes V augmented views of each image once and trains the head on those.
    """

    epochs: Annotated[int, Field(gt=0)]
    learning_rate: Annotated[float, Field(gt=0)]
    dropout: Annotated[float, Field(ge=0, lt=1)]
    augmentation: Augmentation
    warm_up: Annotated[float, Field(ge=0, lt=1)] = 0.0
    decay: Literal["none", "cosine"] = "none"
    batch_size: Annotated[int, Field(gt=0)] = 16
    classes_per_batch: Annotated[int, Field(gt=1)] | None = None
    feature_views: Annotated[int, Field(gt=1)] | None = None


class ThesisFigures(_Part):
    """What the thesis reports for a network (Tables 5.1 to 5.5); ``None`` where it reports nothing.

    Attributes:
        sanity_c: accuracy on set C, trained on A and B, and on A, B and C (Table 5.4).
        sanity_d: the same on set D (Table 5.5).
    """

    training_accuracy: float | None = None
    training_loss: float | None = None
    validation_accuracy: float | None = None
    validation_loss: float | None = None
    test_accuracy: float | None = None
    test_loss: float | None = None
    sanity_c: tuple[float, float] | None = None
    sanity_d: tuple[float, float] | None = None


class ContrastiveRecipe(_Part):
    """HAL-C: the three steps of thesis section 4.3.3.

    Attributes:
        name: the experiment.
        projection_units: N of the projection head, 16 or 128 in the thesis.
        temperature: tau of Eq. 13.
        projection_step: step 1, projection head on the frozen encoder.
        encoder_step: step 2, projection head and encoder.
        classifier_step: step 3, classifier on the frozen encoder.
        precision: arithmetic of the encoder; loss and heads are float32 always.
        seed: of every random choice.
        fewest_images: classes with fewer training images are left out and declared with evidence ``none``.
        thesis: what the thesis reports for this network, shown beside our own figures.
    """

    name: str
    projection_units: Annotated[int, Field(gt=1)]
    temperature: Annotated[float, Field(gt=0)] = 0.1
    projection_step: Step
    encoder_step: Step
    classifier_step: Step
    precision: Literal["float32", "mixed_bfloat16", "mixed_float16"] = "float32"
    seed: int = 2022
    fewest_images: Annotated[int, Field(gt=0)] = 10
    thesis: ThesisFigures | None = None


def projection_step(**choices: object) -> Step:
    """A step with the augmentation of Table 4.10, encoder and projection head."""
    return Step.model_validate({"augmentation": PROJECTION_AUGMENTATION, "dropout": 0.2, **choices})


def classifier_step(**choices: object) -> Step:
    """A step with the augmentation of Table 4.10, classifier."""
    return Step.model_validate({"augmentation": CLASSIFIER_AUGMENTATION, **choices})


def names() -> list[str]:
    """The recipes of :mod:`training.recipes`, as they are given to ``hal train``."""
    from training import recipes

    return sorted(module.name.replace("_", "-") for module in pkgutil.iter_modules(recipes.__path__))


def find(name: str) -> ContrastiveRecipe:
    """The recipe called ``name``, for example ``hal-c3003-cpu``.

    Raises:
        RecipeError: there is none of that name.
    """
    if name not in names():
        raise RecipeError(f"no recipe {name!r}; choose one of {', '.join(names())}")
    module = importlib.import_module(f"training.recipes.{name.replace('-', '_')}")
    return ContrastiveRecipe.model_validate(module.RECIPE)
