"""Recipes against the thesis's tables; overrides that hold together or say all that does not."""

import importlib
import json
from typing import Any

import pytest
from pydantic import ValidationError

from training import recipe
from training.augment import CLASSIFIER_AUGMENTATION, PROJECTION_AUGMENTATION
from training.recipe import Recipe, RecipeError, override

CONTRASTIVE = {
    # name: units, dropout of the classifier, epochs of the three steps, their learning rates
    "hal-c3001": (16, 0.3, (7, 10, 20), (1e-3, 1e-5, 1e-3)),
    "hal-c3001-selection": (16, 0.3, (7, 7, 20), (1e-5, 1e-5, 1e-3)),
    "hal-c3002": (128, 0.2, (7, 10, 20), (1e-3, 1e-5, 1e-3)),
    "hal-c3003": (128, 0.3, (7, 10, 20), (1e-3, 1e-5, 1e-3)),
}
"""Tables 4.8, 4.9 and C.1."""
TRANSFER = {"hal-t3001": (10, 4, 20), "hal-t3002": (6, 5, 25), "hal-t3003": (15, 5, 25)}
"""Table 4.4: epochs of the top layer and of fine tuning, batch size."""


@pytest.mark.parametrize("name", CONTRASTIVE)
def test_the_contrastive_recipes_are_those_of_the_thesis(name: str) -> None:
    units, dropout, epochs, rates = CONTRASTIVE[name]
    chosen = recipe.find(name)
    assert chosen.projection_head is not None
    assert (chosen.projection_head.units, chosen.projection_head.dropout) == (units, 0.2)
    assert (chosen.classifier_head.dropout, chosen.classifier_head.normalised) == (dropout, True)
    assert chosen.temperature == 0.1
    assert tuple(stage.epochs for stage in chosen.stages) == epochs
    assert tuple(stage.learning_rate for stage in chosen.stages) == rates
    assert [stage.trains_encoder for stage in chosen.stages] == [False, True, False]
    assert [stage.contrastive for stage in chosen.stages] == [True, True, False]
    assert {stage.batch_size for stage in chosen.stages} == {16}
    augmentations = [stage.augmentation for stage in chosen.stages]
    assert augmentations == [PROJECTION_AUGMENTATION, PROJECTION_AUGMENTATION, CLASSIFIER_AUGMENTATION]


@pytest.mark.parametrize("name", TRANSFER)
def test_the_transfer_recipes_are_those_of_the_thesis(name: str) -> None:
    top, fine, batch = TRANSFER[name]
    chosen = recipe.find(name)
    assert [(s.trains_encoder, s.epochs, s.learning_rate, s.batch_size) for s in chosen.stages] == [
        (False, top, 1e-3, batch),
        (True, fine, 1e-4, batch),
    ]
    assert (chosen.classifier_head.dropout, chosen.classifier_head.normalised) == (0.2, False)
    assert {stage.augmentation for stage in chosen.stages} == {CLASSIFIER_AUGMENTATION}


def test_hal_r_is_that_of_the_thesis_and_its_deviation_differs_in_batch_normalisation_only() -> None:
    chosen, deviation = recipe.find("hal-r"), recipe.find("hal-r-live-bn")
    (stage,) = chosen.stages
    assert (stage.epochs, stage.patience, stage.learning_rate, stage.batch_size) == (100, 3, 1e-3, 25)
    assert chosen.initial_weights == "random"
    assert not stage.live_batch_normalisation
    assert deviation.stages == (stage.model_copy(update={"live_batch_normalisation": True}),)


@pytest.mark.parametrize("name", recipe.names())
def test_every_recipe_says_what_it_is_and_how_it_is_run(name: str) -> None:
    module = importlib.import_module(f"training.recipes.{name.replace('-', '_')}")
    assert module.RECIPE.name == name
    assert f"    hal train {name} --data " in module.__doc__
    if (figures := module.RECIPE.thesis) is not None:
        for accuracy in (figures.validation_accuracy, figures.test_accuracy):
            assert accuracy is None or f"{accuracy:g}" in module.__doc__


def test_c3002_and_c3003_share_an_encoder_and_c3001_does_not() -> None:
    c3001, c3002, c3003 = (recipe.find(f"hal-c300{number}") for number in (1, 2, 3))
    assert c3002.same_encoder(c3003)
    assert not c3001.same_encoder(c3003)
    assert not override(c3003, ["encoder.epochs=9"]).same_encoder(c3003)
    assert not override(c3003, ["seed=1"]).same_encoder(c3003)
    assert override(c3003, ["classifier.epochs=9"]).same_encoder(c3003)


def test_an_unknown_recipe_is_answered_with_the_nearest_and_all_others() -> None:
    with pytest.raises(RecipeError, match=r"did you mean 'hal-c3003'.*hal-t3001"):
        recipe.find("hal-c303")


def test_any_choice_can_be_replaced_and_the_rest_stays() -> None:
    base = recipe.find("hal-c3003")
    choices = ["seed=7", "encoder.epochs=3", "projection_head.units=16", "classifier.augmentation.contrast=0.2"]
    changed = override(base, [*choices, "precision=mixed_bfloat16", 'train_splits=["train","val"]'])
    assert changed.seed == 7
    assert changed.stages[1].epochs == 3
    assert changed.projection_head is not None
    assert changed.projection_head.units == 16
    assert changed.stages[2].augmentation.contrast == 0.2
    assert changed.precision == "mixed_bfloat16"
    assert changed.trains_on_validation
    assert changed.stages[0] == base.stages[0]


@pytest.mark.parametrize("name", recipe.names())
def test_every_listed_choice_can_be_set_to_what_it_is(name: str) -> None:
    chosen = recipe.find(name)
    for path in recipe.fields(chosen):
        part: Any = chosen.model_dump(mode="json")
        for key in path.split("."):
            stages = {stage["name"]: stage for stage in part.get("stages", ())}
            part = stages[key] if key in stages else part[key]
        assert override(chosen, [f"{path}={json.dumps(part)}"]) == chosen


def test_all_choices_that_do_not_exist_are_reported_together() -> None:
    with pytest.raises(RecipeError) as caught:
        override(recipe.find("hal-c3003"), ["encoder.epoch=3", "seed", "name=x", "thesis.test_loss=0"])
    for part in ("did you mean encoder.epochs?", "'seed'", "'name=x'", "'thesis.test_loss=0'"):
        assert part in str(caught.value)


def test_all_values_that_do_not_fit_are_reported_together() -> None:
    with pytest.raises(RecipeError) as caught:
        override(recipe.find("hal-c3003"), ["encoder.epochs=-3", "temperature=0", "precision=float8"])
    for part in ("epochs", "temperature", "precision", "float8"):
        assert part in str(caught.value)


@pytest.mark.parametrize(
    ("choices", "reason"),
    [
        (["encoder.feature_views=2"], "frozen encoder"),
        (["encoder.micro_batch=4", "encoder.live_batch_normalisation=true"], "inference mode"),
        (["classifier.live_batch_normalisation=true"], "must leave as it is"),
        (["classifier.frozen_blocks=4"], "leaves all of it as it is"),
        (["classifier.image_side=192"], "heads learn on images of 256 pixels"),
        (["encoder.classes_per_batch=5"], "does not divide"),
    ],
)
def test_choices_that_contradict_each_other_are_refused(choices: list[str], reason: str) -> None:
    with pytest.raises(RecipeError, match=reason):
        override(recipe.find("hal-c3003"), choices)


def test_a_recipe_without_a_classifier_at_its_end_is_refused() -> None:
    chosen = recipe.find("hal-c3003")
    with pytest.raises(ValidationError, match="last stage must train the classifier"):
        Recipe.model_validate({**chosen.model_dump(), "stages": chosen.model_dump()["stages"][:2]})
