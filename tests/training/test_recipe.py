"""Recipes against the thesis's tables, and each on its own."""

import importlib

import pytest
from pydantic import ValidationError

from training import recipe
from training.augment import CLASSIFIER_AUGMENTATION, PROJECTION_AUGMENTATION
from training.overrides import override
from training.recipe import Recipe, RecipeError

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


def test_a_recipe_without_a_classifier_at_its_end_is_refused() -> None:
    chosen = recipe.find("hal-c3003")
    with pytest.raises(ValidationError, match="last stage must train the classifier"):
        Recipe.model_validate({**chosen.model_dump(), "stages": chosen.model_dump()["stages"][:2]})
