"""A recipe: every choice that makes one experiment, typed and stored with the run."""

import difflib
import importlib
import pkgutil
from collections.abc import Mapping
from types import MappingProxyType
from typing import Annotated, Any, Final, Literal

from pydantic import BaseModel, ConfigDict, Field, model_validator

from contract.parts import IMAGE_SIDE
from training.errors import TrainingError
from training.networks.augmentation import CLASSIFIER_AUGMENTATION, PROJECTION_AUGMENTATION, Augmentation


class RecipeError(TrainingError):
    """There is no such recipe, or its choices do not fit together."""


class _Part(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class Stage(_Part):
    """One stage of training: which weights learn, by which loss, from which images.

    Attributes:
        name: as in logs and overrides, for example ``encoder``.
        head: the head that learns; ``projection`` by the supervised contrastive loss, ``classifier`` by cross-entropy.
        trains_encoder: whether the encoder learns too; frozen, it stays byte-identical.
        frozen_blocks: so many of Xception's 14 blocks, counted from the image, stay as they are while the rest of the
            encoder learns. The first four work on the largest maps. The thesis trains all; this is a
            deviation.
        image_side: pixels of the side that images are scaled to before they are augmented and encoded. Smaller images
            train faster; a later stage at 256 should follow (progressive resizing). The thesis always has 256.
        live_batch_normalisation: normalise by each batch's own statistics and learn their running mean. The thesis
            leaves batch normalisation in inference mode always; this is a deviation.
        epochs: passes over the training images, at most.
        patience: stop when the training loss has not improved for so many epochs.
        learning_rate: Adam's, at its peak.
        augmentation: the random transformations of each view.
        warm_up: share of the stage's updates over which the learning rate rises linearly from 0.
        decay: ``cosine`` lets the learning rate fall to 0 over the rest, ``none`` keeps it.
        batch_size: images an update, over all devices; a contrastive stage sees two views of each.
        micro_batch: images a device holds at once. A larger batch is embedded in micro-batches and its gradient is
            the same (gradient caching); memory is that of the micro-batch. ``None``: the whole batch at once.
        classes_per_batch: ``None`` shuffles all images, as the thesis does; P draws P classes and
            ``batch_size / P`` images of each.
        feature_views: ``None`` augments and encodes anew in every epoch, as the thesis does. V (frozen encoder only)
            encodes V augmented views of each image once (2.9 times as fast on an AMD EPYC) and trains the head on them.
    """

    name: Annotated[str, Field(pattern=r"^[a-z_]+$")]
    head: Literal["projection", "classifier"]
    trains_encoder: bool
    frozen_blocks: Annotated[int, Field(ge=0, lt=14)] = 0
    image_side: Annotated[int, Field(ge=96, le=IMAGE_SIDE)] = IMAGE_SIDE
    live_batch_normalisation: bool = False
    epochs: Annotated[int, Field(gt=0)]
    patience: Annotated[int, Field(gt=0)] | None = None
    learning_rate: Annotated[float, Field(gt=0)]
    augmentation: Augmentation
    warm_up: Annotated[float, Field(ge=0, lt=1)] = 0.0
    decay: Literal["none", "cosine"] = "none"
    batch_size: Annotated[int, Field(gt=1)]
    micro_batch: Annotated[int, Field(gt=0)] | None = None
    classes_per_batch: Annotated[int, Field(gt=1)] | None = None
    feature_views: Annotated[int, Field(gt=1)] | None = None

    @property
    def contrastive(self) -> bool:
        """Whether the supervised contrastive loss is learned by, on two views of each image."""
        return self.head == "projection"

    @model_validator(mode="after")
    def _fits(self) -> "Stage":
        problems = []
        if self.feature_views and self.trains_encoder:
            problems.append("feature_views needs a frozen encoder: its features would be those of old weights")
        if self.micro_batch and self.live_batch_normalisation:
            problems.append("micro_batch needs batch normalisation in inference mode: a part has other statistics")
        if self.live_batch_normalisation and not self.trains_encoder:
            problems.append("live_batch_normalisation changes the encoder, which this stage must leave as it is")
        if self.live_batch_normalisation and self.image_side < IMAGE_SIDE:
            problems.append(f"live_batch_normalisation needs images of {IMAGE_SIDE} pixels: leave image_side out")
        if self.frozen_blocks and not self.trains_encoder:
            problems.append("frozen_blocks is for a stage that trains the encoder; this one leaves all of it as it is")
        if self.classes_per_batch and self.batch_size % self.classes_per_batch:
            problems.append(f"classes_per_batch {self.classes_per_batch} does not divide batch_size {self.batch_size}")
        if problems:
            raise ValueError(f"stage {self.name}: {'; '.join(problems)}")
        return self


class ProjectionHead(_Part):
    """l2, dropout, dense, l2 (appendix B.3, B.4); N units, 16 or 128 in the thesis."""

    units: Annotated[int, Field(gt=1)]
    dropout: Annotated[float, Field(ge=0, lt=1)] = 0.2


class ClassifierHead(_Part):
    """Dropout and dense layer; HAL-C normalises its features first (appendix B.5), HAL-T and HAL-R do not (B.1)."""

    dropout: Annotated[float, Field(ge=0, lt=1)]
    normalised: bool


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


class Recipe(_Part):
    """One experiment.

    Attributes:
        name: the experiment, as given to ``hal train``.
        initial_weights: of the encoder.
        projection_head: ``None`` where no stage is contrastive.
        classifier_head: learned by the last stage.
        temperature: tau of Eq. 13.
        stages: in their order.
        precision: arithmetic of the encoder; losses and heads are float32 always.
        seed: of every random choice.
        train_splits: which splits are trained on; ``train`` and ``val`` for the final retraining.
        sets: which of the thesis's sets are trained on (Table 4.11): A and B, or A, B and C.
        fewest_images: classes with fewer training images are left out and declared with evidence ``none``.
        thesis: what the thesis reports for this network, shown beside our own figures.
    """

    name: str
    initial_weights: Literal["imagenet", "random"] = "imagenet"
    projection_head: ProjectionHead | None = None
    classifier_head: ClassifierHead
    temperature: Annotated[float, Field(gt=0)] = 0.1
    stages: Annotated[tuple[Stage, ...], Field(min_length=1)]
    precision: Literal["float32", "mixed_bfloat16", "mixed_float16"] = "float32"
    seed: int = 2022
    train_splits: tuple[Literal["train", "val"], ...] = ("train",)
    sets: tuple[Literal["A", "B", "C"], ...] = ("A", "B", "C")
    fewest_images: Annotated[int, Field(gt=0)] = 10
    thesis: ThesisFigures | None = None

    @model_validator(mode="after")
    def _fits(self) -> "Recipe":
        names = [stage.name for stage in self.stages]
        problems = []
        if len({*names, *type(self).model_fields}) < len(names) + len(type(self).model_fields):
            problems.append(f"stages need names of their own, which are no field's either: {names}")
        if self.stages[-1].head != "classifier":
            problems.append("the last stage must train the classifier")
        if any(stage.contrastive for stage in self.stages) and self.projection_head is None:
            problems.append("a contrastive stage needs projection_head")
        if problems:
            raise ValueError("; ".join(problems))
        return self

    @property
    def trains_on_validation(self) -> bool:
        """Whether this is a final retraining, which leaves no validation images to measure on."""
        return "val" in self.train_splits

    @property
    def encoder_stages(self) -> tuple[Stage, ...]:
        """The stages up to the last one that trains the encoder."""
        last = max((number for number, stage in enumerate(self.stages) if stage.trains_encoder), default=-1)
        return self.stages[: last + 1]

    def same_encoder(self, other: "Recipe") -> bool:
        """Whether both recipes make the same encoder of the same images, so that it needs training only once."""
        return self._encoder_choices() == other._encoder_choices()

    def _encoder_choices(self) -> object:
        projection = self.projection_head if any(stage.contrastive for stage in self.encoder_stages) else None
        classifier = None if all(stage.contrastive for stage in self.encoder_stages) else self.classifier_head
        data = (self.train_splits, self.sets, self.fewest_images)
        run = (self.initial_weights, self.temperature, self.precision, self.seed)
        return projection, classifier, self.encoder_stages, data, run


CACHED: Final[Mapping[str, Any]] = MappingProxyType({"trains_encoder": False, "decay": "cosine"})
"""A stage on views that the frozen encoder has encoded once; ``feature_views`` says how many of each image."""


def hal_c(name: str, *stages: Stage, units: int = 128, dropout: float = 0.3, **choices: Any) -> Recipe:
    """HAL-C: a projection head of so many units, and a classifier on normalised features (appendix B.3 to B.5)."""
    classifier = ClassifierHead(dropout=dropout, normalised=True)
    projection = ProjectionHead(units=units)
    return Recipe(name=name, stages=stages, projection_head=projection, classifier_head=classifier, **choices)


def hal_t(name: str, *stages: Stage, dropout: float = 0.2, **choices: Any) -> Recipe:
    """HAL-T, and HAL-R, which begins with random weights: a classifier on the features as they are (appendix B.1)."""
    classifier = ClassifierHead(dropout=dropout, normalised=False)
    return Recipe(name=name, stages=stages, classifier_head=classifier, **choices)


def contrastive_stages(
    projection: dict[str, Any], encoder: dict[str, Any], classifier: dict[str, Any]
) -> tuple[Stage, Stage, Stage]:
    """The three steps of HAL-C (thesis section 4.3.3), with the augmentation of Table 4.10."""
    return (
        projection_stage("projection", trains_encoder=False, **projection),
        projection_stage("encoder", trains_encoder=True, **encoder),
        classifier_stage("classifier", trains_encoder=False, **classifier),
    )


def projection_stage(name: str, **choices: Any) -> Stage:
    """A contrastive stage, with the augmentation of Table 4.10, encoder and projection head."""
    return Stage(name=name, head="projection", **{"augmentation": PROJECTION_AUGMENTATION, **choices})


def classifier_stage(name: str, **choices: Any) -> Stage:
    """A cross-entropy stage, with the augmentation of Table 4.10, classifier, which is also that of Table 4.5."""
    return Stage(name=name, head="classifier", **{"augmentation": CLASSIFIER_AUGMENTATION, **choices})


def names() -> list[str]:
    """The recipes of :mod:`training.recipes`, as they are given to ``hal train``."""
    from training import recipes

    return sorted(module.name.replace("_", "-") for module in pkgutil.iter_modules(recipes.__path__))


def find(name: str) -> Recipe:
    """The recipe called ``name``, for example ``hal-c3003-cpu``. Raises RecipeError: there is none of that name."""
    if name not in names():
        nearest = difflib.get_close_matches(name, names(), n=1, cutoff=0.5)
        hint = f"did you mean {nearest[0]!r}? " if nearest else ""
        raise RecipeError(f"no recipe {name!r}; {hint}choose one of {', '.join(names())}")
    module = importlib.import_module(f"training.recipes.{name.replace('-', '_')}")
    return Recipe.model_validate(module.RECIPE)
