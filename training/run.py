"""A run's folder: its recipe, its data, its log, and a checkpoint from which a killed run goes on."""

import contextlib
import csv
import json
import os
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final
from zipfile import BadZipFile

import numpy as np
from numpy.typing import NDArray
from rich.console import Console

from training.data import manifest
from training.data.manifest import LabelledImage
from training.errors import TrainingError
from training.recipe import ContrastiveRecipe

RUN_FORMAT: Final = 1


class RunError(TrainingError):
    """A run cannot be started or resumed."""


@dataclass(frozen=True, slots=True)
class Progress:
    """How far a run is: ``step`` is the one under way, ``epoch`` and ``batch`` are the next to be trained."""

    step: int = 1
    epoch: int = 0
    batch: int = 0


class Run:
    """The folder of one training run.

    ``recipe.json``, ``manifest.csv``, ``log.txt`` (for people), ``history.csv`` (a row an epoch) and
    ``checkpoint.npz``, which at the end holds the trained weights.
    """

    def __init__(self, root: Path, recipe: ContrastiveRecipe, images: list[LabelledImage]) -> None:
        self.root = root
        self.recipe = recipe
        self.images = images
        self.console = Console()

    @classmethod
    def start(cls, root: Path, recipe: ContrastiveRecipe, images: list[LabelledImage]) -> "Run":
        """Make the folder of a new run.

        Raises:
            RunError: the folder holds a run already.
        """
        if (root / "recipe.json").exists():
            raise RunError(f"{root} holds a run already; go on with it by --resume or choose another folder")
        root.mkdir(parents=True, exist_ok=True)
        manifest.write(root / "manifest.csv", images)
        stored = {"format": RUN_FORMAT, "recipe": recipe.model_dump(mode="json")}
        (root / "recipe.json").write_text(json.dumps(stored, indent=2) + "\n", encoding="utf-8")
        return cls(root, recipe, images)

    @classmethod
    def open(cls, root: Path) -> "Run":
        """Open the folder of a run.

        Raises:
            RunError: there is no run, or one of another version.
            ManifestError: its images are not where they were.
        """
        try:
            stored = json.loads((root / "recipe.json").read_text(encoding="utf-8"))
        except (OSError, json.JSONDecodeError) as error:
            raise RunError(f"{root} is not the folder of a run: {error}") from error
        if stored.get("format") != RUN_FORMAT:
            raise RunError(
                f"{root} was written in run format {stored.get('format')}, this version reads {RUN_FORMAT}; "
                "train again, or use the version that wrote it"
            )
        recipe = ContrastiveRecipe.model_validate(stored["recipe"])
        return cls(root, recipe, manifest.read(root / "manifest.csv"))

    def say(self, message: str) -> None:
        """Write a line to the terminal and to ``log.txt``."""
        self.console.print(message, highlight=False, markup=False)
        with (self.root / "log.txt").open("a", encoding="utf-8") as log:
            log.write(f"{time.strftime('%Y-%m-%d %H:%M:%S')} {message}\n")

    def record(self, row: Mapping[str, float | int | str]) -> None:
        """Append an epoch's figures to ``history.csv``; an epoch repeated after a kill replaces its earlier row."""
        columns = ("step", "epoch", "loss", "accuracy", "val_loss", "val_accuracy", "seconds")
        path = self.root / "history.csv"
        rows: list[dict[str, str]] = []
        if path.exists():
            with path.open(newline="", encoding="utf-8") as stream:
                rows = list(csv.DictReader(stream))
        key = (str(row["step"]), str(row["epoch"]))
        rows = [kept for kept in rows if (kept["step"], kept["epoch"]) != key]
        rows.append({name: _cell(row.get(name, "")) for name in columns})
        with atomic_write(path) as partial, partial.open("w", newline="", encoding="utf-8") as stream:
            writer = csv.DictWriter(stream, columns, lineterminator="\n")
            writer.writeheader()
            writer.writerows(rows)

    def save(self, progress: Progress, groups: Mapping[str, list[NDArray[Any]]]) -> None:
        """Replace the checkpoint in one rename: a kill leaves the old one or the new one, never half of one."""
        arrays = {f"{name}/{index}": array for name, group in groups.items() for index, array in enumerate(group)}
        position = np.array([progress.step, progress.epoch, progress.batch])
        with atomic_write(self.root / "checkpoint.npz") as partial, partial.open("wb") as stream:
            np.savez(stream, allow_pickle=False, progress=position, **arrays)

    def restore(self) -> tuple[Progress, dict[str, list[NDArray[Any]]]]:
        """The last checkpoint: how far the run was, and its arrays by group. Without one, the beginning.

        Raises:
            RunError: the checkpoint is damaged (its parts carry checksums).
        """
        path = self.root / "checkpoint.npz"
        if not path.exists():
            return Progress(), {}
        groups: dict[str, dict[int, NDArray[Any]]] = {}
        try:
            with np.load(path, allow_pickle=False) as stored:
                progress = Progress(*(int(value) for value in stored["progress"]))
                for key in stored.files:
                    name, _, index = key.partition("/")
                    if index:
                        groups.setdefault(name, {})[int(index)] = stored[key]
        except (BadZipFile, ValueError, KeyError, OSError, EOFError) as error:
            raise RunError(f"{path} is damaged ({error}); delete it to begin this run again") from error
        return progress, {name: [group[i] for i in range(len(group))] for name, group in groups.items()}


def _cell(value: float | int | str) -> str:
    return f"{value:.5f}" if isinstance(value, float) else str(value)


@contextlib.contextmanager
def atomic_write(path: Path) -> Iterator[Path]:
    """A temporary file beside ``path`` that takes its name once it is whole and on disk."""
    partial = path.with_name(path.name + ".part")
    try:
        yield partial
        with partial.open("rb") as stream:
            os.fsync(stream.fileno())
        partial.replace(path)
    finally:
        partial.unlink(missing_ok=True)
