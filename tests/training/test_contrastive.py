"""The three steps: what may change in which, and a run that was killed ends as if it had not been."""

import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest

from tests.training import small
from training import contrastive, networks
from training.contrastive import CLASSIFIER, ENCODER, PROJECTION, Trainer
from training.data.manifest import LabelledImage
from training.recipe import ContrastiveRecipe
from training.run import Progress, Run, RunError


@pytest.fixture
def fingerprints(monkeypatch: pytest.MonkeyPatch) -> list[tuple[int, str]]:
    """(step just begun, fingerprint of the encoder) whenever a step ends."""
    seen: list[tuple[int, str]] = []
    checkpoint = Trainer._checkpoint

    def record(self: Trainer, progress: Progress, model: Any, optimizer: Any = None) -> None:
        checkpoint(self, progress, model, optimizer)
        if model is None:
            seen.append((progress.step, networks.fingerprint(self.encoder)))

    monkeypatch.setattr(Trainer, "_checkpoint", record)
    return seen


def test_steps_1_and_3_leave_the_encoder_byte_identical_and_step_2_trains_it(
    run: Run, small_encoder: keras.Model, fingerprints: list[tuple[int, str]]
) -> None:
    initial = networks.fingerprint(small_encoder)
    Trainer(run, small_encoder).run_steps()
    after = dict(fingerprints)
    assert after[PROJECTION + 1] == initial
    assert after[ENCODER + 1] != initial
    assert after[CLASSIFIER + 1] == after[ENCODER + 1]


def test_step_2_trains_the_weights_but_not_the_statistics_of_batch_normalisation(
    run: Run, small_encoder: keras.Model
) -> None:
    layer = next(each for each in small_encoder.layers if isinstance(each, keras.layers.BatchNormalization))
    before = [np.array(value) for value in layer.get_weights()]
    Trainer(run, small_encoder).run_steps()
    gamma, beta, mean, variance = layer.get_weights()
    np.testing.assert_array_equal(mean, before[2])
    np.testing.assert_array_equal(variance, before[3])
    assert np.abs(gamma - before[0]).max() > 0
    assert np.abs(beta - before[1]).max() > 0


def test_a_step_that_touches_the_frozen_encoder_is_caught(
    run: Run, small_encoder: keras.Model, monkeypatch: pytest.MonkeyPatch
) -> None:
    def meddle(self: Trainer) -> None:
        self.encoder.set_weights([value + 1e-6 for value in self.encoder.get_weights()])

    monkeypatch.setattr(Trainer, "_projection_step", meddle)
    with pytest.raises(contrastive.FrozenEncoderError, match="step 1"):
        Trainer(run, small_encoder).run_steps()


def test_cached_views_teach_the_classifier_three_easy_classes(run: Run, small_encoder: keras.Model) -> None:
    step = run.recipe.classifier_step.model_copy(
        update={"epochs": 60, "feature_views": 2, "learning_rate": 0.3, "decay": "cosine"}
    )
    run.recipe = run.recipe.model_copy(update={"classifier_step": step})
    Trainer(run, small_encoder).run_steps()
    last = (run.root / "history.csv").read_text().splitlines()[-1]
    assert float(last.split(",")[5]) >= 0.9, f"validation accuracy in {last}"


@pytest.mark.parametrize("save_to_die_after", [1, 3, 5, 9])
def test_a_run_killed_after_any_checkpoint_ends_with_the_same_weights(
    tmp_path: Path,
    cells: list[LabelledImage],
    small_recipe: ContrastiveRecipe,
    monkeypatch: pytest.MonkeyPatch,
    save_to_die_after: int,
) -> None:
    monkeypatch.setattr(contrastive, "BATCHES_BETWEEN_CHECKPOINTS", 2)
    uninterrupted = _train(Run.start(tmp_path / "whole", small_recipe, cells))
    killed = Run.start(tmp_path / "killed", small_recipe, cells)
    with pytest.raises(KilledError):
        _train(killed, die_after=save_to_die_after)
    resumed = _train(Run.open(tmp_path / "killed"))
    for expected, found in zip(uninterrupted, resumed, strict=True):
        np.testing.assert_array_equal(found, expected)


def test_a_process_killed_by_sigkill_leaves_a_run_that_can_be_finished(
    tmp_path: Path, cells: list[LabelledImage], small_recipe: ContrastiveRecipe
) -> None:
    expected = _weights(small.train(Run.start(tmp_path / "whole", small_recipe, cells)))
    killed = Run.start(tmp_path / "killed", small_recipe, cells)
    process = subprocess.Popen(
        [sys.executable, "-m", "tests.training.small", str(killed.root)], stdout=subprocess.DEVNULL
    )
    while not (killed.root / "checkpoint.npz").exists():
        assert process.poll() is None, "it ended without a checkpoint"
        time.sleep(0.01)
    process.kill()
    process.wait()
    found = _weights(small.train(Run.open(killed.root)))
    for one, other in zip(expected, found, strict=True):
        np.testing.assert_array_equal(one, other)


def test_a_damaged_checkpoint_is_refused_with_advice(run: Run, small_encoder: keras.Model) -> None:
    Trainer(run, small_encoder).run_steps()
    path = run.root / "checkpoint.npz"
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 0xFF
    path.write_bytes(content)
    with pytest.raises(RunError, match="delete it to begin this run again"):
        run.restore()


def test_a_second_run_in_the_same_folder_is_refused(
    run: Run, cells: list[LabelledImage], small_recipe: ContrastiveRecipe
) -> None:
    with pytest.raises(RunError, match="--resume"):
        Run.start(run.root, small_recipe, cells)


def test_a_run_of_another_format_is_refused(run: Run) -> None:
    path = run.root / "recipe.json"
    path.write_text(path.read_text().replace('"format": 1', '"format": 99'))
    with pytest.raises(RunError, match="format 99"):
        Run.open(run.root)


def test_an_epoch_repeated_after_a_kill_replaces_its_row_in_the_history(run: Run) -> None:
    for loss in (3.0, 2.0):
        run.record({"step": 2, "epoch": 1, "loss": loss, "seconds": 1.0})
    lines = (run.root / "history.csv").read_text().splitlines()
    assert len(lines) == 2
    assert lines[1].startswith("2,1,2.00000")


def test_the_order_of_images_in_the_manifest_is_kept_by_the_run(run: Run, cells: list[LabelledImage]) -> None:
    reopened = Run.open(run.root)
    assert [image.path.resolve() for image in reopened.images] == [image.path.resolve() for image in cells]
    assert [replace(image, path=cell.path) for image, cell in zip(reopened.images, cells, strict=True)] == cells


class KilledError(Exception):
    """Stands for SIGKILL: nothing after the checkpoint happens."""


def _train(run: Run, die_after: int | None = None) -> list[np.ndarray]:
    saves = 0
    save = run.save

    def save_and_die(*arguments: Any) -> None:
        nonlocal saves
        save(*arguments)
        saves += 1
        if saves == die_after:
            raise KilledError

    run.save = save_and_die  # type: ignore[method-assign]
    return _weights(small.train(run))


def _weights(trainer: Trainer) -> list[np.ndarray]:
    return [*trainer.encoder.get_weights(), *trainer.classifier_head.get_weights()]
