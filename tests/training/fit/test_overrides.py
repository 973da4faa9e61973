"""``--set``: any choice can be replaced; choices that do not exist or do not hold together are all told."""

import json

import pytest

from training import recipe
from training.overrides import fields, override
from training.recipe import RecipeError


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
    for path, value in fields(chosen).items():
        assert override(chosen, [f"{path}={json.dumps(value)}"]) == chosen


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


def test_wrong_names_do_not_hide_wrong_values() -> None:
    with pytest.raises(RecipeError) as caught:
        override(recipe.find("hal-c3003"), ["encoder.epoch=3", "classifier.batch_size=0", "foo"])
    for part in ("did you mean encoder.epochs?", "batch_size: Input should be greater than 1", "'foo'"):
        assert part in str(caught.value)


@pytest.mark.parametrize(
    ("choices", "reason"),
    [
        (["encoder.feature_views=2"], "frozen encoder"),
        (["encoder.micro_batch=4", "encoder.live_batch_normalisation=true"], "inference mode"),
        (["classifier.live_batch_normalisation=true"], "must leave as it is"),
        (["encoder.live_batch_normalisation=true", "encoder.image_side=96"], "leave image_side out"),
        (["classifier.frozen_blocks=4"], "leaves all of it as it is"),
        (["encoder.classes_per_batch=5"], "does not divide"),
    ],
)
def test_choices_that_contradict_each_other_are_refused(choices: list[str], reason: str) -> None:
    with pytest.raises(RecipeError, match=reason):
        override(recipe.find("hal-c3003"), choices)
