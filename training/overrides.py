"""``--set FIELD=VALUE`` and ``hal recipes``: a recipe with some of its choices replaced, and what can be replaced."""

import difflib
import importlib
import json
from collections.abc import Collection, Iterable, Sequence
from typing import Any

from pydantic import BaseModel, ValidationError
from rich.console import Console
from rich.table import Table

from training.recipe import Recipe, RecipeError, find, names


def override(recipe: Recipe, assignments: Iterable[str]) -> Recipe:
    """A recipe with some choices replaced.

    Args:
        assignments: ``FIELD=VALUE`` or ``STAGE.FIELD=VALUE``, for example ``seed=7``, ``encoder.epochs=3``,
            ``projection_head.units=16``; the value is JSON, or else text. A stage is told by its name.

    Raises:
        RecipeError: unknown fields, wrong values or choices that do not fit together; all of them are listed.
    """
    choices = recipe.model_dump()
    known = fields(recipe)
    problems = []
    for assignment in assignments:
        path, separator, text = (part.strip() for part in assignment.partition("="))
        if not separator or path not in known:
            problems.append(f"{assignment!r}: {_advice(path, known) if separator else 'expected FIELD=VALUE'}")
            continue
        *parents, field = path.split(".")
        part: Any = choices
        for parent in parents:
            part = (part | {stage["name"]: stage for stage in part.get("stages", ())})[parent]
        part[field] = _value(text)
    try:
        changed = Recipe.model_validate(choices)
    except ValidationError as error:
        problems += [
            f"{'.'.join(map(str, each['loc']))}: {each['msg']} (given: {each['input']!r})" for each in error.errors()
        ]
    if problems:
        raise RecipeError("these choices cannot be set:\n" + "\n".join(f"  - {problem}" for problem in problems))
    return changed


def override_begun(recipe: Recipe, assignments: Sequence[str]) -> Recipe:
    """The recipe of a run that has begun, with what may still be replaced: the ``micro_batch`` of its stages.

    The gradient stays that of the whole batch, but for rounding; augmentation and dropout draw other random numbers.

    Raises:
        RecipeError: as :func:`override` raises, or a choice would make another training of what has begun.
    """
    changed = override(recipe, assignments)
    paths = [assignment.partition("=")[0].strip() for assignment in assignments]
    if fixed := [path for path in paths if path.rpartition(".")[2] != "micro_batch"]:
        allowed = ", ".join(f"{stage.name}.micro_batch" for stage in recipe.stages)
        raise RecipeError(
            f"{', '.join(fixed)} cannot be set for a run that has begun, whose result would be that of two recipes; "
            f"only {allowed} can, since the gradient stays that of the whole batch: leave the rest out, or begin a new "
            "run"
        )
    return changed


def _value(text: str) -> Any:
    try:
        return json.loads(text)
    except json.JSONDecodeError:
        return text.strip()


def fields(recipe: Recipe) -> dict[str, Any]:
    """Every path that :func:`override` accepts for a recipe, and the value there."""
    found = _leaves(recipe, "")
    for stage in recipe.stages:
        found |= _leaves(stage, f"{stage.name}.")
    fixed = ("name", "stages")
    return {p: value for p, value in found.items() if p.rpartition(".")[2] not in fixed and "thesis" not in p}


def _leaves(part: BaseModel, prefix: str) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for name, value in part:
        found |= _leaves(value, f"{prefix}{name}.") if isinstance(value, BaseModel) else {prefix + name: value}
    return found


def _advice(path: str, known: Collection[str]) -> str:
    nearest = difflib.get_close_matches(path, known, n=1, cutoff=0.5)
    return f"no such field; did you mean {nearest[0]}?" if nearest else f"no such field; there are {', '.join(known)}"


def print_recipes() -> None:
    table = Table("Recipe", "What it is", title="Experiments; 'hal recipes NAME' shows one")
    for name in names():
        table.add_row(name, _docstring(name).partition("\n")[0])
    Console().print(table)


def print_recipe(name: str) -> None:
    """A recipe's text and every choice that ``--set`` can replace. Raises RecipeError: there is none of that name."""
    chosen = find(name)
    console = Console()
    console.print(_docstring(name), highlight=False, markup=False)
    table = Table("--set", "Value")
    for path, value in fields(chosen).items():
        table.add_row(path, str(value))
    console.print(table)


def _docstring(name: str) -> str:
    return (importlib.import_module(f"training.recipes.{name.replace('-', '_')}").__doc__ or "").strip()
