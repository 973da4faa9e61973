"""The recipes against the tables of the thesis."""

import pytest
from pydantic import ValidationError

from training import recipe


def test_hal_c3003_is_that_of_tables_4_8_and_4_9() -> None:
    found = recipe.find("hal-c3003")
    assert found.projection_units == 128
    assert found.temperature == 0.1
    steps = (found.projection_step, found.encoder_step, found.classifier_step)
    assert [(s.epochs, s.learning_rate, s.dropout, s.batch_size) for s in steps] == [
        (7, 1e-3, 0.2, 16),
        (10, 1e-5, 0.2, 16),
        (20, 1e-3, 0.3, 16),
    ]
    assert all(s.classes_per_batch is None and s.feature_views is None and s.decay == "none" for s in steps)


def test_the_cpu_variant_is_the_same_network() -> None:
    thesis, cpu = recipe.find("hal-c3003"), recipe.find("hal-c3003-cpu")
    same = ("projection_units", "temperature", "seed")
    assert [getattr(thesis, name) for name in same] == [getattr(cpu, name) for name in same]
    assert cpu.encoder_step.feature_views is None, "step 2 trains the encoder: cached features would be stale"


def test_a_recipe_survives_being_stored() -> None:
    found = recipe.find("hal-c3003-cpu")
    assert recipe.ContrastiveRecipe.model_validate_json(found.model_dump_json()) == found


def test_an_unknown_recipe_is_answered_with_the_known_ones() -> None:
    with pytest.raises(recipe.RecipeError, match="hal-c3003, hal-c3003-cpu"):
        recipe.find("hal-x")


def test_impossible_settings_are_refused() -> None:
    with pytest.raises(ValidationError):
        recipe.projection_step(epochs=0, learning_rate=1e-3)
    with pytest.raises(ValidationError):
        recipe.projection_step(epochs=1, learning_rate=1e-3, epoch=2)
