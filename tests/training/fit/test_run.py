"""The folder of a run: a training that was killed ends as if it had not been, and what cannot be continued says why."""

import errno
import shutil
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest

from tests.training import small
from training.data.manifest import LabelledImage
from training.fit import trainer
from training.fit.run import Progress, Run, RunError
from training.fit.trainer import Trainer
from training.overrides import override
from training.recipe import Recipe

PROJECTION, ENCODER, CLASSIFIER = range(3)


MOMENTS = (
    Progress(PROJECTION, 0, 2),
    Progress(ENCODER, 1, 2),
    Progress(CLASSIFIER),
    Progress(CLASSIFIER, 0, 2),
)


@dataclass(frozen=True)
class Trained:
    """A run that went to its end: the weights, and what its folder was after some checkpoints."""

    weights: list[np.ndarray]
    folders: dict[Progress, Path]

    def expect_the_same(self, root: Path) -> None:
        """Of the run in a folder, once it has gone to its end too."""
        for found, expected in zip(_weights(small.train(Run.open(root))), self.weights, strict=True):
            np.testing.assert_array_equal(found, expected)


@pytest.fixture(scope="module")
def uninterrupted(tmp_path_factory: pytest.TempPathFactory) -> Trained:
    """A run of the small recipe."""
    keras.mixed_precision.set_global_policy("float32")
    folder = tmp_path_factory.mktemp("uninterrupted")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(trainer, "BATCHES_BETWEEN_CHECKPOINTS", 2)
        return _train(Run.start(folder / "whole", small.RECIPE, small.cells(folder / "cells")), MOMENTS)


@pytest.mark.parametrize("moment", MOMENTS, ids=str)
def test_a_run_killed_after_any_checkpoint_ends_with_the_same_weights(
    uninterrupted: Trained, monkeypatch: pytest.MonkeyPatch, moment: Progress
) -> None:
    monkeypatch.setattr(trainer, "BATCHES_BETWEEN_CHECKPOINTS", 2)
    uninterrupted.expect_the_same(uninterrupted.folders[moment])


def test_a_run_killed_while_it_learns_from_cached_views_ends_with_the_same_weights(
    tmp_path: Path, cells: list[LabelledImage], small_recipe: Recipe, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(trainer, "EPOCHS_BETWEEN_CHECKPOINTS", 1)
    on_views = small_recipe.model_copy(update={"stages": small_recipe.stages[::2]})
    recipe = override(on_views, ["projection.feature_views=2", "classifier.feature_views=3"])
    whole = _train(Run.start(tmp_path / "whole", recipe, cells), (Progress(0, 1), Progress(1, 1)))
    for folder in whole.folders.values():
        whole.expect_the_same(folder)


def test_a_process_killed_by_sigkill_leaves_a_run_that_can_be_finished(run: Run, uninterrupted: Trained) -> None:
    process = subprocess.Popen([sys.executable, "-m", "tests.training.small", str(run.root)], stdout=subprocess.DEVNULL)
    while not (run.root / "history.csv").exists():
        assert process.poll() is None, "it ended without an epoch"
        time.sleep(0.01)
    process.kill()
    process.wait()
    uninterrupted.expect_the_same(run.root)


def test_a_damaged_checkpoint_is_refused_with_advice(run: Run, small_encoder: keras.Model) -> None:
    Trainer(run, small_encoder)
    path = run.root / "checkpoint.npz"
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 0xFF
    path.write_bytes(content)
    with pytest.raises(RunError, match="delete it to begin this run again"):
        run.restore()


def test_a_checkpoint_can_be_written_by_the_oldest_numpy_that_is_allowed(
    run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    newest = np.savez

    def oldest(file: Any, *arguments: Any, **arrays: Any) -> None:
        assert all(isinstance(array, np.ndarray) for array in arrays.values()), "numpy 2.0 stores every keyword"
        newest(file, *arguments, **arrays)

    monkeypatch.setattr(np, "savez", oldest)
    run.save(Progress(stage=1), {"encoder": [np.arange(3.0)]})
    assert run.restore()[0] == Progress(stage=1)


def test_a_second_run_in_the_same_folder_is_refused(run: Run, cells: list[LabelledImage], small_recipe: Recipe) -> None:
    with pytest.raises(RunError, match="--resume"):
        Run.start(run.root, small_recipe, cells)


def test_a_run_of_another_format_is_refused(run: Run) -> None:
    path = run.root / "recipe.json"
    path.write_text(path.read_text().replace('"format": 2', '"format": 99'))
    with pytest.raises(RunError, match="format 99"):
        Run.open(run.root)


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        ("[]", "holds no recipe"),
        ('{"format": 2}', "holds no recipe"),
        ('{"format": 2, "recipe": []}', "recipe.json is not as this version of HAL writes it"),
        ('{"format": 2, "recipe": {"name": "x", "newer": 1}}', "newer: Extra inputs.*train again, or use the version"),
    ],
)
def test_a_recipe_that_is_not_understood_is_refused_with_its_fields(run: Run, content: str, expected: str) -> None:
    (run.root / "recipe.json").write_text(content)
    with pytest.raises(RunError, match=expected):
        Run.open(run.root)


def test_an_origin_that_is_not_understood_is_refused_with_its_fields(run: Run) -> None:
    (run.root / "started_from.json").write_text('{"newer": 1}')
    with pytest.raises(RunError, match=r"started_from\.json.*newer: Extra inputs"):
        assert run.started_from


def test_an_epoch_repeated_after_a_kill_replaces_its_row_in_the_history(run: Run) -> None:
    for loss in (3.0, 2.0):
        run.record({"stage": "encoder", "epoch": 1, "loss": loss, "seconds": 1.0})
    lines = (run.root / "history.csv").read_text().splitlines()
    assert len(lines) == 2
    assert lines[1].startswith("encoder,1,2.00000")


def test_a_history_with_columns_that_are_not_written_any_more_goes_on(run: Run) -> None:
    (run.root / "history.csv").write_text("stage,epoch,loss,uniformity\nprojection,1,2.0,-0.1\n")
    run.record({"stage": "encoder", "epoch": 1, "loss": 1.0})
    assert [(row["stage"], row["loss"]) for row in small.history(run.root)] == [
        ("projection", "2.0"),
        ("encoder", "1.00000"),
    ]


def test_the_order_of_images_in_the_manifest_is_kept_by_the_run(run: Run, cells: list[LabelledImage]) -> None:
    reopened = Run.open(run.root)
    assert [image.path.resolve() for image in reopened.images] == [image.path.resolve() for image in cells]
    assert [replace(image, path=cell.path) for image, cell in zip(reopened.images, cells, strict=True)] == cells


def test_a_full_disk_is_reported_and_leaves_the_earlier_checkpoint(
    run: Run, small_encoder: keras.Model, monkeypatch: pytest.MonkeyPatch
) -> None:
    learner = Trainer(run, small_encoder)
    before = (run.root / "checkpoint.npz").read_bytes()

    def full(*_: Any, **__: Any) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(np, "savez", full)
    with pytest.raises(RunError, match=r"No space left on device.*MB.*intact"):
        learner.run_stages()
    assert (run.root / "checkpoint.npz").read_bytes() == before


@pytest.mark.parametrize("name", ["log.txt", "history.csv", "recall.csv", "features-classifier"])
def test_a_full_disk_is_reported_by_whatever_file_it_meets(
    run: Run, small_encoder: keras.Model, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    run.recipe = override(small.only(run.recipe, CLASSIFIER), ["classifier.feature_views=2"])
    opened = Path.open

    def full(path: Path, mode: str = "r", *rest: Any, **named: Any) -> Any:
        if path.name.startswith(name) and mode != "r" and mode != "rb":
            raise OSError(errno.ENOSPC, "No space left on device")
        return opened(path, mode, *rest, **named)

    monkeypatch.setattr(Path, "open", full)
    with pytest.raises(RunError, match=rf"{name}.* cannot be written .No space left on device.*intact.*--resume"):
        Trainer(run, small_encoder).run_stages()


def _train(run: Run, moments: Sequence[Progress]) -> Trained:
    """To its end, copying its folder as SIGKILL would leave it right after the checkpoints of some moments."""
    save, folders = run.save, {moment: run.root.with_name(f"killed-{n}") for n, moment in enumerate(moments)}

    def save_and_copy(progress: Progress, groups: Mapping[str, list[np.ndarray]]) -> None:
        save(progress, groups)
        if progress in folders:
            shutil.copytree(run.root, folders[progress])

    run.save = save_and_copy  # type: ignore[method-assign]
    return Trained(_weights(small.train(run)), folders)


def _weights(trainer: Trainer) -> list[np.ndarray]:
    return [*trainer.encoder.get_weights(), *trainer.heads["classifier"].get_weights()]
