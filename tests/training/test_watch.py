"""A training is watched: figures of every epoch, and an end where it stops improving, collapses or diverges."""

import csv
from pathlib import Path
from types import SimpleNamespace

import keras
import numpy as np
import pytest

from tests.training import small
from training.data.manifest import LabelledImage
from training.embedding_health import CollapseError
from training.overrides import override
from training.run import Progress, Run
from training.trainer import Trainer
from training.watch import DivergedError, stopped_improving


def test_a_stage_ends_when_the_loss_has_not_improved_for_the_recipes_patience(
    tmp_path: Path, cells: list[LabelledImage], small_encoder: keras.Model
) -> None:
    choices = ["fine_tuning.epochs=30", "fine_tuning.patience=2", "fine_tuning.learning_rate=1e-12"]
    run = Run.start(tmp_path / "run", override(small.TRANSFER, choices), cells)
    Trainer(run, small_encoder).run_stages()
    losses = [float(row["loss"]) for row in small.history(run.root) if row["stage"] == "fine_tuning"]
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
    rows = small.history(run.root)
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


def test_a_loss_that_is_not_a_number_stops_the_run(run: Run, small_encoder: keras.Model) -> None:
    run.recipe = override(run.recipe, ["encoder.learning_rate=1e30"])
    with pytest.raises(DivergedError, match=r"encoder\.learning_rate"):
        Trainer(run, small_encoder).run_stages()
