"""A run's folder: its recipe, its data, its log, and a checkpoint from which a killed run goes on."""

import contextlib
import csv
import hashlib
import json
import time
import zlib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Final, TypeVar
from zipfile import BadZipFile

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ValidationError
from rich.console import Console

from contract.classes import CLASS_NAMES
from contract.description import StartedFrom
from contract.files import replacing, write_text
from training.data import manifest
from training.data.contents import recorded_hashes
from training.data.manifest import LabelledImage
from training.data.overlap import traces
from training.errors import TrainingError
from training.recipe import Recipe

RUN_FORMAT: Final = 2
_HEALTH: Final = ("spread", "alignment", "uniformity")
COLUMNS: Final = ("stage", "epoch", "loss", "accuracy", "val_loss", "val_accuracy", *_HEALTH, "seconds")
"""Of ``history.csv``. In a contrastive stage ``val_accuracy`` is that of the nearest class mean; spread, alignment and
uniformity are those of the projections (:mod:`training.fit.embedding_health`)."""
_Model = TypeVar("_Model", bound=BaseModel)
_OTHERWISE: Final = "train again, or use the version that wrote it"


class RunError(TrainingError):
    """A run cannot be started or resumed."""


@dataclass(frozen=True, slots=True)
class Progress:
    """How far a run is: ``stage`` is the position of the one under way, ``epoch`` and ``batch`` the next to train."""

    stage: int = 0
    epoch: int = 0
    batch: int = 0


class Run:
    """The folder of one training run.

    ``recipe.json`` (with the earlier ones, where it was changed), ``manifest.csv``, ``log.txt`` (for people),
    ``history.csv`` (a row an epoch), ``recall.csv`` (a row an epoch, a column a class) and ``checkpoint.npz``, which at
    the end holds the trained weights; where it began with the encoder of another run or a bundle,
    ``started_from.json`` and ``seen_before.txt``, what that one was trained on.
    """

    def __init__(self, root: Path, recipe: Recipe, images: list[LabelledImage]) -> None:
        self.root = root
        self.recipe = recipe
        self.images = images
        self.console = Console()

    @classmethod
    def start(
        cls,
        root: Path,
        recipe: Recipe,
        images: list[LabelledImage],
        started_from: StartedFrom | None = None,
        seen_before: Iterable[str] = (),
    ) -> "Run":
        """Make the folder of a new run, which says what it begins with and what that one was trained on.

        Raises:
            RunError: the folder holds a run already.
        """
        cls.require_new(root)
        root.mkdir(parents=True, exist_ok=True)
        manifest.write(root / "manifest.csv", images)
        if started_from is not None:
            write_text(root / "started_from.json", started_from.model_dump_json(indent=2) + "\n")
            write_text(root / "seen_before.txt", "\n".join(sorted(seen_before)) + "\n")
        run = cls(root, recipe, images)
        run._write_recipe([])
        return run

    @staticmethod
    def require_new(root: Path) -> None:
        if (root / "recipe.json").exists():
            raise RunError(f"{root} already holds a run; continue it with --resume {root} or choose another folder")

    @classmethod
    def open(cls, root: Path) -> "Run":
        try:
            stored = json.loads((root / "recipe.json").read_text(encoding="utf-8"))
        except (OSError, json.JSONDecodeError) as error:
            raise RunError(f"{root} is not the folder of a run: {error}") from error
        if not isinstance(stored, dict) or "recipe" not in stored:
            raise RunError(f"{root} is not the folder of a run: its recipe.json holds no recipe")
        if stored.get("format") != RUN_FORMAT:
            raise RunError(
                f"{root} was written in run format {stored.get('format')}, this version reads {RUN_FORMAT}; "
                f"{_OTHERWISE}"
            )
        recipe = _understood(Recipe, json.dumps(stored["recipe"]), root / "recipe.json")
        return cls(root, recipe, manifest.read(root / "manifest.csv"))

    def change(self, recipe: Recipe, choices: Sequence[str], progress: Progress) -> None:
        """Go on by another recipe; ``recipe.json`` tells the earlier ones and how far the run was with each."""
        earlier, self.recipe = self.recipe, recipe
        told = json.loads((self.root / "recipe.json").read_text(encoding="utf-8")).get("earlier", [])
        change = {"until": asdict(progress), "then_set": list(choices), "recipe": earlier.model_dump(mode="json")}
        with self._explaining(self.root / "recipe.json"):
            self._write_recipe([*told, change])
        self.say(f"changed on resuming: {', '.join(choices)}")

    def _write_recipe(self, earlier: Sequence[Mapping[str, object]]) -> None:
        stored: dict[str, object] = {"format": RUN_FORMAT, "recipe": self.recipe.model_dump(mode="json")}
        if earlier:
            stored["earlier"] = earlier
        write_text(self.root / "recipe.json", json.dumps(stored, indent=2) + "\n")

    @property
    def has_checkpoint(self) -> bool:
        return (self.root / "checkpoint.npz").exists()

    def as_origin(self) -> StartedFrom:
        """What is told of this run in one that begins with its encoder."""
        return StartedFrom(
            run=self.root.resolve().name,
            recipe=self.recipe.model_dump(mode="json"),
            manifest_sha256=manifest.fingerprint(self.images, recorded_hashes(self.images)),
            initial_weights_sha256=(self.root / "initial_weights.sha256").read_text(encoding="utf-8").strip(),
            started_from=self.started_from,
        )

    def seen(self) -> set[str]:
        """Traces of all images that its weights were trained on, in the runs that it began with too.

        See :func:`training.data.overlap.traces`.
        """
        trained = [image for image in self.images if image.split in self.recipe.train_splits]
        content_hash = recorded_hashes(trained)
        return self.seen_before() | {trace for image in trained for trace in traces(image, content_hash)}

    def seen_before(self) -> set[str]:
        """Traces of the images that the runs which it began with were trained on; none where it began anew."""
        path = self.root / "seen_before.txt"
        return set(path.read_text(encoding="utf-8").splitlines()) if path.exists() else set()

    @property
    def started_from(self) -> StartedFrom | None:
        """The run whose encoder this one began with; ``None`` where it began with ImageNet's weights or at random."""
        path = self.root / "started_from.json"
        return _understood(StartedFrom, path.read_text(encoding="utf-8"), path) if path.exists() else None

    def say(self, message: str) -> None:
        """Write a line to the terminal and to ``log.txt``."""
        self.console.print(message, highlight=False, markup=False)
        path = self.root / "log.txt"
        with self._explaining(path), path.open("a", encoding="utf-8", errors="backslashreplace") as log:
            log.write(f"{time.strftime('%Y-%m-%d %H:%M:%S')} {message}\n")

    def record(self, row: Mapping[str, float | int | str]) -> None:
        """Append an epoch's figures to ``history.csv``; an epoch repeated after a kill replaces its earlier row."""
        self._append("history.csv", COLUMNS, row)

    def record_recall(self, stage: str, epoch: int, recall: Mapping[str, float]) -> None:
        """Append an epoch's recall on validation images to ``recall.csv``, by class."""
        self._append("recall.csv", ("stage", "epoch", *CLASS_NAMES), {"stage": stage, "epoch": epoch, **recall})

    def _append(self, name: str, columns: Sequence[str], row: Mapping[str, float | int | str]) -> None:
        path, epoch = self.root / name, (row["stage"], str(row["epoch"]))
        kept = [each for each in manifest.read_csv(path) if (each["stage"], each["epoch"]) != epoch]
        told = {column: row.get(column, "") for column in columns}
        kept.append({name: f"{value:.5f}" if isinstance(value, float) else str(value) for name, value in told.items()})
        with self.writing(path) as partial, partial.open("w", newline="", encoding="utf-8") as stream:
            writer = csv.DictWriter(stream, columns, extrasaction="ignore", lineterminator="\n")
            writer.writeheader()
            writer.writerows(kept)

    @contextlib.contextmanager
    def writing(self, path: Path, size: int = 0) -> Iterator[Path]:
        """Gives the name of a file to write, which takes the place of ``path`` in one rename.

        Raises:
            RunError: it cannot be written; the disk is full, for example.
        """
        with self._explaining(path, size), replacing(path) as partial:
            yield partial

    @contextlib.contextmanager
    def _explaining(self, path: Path, size: int = 0) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            needed = f"; it needs {size / 1e6:.0f} MB" if size else ""
            raise RunError(
                f"{path} cannot be written ({error.strerror or error}){needed}; what was saved before is intact: "
                f"free some space and continue with --resume {self.root}"
            ) from error

    def save(self, progress: Progress, groups: Mapping[str, list[NDArray[Any]]]) -> None:
        """Replace the checkpoint atomically: a kill leaves the old one or the new one."""
        arrays: dict[str, Any] = {
            f"{name}/{i}": array for name, group in groups.items() for i, array in enumerate(group)
        }
        arrays["progress"] = np.array([progress.stage, progress.epoch, progress.batch])
        path = self.root / "checkpoint.npz"
        size = sum(array.nbytes for array in arrays.values())
        with self.writing(path, size) as partial, partial.open("wb") as stream:
            np.savez(stream, digest=np.array(_digest(arrays)), **arrays)

    def restore(self) -> tuple[Progress, dict[str, list[NDArray[Any]]]]:
        """The last checkpoint: how far the run was, and its arrays by group. Without one, the beginning.

        Raises:
            RunError: the checkpoint is damaged: its SHA-256 or a part's checksum is not what it was.
        """
        path = self.root / "checkpoint.npz"
        if not path.exists():
            return Progress(), {}
        try:
            with np.load(path, allow_pickle=False) as stored:
                arrays = {key: stored[key] for key in stored.files}
            digest = str(arrays.pop("digest"))
            if digest != _digest(arrays):
                raise ValueError(f"SHA-256 is {_digest(arrays)}, expected {digest}")
            progress = Progress(*(int(value) for value in arrays.pop("progress")))
        except (BadZipFile, ValueError, KeyError, OSError, EOFError, zlib.error) as error:
            raise RunError(f"{path} is damaged ({error}); delete it to begin this run again") from error
        groups: dict[str, list[NDArray[Any]]] = {}
        for key in sorted(arrays, key=lambda key: int(key.rpartition("/")[2])):
            groups.setdefault(key.rpartition("/")[0], []).append(arrays[key])
        return progress, groups


def _understood(model: type[_Model], text: str, path: Path) -> _Model:
    try:
        return model.model_validate_json(text)
    except ValidationError as error:
        fields = "; ".join(f"{'.'.join(map(str, e['loc'])) or 'all of it'}: {e['msg']}" for e in error.errors())
        raise RunError(f"{path} is not as this version of HAL writes it ({fields}); {_OTHERWISE}") from error


def _digest(arrays: Mapping[str, NDArray[Any]]) -> str:
    """SHA-256 of names, types, shapes and contents."""
    digest = hashlib.sha256()
    for name in sorted(arrays):
        array = np.ascontiguousarray(arrays[name])
        digest.update(f"{name} {array.dtype.str} {array.shape}".encode())
        digest.update(array.tobytes())
    return digest.hexdigest()
