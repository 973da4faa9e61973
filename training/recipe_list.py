"""``hal recipes``: what there is to train, for people."""

import importlib
from typing import Any

from pydantic import BaseModel
from rich.console import Console
from rich.table import Table

from training import recipe
from training.overrides import fields


def print_recipes() -> None:
    """A line a recipe."""
    table = Table("Recipe", "What it is", title="Experiments; 'hal recipes NAME' shows one")
    for name in recipe.names():
        table.add_row(name, _docstring(name).partition("\n")[0])
    Console().print(table)


def print_recipe(name: str) -> None:
    """A recipe's text and every choice that ``--set`` can replace.

    Raises:
        RecipeError: there is none of that name.
    """
    chosen = recipe.find(name)
    console = Console()
    console.print(_docstring(name), highlight=False, markup=False)
    table = Table("--set", "Value")
    for path in fields(chosen):
        table.add_row(path, str(_at(chosen, path.split("."))))
    console.print(table)


def _docstring(name: str) -> str:
    return (importlib.import_module(f"training.recipes.{name.replace('-', '_')}").__doc__ or "").strip()


def _at(part: BaseModel, path: list[str]) -> Any:
    for name in path:
        stages = {stage.name: stage for stage in getattr(part, "stages", ())}
        part = stages[name] if name in stages else getattr(part, name)
    return part
