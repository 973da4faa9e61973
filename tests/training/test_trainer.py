"""The stages: what may change in which, and a run that was killed ends as if it had not been."""

import csv
import errno
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import keras
import numpy as np
import pytest
import tensorflow as tf

from tests.training import small
from training import networks, trainer
from training.data.manifest import LabelledImage
from training.embedding_health import CollapseError
from training.recipe import Recipe, override
from training.run import Progress, Run, RunError
from training.trainer import FrozenEncoderError, MemoryShortError, Trainer, UnreadableImageError
from training.update import Update
from training.watch import DivergedError, stopped_improving

PROJECTION, ENCODER, CLASSIFIER = range(3)


@pytest.fixture
def fingerprints(monkeypatch: pytest.MonkeyPatch) -> list[tuple[int, str]]:
    """(stage about to begin, fingerprint of the encoder) at the start and whenever a stage ends."""
    seen: list[tuple[int, str]] = []
    checkpoint = Trainer._checkpoint

    def record(self: Trainer, progress: Progress, *rest: Any) -> None:
        checkpoint(self, progress, *rest)
        if not rest:
            seen.append((progress.stage, networks.fingerprint(self.encoder)))

    monkeypatch.setattr(Trainer, "_checkpoint", record)
    return seen


def test_steps_1_and_3_leave_the_encoder_byte_identical_and_step_2_trains_it(
    run: Run, small_encoder: keras.Model, fingerprints: list[tuple[int, str]]
) -> None:
    initial = networks.fingerprint(small_encoder)
    Trainer(run, small_encoder).run_stages()
    after = dict(fingerprints)
    assert after[PROJECTION + 1] == initial
    assert after[ENCODER + 1] != initial
    assert after[CLASSIFIER + 1] == after[ENCODER + 1]


def test_step_2_trains_the_weights_but_not_the_statistics_of_batch_normalisation(
    run: Run, small_encoder: keras.Model
) -> None:
    layer = next(each for each in small_encoder.layers if isinstance(each, keras.layers.BatchNormalization))
    before = [np.array(value) for value in layer.get_weights()]
    Trainer(run, small_encoder).run_stages()
    gamma, beta, mean, variance = layer.get_weights()
    np.testing.assert_array_equal(mean, before[2])
    np.testing.assert_array_equal(variance, before[3])
    assert np.abs(gamma - before[0]).max() > 0
    assert np.abs(beta - before[1]).max() > 0


def test_a_step_that_touches_the_frozen_encoder_is_caught(
    run: Run, small_encoder: keras.Model, monkeypatch: pytest.MonkeyPatch
) -> None:
    def meddle(self: Trainer, _: Any) -> None:
        self.encoder.set_weights([value + 1e-6 for value in self.encoder.get_weights()])

    monkeypatch.setattr(Trainer, "_train_stage", meddle)
    with pytest.raises(FrozenEncoderError, match="projection"):
        Trainer(run, small_encoder).run_stages()


def test_cached_views_teach_the_classifier_three_easy_classes(run: Run, small_encoder: keras.Model) -> None:
    choices = ["epochs=60", "feature_views=2", "learning_rate=0.3", "decay=cosine"]
    run.recipe = override(run.recipe, [f"classifier.{choice}" for choice in choices])
    Trainer(run, small_encoder).run_stages()
    last = _history(run)[-1]
    assert (last["stage"], last["epoch"]) == ("classifier", "60")
    assert float(last["val_accuracy"]) >= 0.9, f"validation accuracy in {last}"


@pytest.mark.parametrize("save_to_die_after", [2, 4, 9])
def test_a_run_killed_after_any_checkpoint_ends_with_the_same_weights(
    tmp_path: Path,
    cells: list[LabelledImage],
    small_recipe: Recipe,
    monkeypatch: pytest.MonkeyPatch,
    save_to_die_after: int,
) -> None:
    monkeypatch.setattr(trainer, "BATCHES_BETWEEN_CHECKPOINTS", 2)
    uninterrupted = _train(Run.start(tmp_path / "whole", small_recipe, cells))
    killed = Run.start(tmp_path / "killed", small_recipe, cells)
    with pytest.raises(KilledError):
        _train(killed, die_after=save_to_die_after)
    resumed = _train(Run.open(tmp_path / "killed"))
    for expected, found in zip(uninterrupted, resumed, strict=True):
        np.testing.assert_array_equal(found, expected)


def test_a_process_killed_by_sigkill_leaves_a_run_that_can_be_finished(
    tmp_path: Path, cells: list[LabelledImage], small_recipe: Recipe
) -> None:
    expected = _weights(small.train(Run.start(tmp_path / "whole", small_recipe, cells)))
    killed = Run.start(tmp_path / "killed", small_recipe, cells)
    process = subprocess.Popen(
        [sys.executable, "-m", "tests.training.small", str(killed.root)], stdout=subprocess.DEVNULL
    )
    while not (killed.root / "history.csv").exists():
        assert process.poll() is None, "it ended without an epoch"
        time.sleep(0.01)
    process.kill()
    process.wait()
    found = _weights(small.train(Run.open(killed.root)))
    for one, other in zip(expected, found, strict=True):
        np.testing.assert_array_equal(one, other)


def test_a_damaged_checkpoint_is_refused_with_advice(run: Run, small_encoder: keras.Model) -> None:
    Trainer(run, small_encoder).run_stages()
    path = run.root / "checkpoint.npz"
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 0xFF
    path.write_bytes(content)
    with pytest.raises(RunError, match="delete it to begin this run again"):
        run.restore()


def test_a_second_run_in_the_same_folder_is_refused(run: Run, cells: list[LabelledImage], small_recipe: Recipe) -> None:
    with pytest.raises(RunError, match="--resume"):
        Run.start(run.root, small_recipe, cells)


def test_a_run_of_another_format_is_refused(run: Run) -> None:
    path = run.root / "recipe.json"
    path.write_text(path.read_text().replace('"format": 2', '"format": 99'))
    with pytest.raises(RunError, match="format 99"):
        Run.open(run.root)


def test_an_epoch_repeated_after_a_kill_replaces_its_row_in_the_history(run: Run) -> None:
    for loss in (3.0, 2.0):
        run.record({"stage": "encoder", "epoch": 1, "loss": loss, "seconds": 1.0})
    lines = (run.root / "history.csv").read_text().splitlines()
    assert len(lines) == 2
    assert lines[1].startswith("encoder,1,2.00000")


def test_the_order_of_images_in_the_manifest_is_kept_by_the_run(run: Run, cells: list[LabelledImage]) -> None:
    reopened = Run.open(run.root)
    assert [image.path.resolve() for image in reopened.images] == [image.path.resolve() for image in cells]
    assert [replace(image, path=cell.path) for image, cell in zip(reopened.images, cells, strict=True)] == cells


def test_fine_tuning_of_hal_t_trains_the_encoder_after_the_top_layer_left_it_alone(
    tmp_path: Path, cells: list[LabelledImage], small_encoder: keras.Model, fingerprints: list[tuple[int, str]]
) -> None:
    run = Run.start(tmp_path / "transfer", small.TRANSFER, cells)
    Trainer(run, small_encoder).run_stages()
    (_, initial), (_, after_top_layer), (_, after_fine_tuning) = fingerprints
    assert initial == after_top_layer != after_fine_tuning


@pytest.mark.parametrize("live", [False, True])
def test_batch_normalisation_learns_its_statistics_only_where_the_recipe_says_so(
    tmp_path: Path, cells: list[LabelledImage], small_encoder: keras.Model, live: bool
) -> None:
    recipe = override(small.TRANSFER, [f"fine_tuning.live_batch_normalisation={str(live).lower()}"])
    layer = next(each for each in small_encoder.layers if isinstance(each, keras.layers.BatchNormalization))
    mean, variance = (np.array(value) for value in layer.get_weights()[2:])
    Trainer(Run.start(tmp_path / "run", recipe, cells), small_encoder).run_stages()
    assert (np.abs(layer.get_weights()[2] - mean).max() > 0) == live
    assert (np.abs(layer.get_weights()[3] - variance).max() > 0) == live


def test_frozen_blocks_stay_byte_identical_while_the_rest_of_the_encoder_learns(
    tmp_path: Path, cells: list[LabelledImage], small_encoder: keras.Model
) -> None:
    before = {layer.name: layer.get_weights() for layer in small_encoder.layers if layer.weights}
    recipe = override(small.TRANSFER, ["fine_tuning.frozen_blocks=1"])
    Trainer(Run.start(tmp_path / "run", recipe, cells), small_encoder).run_stages()
    changed = {
        name: any(
            (old != new).any() for old, new in zip(weights, small_encoder.get_layer(name).get_weights(), strict=True)
        )
        for name, weights in before.items()
    }
    assert changed == {"block1_conv": False, "block1_conv_bn": False, "block2_conv": True, "block3_conv": True}


@pytest.mark.parametrize(
    ("choices", "expected"),
    [
        ({}, (1.0, 1.0, 1.0, 1.0)),
        ({"warm_up": 0.1}, (0.0, 0.5, 1.0, 1.0)),
        ({"decay": "cosine"}, (1.0, 0.9938, 0.9755, 0.0)),
        ({"warm_up": 0.1, "decay": "cosine"}, (0.0, 0.5, 1.0, 0.0)),
    ],
)
def test_the_learning_rate_rises_and_falls_as_the_recipe_says(
    choices: dict[str, Any], expected: tuple[float, ...]
) -> None:
    """At updates 0, 5, 10 and 100 of 100, at a rate of 1."""
    stage = small.RECIPE.stages[1].model_copy(update={"learning_rate": 1.0, "decay": "none", **choices})
    rate = trainer._learning_rate(stage, 100)
    found = [float(rate(step)) if callable(rate) else rate for step in (0, 5, 10, 100)]
    assert found == pytest.approx(expected, abs=1e-3)


def test_a_stage_ends_when_the_loss_has_not_improved_for_the_recipes_patience(
    tmp_path: Path, cells: list[LabelledImage], small_encoder: keras.Model
) -> None:
    choices = ["fine_tuning.epochs=30", "fine_tuning.patience=2", "fine_tuning.learning_rate=1e-12"]
    run = Run.start(tmp_path / "run", override(small.TRANSFER, choices), cells)
    Trainer(run, small_encoder).run_stages()
    losses = [float(row["loss"]) for row in _history(run) if row["stage"] == "fine_tuning"]
    assert 3 <= len(losses) < 30
    assert min(losses[-2:]) >= min(losses[:-2])
    assert "has not improved in 2 epochs" in (run.root / "log.txt").read_text()


@pytest.mark.parametrize(
    ("losses", "stops"),
    [
        ([], False),
        ([3.0], False),
        ([3.0, 2.9, 2.8, 2.7], False),
        ([3.0, 3.1, 3.2, 3.0], True),
        ([3.0, 3.1, 3.2, 2.9], False),
        ([2.0, 3.0, 3.0], False),
    ],
)
def test_early_stopping_is_that_of_keras(losses: list[float], stops: bool) -> None:
    callback = keras.callbacks.EarlyStopping(monitor="loss", patience=3)
    callback.set_model(SimpleNamespace(stop_training=False))
    callback.on_train_begin()
    for epoch, loss in enumerate(losses):
        callback.on_epoch_end(epoch, {"loss": loss})
    assert stopped_improving(losses, 3) == stops == callback.model.stop_training


def test_every_epoch_leaves_its_figures_for_people_and_for_tensorboard(run: Run, small_encoder: keras.Model) -> None:
    Trainer(run, small_encoder).run_stages()
    rows = _history(run)
    assert [(row["stage"], row["epoch"]) for row in rows] == [
        ("projection", "1"),
        ("encoder", "1"),
        ("encoder", "2"),
        ("classifier", "1"),
        ("classifier", "2"),
    ]
    contrastive, classifier = rows[1], rows[-1]
    for column in ("loss", "val_loss", "val_accuracy", "spread", "alignment", "uniformity", "seconds"):
        float(contrastive[column])
    assert contrastive["accuracy"] == classifier["spread"] == ""
    with (run.root / "recall.csv").open(newline="") as stream:
        recall = list(csv.DictReader(stream))
    assert len(recall) == len(rows)
    assert {name for name, value in recall[-1].items() if value} == {"stage", "epoch", *small.COLOURS}
    assert list((run.root / "tensorboard").glob("events.out.tfevents.*"))


def test_a_collapsed_stage_stops_the_run_with_an_explanation_and_keeps_the_checkpoint(
    run: Run, small_encoder: keras.Model, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("training.watch.COLLAPSE_WINDOW", 2)
    learner = Trainer(run, small_encoder)
    dense = next(layer for layer in learner.heads["projection"].layers if isinstance(layer, keras.layers.Dense))
    dense.set_weights([np.zeros_like(dense.get_weights()[0]), np.ones_like(dense.get_weights()[1])])
    with pytest.raises(CollapseError, match=r"stage projection has collapsed.*ln\(16 - 1\) = 2\.7081"):
        learner.run_stages()
    assert run.restore()[0] == Progress()


def test_too_little_memory_names_the_setting_to_lower(
    run: Run, small_encoder: keras.Model, monkeypatch: pytest.MonkeyPatch
) -> None:
    def exhaust(*_: Any) -> None:
        raise tf.errors.ResourceExhaustedError(None, None, "OOM when allocating tensor with shape[32,256,256,32]")

    monkeypatch.setattr(Update, "__call__", exhaust)
    with pytest.raises(MemoryShortError, match=r"--set projection\.micro_batch=8"):
        Trainer(run, small_encoder).run_stages()


def test_an_image_that_breaks_while_training_is_named(run: Run, small_encoder: keras.Model) -> None:
    broken = next(image.path for image in run.images if image.split == "train")
    broken.write_bytes(broken.read_bytes()[:200])
    with pytest.raises(UnreadableImageError, match=rf"{broken.name}.*hal data check"):
        Trainer(run, small_encoder).run_stages()


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


def test_a_loss_that_is_not_a_number_stops_the_run(run: Run, small_encoder: keras.Model) -> None:
    run.recipe = override(run.recipe, ["encoder.learning_rate=1e30"])
    with pytest.raises(DivergedError, match=r"encoder\.learning_rate"):
        Trainer(run, small_encoder).run_stages()


def _history(run: Run) -> list[dict[str, str]]:
    with (run.root / "history.csv").open(newline="") as stream:
        return list(csv.DictReader(stream))


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
    return [*trainer.encoder.get_weights(), *trainer.heads["classifier"].get_weights()]
