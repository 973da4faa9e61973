"""docs/method.md: each row names its test, and every recipe and choice beyond the thesis is on the page."""

import re

from tests.docs.pages import text
from training import recipe
from training.networks.augmentation import Augmentation
from training.recipe import Recipe, Stage

PAGE = text("docs/method.md")


def test_the_page_names_many_tests() -> None:
    """A table that is written in another way must not pass by naming none."""
    rows = [line for line in PAGE.splitlines() if line.startswith("| ") and "](../" in line]
    assert len(rows) > 30
    assert [row for row in rows if "::test_" not in row] == []


def test_every_recipe_is_on_the_page() -> None:
    assert {name for name in recipe.names() if f"`{name}`" not in PAGE} == set()


def test_every_choice_that_the_thesis_does_not_make_is_on_the_page() -> None:
    """Fields with a default are those that the thesis's recipes leave alone."""
    parts = ((Stage, ""), (Augmentation, "augmentation."), (Recipe, ""))
    of_the_thesis = {"augmentation.fill_mode", "initial_weights", "projection_head", "temperature", "seed", "thesis"}
    choices = {
        prefix + name
        for part, prefix in parts
        for name, field in part.model_fields.items()
        if not field.is_required() and prefix + name not in of_the_thesis
    }
    assert len(choices) > 12
    assert {choice for choice in choices if f"`{choice}`" not in PAGE} == set()


def test_the_thesis_s_recipes_leave_those_choices_alone() -> None:
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
