"""Recipes against the thesis's tables, and each on its own."""

import importlib
import re

import pytest
from pydantic import ValidationError

from training import recipe
from training.networks.augmentation import CLASSIFIER_AUGMENTATION, PROJECTION_AUGMENTATION
from training.overrides import override
from training.recipe import Recipe, RecipeError, Stage, ThesisFigures

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
COLUMNS = ("validation_accuracy", "validation_loss", "test_accuracy", "test_loss")
THESIS = {
    "hal-t3001": (0.9087, 0.2811, 0.8766, 0.4598),
    "hal-t3002": (0.9057, 0.2921, 0.8821, 0.4200),
    "hal-t3003": (0.9056, 0.3021, 0.8817, 0.4297),
    "hal-r": (None, None, 0.07617, 2.889),
    "hal-c3001-selection": (0.9129, 0.2660, None, None),
    "hal-c3001": (None, None, 0.9004, 0.3550),
    "hal-c3002": (0.9186, 0.2546, 0.9020, 0.3518),
    "hal-c3003": (0.9184, 0.2551, 0.9024, 0.3462),
}
"""Tables 5.1 to 5.3; HAL-C3001's validation figures are of Table C.1's choices, its test figures of Table 4.8's."""
TRAINING = {"hal-r": {"training_accuracy": 0.08778, "training_loss": 2.837}}
"""Table 5.2."""
SANITY = {
    # trained on A and B, and on A, B and C
    "hal-t3001": {"sanity_c": (0.6138, 0.9116), "sanity_d": (0.07407, 0.1852)},
    "hal-t3002": {"sanity_c": (0.4836, 0.8825), "sanity_d": (0.07407, 0.1481)},
    "hal-t3003": {"sanity_c": (0.2974, 0.9212), "sanity_d": (0.03704, 0.1852)},
}
"""Tables 5.4 and 5.5."""


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


def test_the_model_selection_knew_sets_a_and_b_and_the_final_trainings_set_c_too() -> None:
    assert recipe.find("hal-c3001-selection").sets == ("A", "B")
    for name in {*CONTRASTIVE, *TRANSFER, "hal-r"} - {"hal-c3001-selection"}:
        assert recipe.find(name).sets == ("A", "B", "C"), name


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


def test_hal_r_is_that_of_the_thesis() -> None:
    chosen = recipe.find("hal-r")
    (stage,) = chosen.stages
    assert (stage.epochs, stage.patience, stage.learning_rate, stage.batch_size) == (100, 3, 1e-3, 25)
    assert (stage.trains_encoder, stage.live_batch_normalisation, stage.frozen_blocks) == (True, False, 0)
    assert stage.augmentation == CLASSIFIER_AUGMENTATION
    assert chosen.initial_weights == "random"
    assert (chosen.classifier_head.dropout, chosen.classifier_head.normalised) == (0.2, False)
    assert chosen.projection_head is None


def test_the_training_that_collapsed_is_hal_c3003_without_its_first_step() -> None:
    """The thesis does not give its learning rate; it is that of the first step, at which the new head can learn."""
    chosen, failed = recipe.find("hal-c3003"), recipe.find("hal-c-two-steps")
    first, encoder, classifier = chosen.stages
    together = encoder.model_copy(update={"learning_rate": first.learning_rate})
    changed = {"name": "hal-c-two-steps", "stages": (together, classifier), "thesis": None}
    assert failed == chosen.model_copy(update=changed)


def test_the_figures_shown_as_the_thesiss_are_those_of_its_tables() -> None:
    expected = {
        name: ThesisFigures(**dict(zip(COLUMNS, row, strict=True)), **TRAINING.get(name, {}), **SANITY.get(name, {}))
        for name, row in THESIS.items()
    }
    assert {name: recipe.find(name).thesis for name in recipe.names() if recipe.find(name).thesis} == expected


@pytest.mark.parametrize("name", recipe.names())
def test_every_recipe_says_how_it_is_run(name: str) -> None:
    module = importlib.import_module(f"training.recipes.{name.replace('-', '_')}")
    assert module.RECIPE.name == name
    assert f"    hal train {name} --data " in module.__doc__


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


def test_the_recipes_of_the_thesis_choose_no_deviation() -> None:
    """But for HAL-R's early stopping, which is the thesis's own."""
    numbered = [name for name in recipe.names() if re.fullmatch(r"hal-[tc]\d{4}(-selection)?|hal-r", name)]
    assert len(numbered) == 8
    for name in numbered:
        for stage in recipe.find(name).stages:
            changed = {
                field
                for field, value in stage.model_dump(exclude={"augmentation"}).items()
                if not Stage.model_fields[field].is_required() and value != Stage.model_fields[field].default
            }
            assert changed - {"patience" if name == "hal-r" else ""} == set(), name
