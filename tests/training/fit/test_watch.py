"""A training is watched: figures of every epoch, and an end where it stops improving, collapses or diverges."""

from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace

import keras
import numpy as np
import pytest
from numpy.typing import NDArray

from tests.training import small
from training.data.manifest import LabelledImage
from training.fit.embedding_health import COLLAPSED_SPREAD, CollapseError, loss_of_one_point, spread
from training.fit.run import Progress, Run
from training.fit.trainer import Trainer
from training.fit.watch import COLLAPSE_WINDOW, DivergedError, Meter, stopped_improving
from training.overrides import override


def test_a_stage_ends_when_the_loss_has_not_improved_for_the_recipes_patience(
    tmp_path: Path, cells: list[LabelledImage], small_encoder: keras.Model
) -> None:
    choices = ["fine_tuning.epochs=30", "fine_tuning.patience=2", "fine_tuning.learning_rate=1e-12"]
    run = Run.start(tmp_path / "run", override(small.only(small.TRANSFER, 1), choices), cells)
    Trainer(run, small_encoder).run_stages()
    losses = [float(row["loss"]) for row in small.history(run.root)]
    assert 3 <= len(losses) < 30
    assert min(losses[-2:]) >= min(losses[:-2])
    assert "has not improved in 2 epochs" in (run.root / "log.txt").read_text()


def test_when_a_stage_ends_depends_neither_on_the_history_nor_on_a_kill(
    tmp_path: Path, cells: list[LabelledImage], small_encoder: keras.Model, monkeypatch: pytest.MonkeyPatch
) -> None:
    """``history.csv`` has five decimals, and people may open and save it."""
    choices = ["fine_tuning.epochs=9", "fine_tuning.patience=2"]
    run = Run.start(tmp_path / "run", override(small.only(small.TRANSFER, 1), choices), cells)
    losses = iter([2.000006, 2.000007, 2.000005, 2.000006, 2.000007, 1.0, 1.0])
    monkeypatch.setattr(Meter, "end_epoch", lambda _: {"loss": next(losses)})
    told: list[int] = []

    def garbled(_: Run, row: dict[str, int]) -> None:
        told.append(row["epoch"])
        (run.root / "history.csv").write_text("stage,epoch,loss\nfine_tuning,garbled")

    save = Run.save

    def save_and_die(self: Run, progress: Progress, groups: dict[str, list[NDArray[np.float32]]]) -> None:
        save(self, progress, groups)
        if progress == Progress(0, 3) and len(told) == 3:
            raise KeyboardInterrupt

    monkeypatch.setattr(Run, "record", garbled)
    monkeypatch.setattr(Run, "save", save_and_die)
    with pytest.raises(KeyboardInterrupt):
        Trainer(run, small_encoder).run_stages()
    monkeypatch.setattr(Run, "save", save)
    Trainer(Run.open(run.root), small.encoder()).run_stages()
    assert told == [1, 2, 3, 4, 5], "the best of five epochs is the third"
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


def test_a_collapsed_stage_stops_the_run_with_an_explanation_and_keeps_the_checkpoint(
    run: Run, small_encoder: keras.Model, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("training.fit.watch.COLLAPSE_WINDOW", 2)
    learner = Trainer(run, small_encoder)
    dense = next(layer for layer in learner.heads["projection"].layers if isinstance(layer, keras.layers.Dense))
    dense.set_weights([np.zeros_like(dense.get_weights()[0]), np.ones_like(dense.get_weights()[1])])
    with pytest.raises(CollapseError, match=r"stage projection has collapsed.*ln\(16 - 1\) = 2\.7081"):
        learner.run_stages()
    assert run.restore()[0] == Progress()


def test_a_collapse_of_the_encoder_is_found_behind_the_noise_of_dropout(
    tmp_path: Path, cells: list[LabelledImage], small_encoder: keras.Model, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("training.fit.watch.COLLAPSE_WINDOW", 3)
    choices = ["projection_head.dropout=0.2", "projection.learning_rate=1e-9"]
    run = Run.start(tmp_path / "run", override(small.RECIPE, choices), cells)
    last = small_encoder.get_layer("block3_conv")
    last.set_weights([np.zeros_like(last.get_weights()[0]), np.ones_like(last.get_weights()[1])])
    learner = Trainer(run, small_encoder)
    dense = next(layer for layer in learner.heads["projection"].layers if isinstance(layer, keras.layers.Dense))
    noise = np.random.default_rng(5).normal(0, 0.3, dense.get_weights()[0].shape)
    dense.set_weights([noise, np.ones_like(dense.get_weights()[1])])
    seen: list[float] = []
    monkeypatch.setattr(Meter, "add", _watching(Meter.add, seen))
    with pytest.raises(CollapseError, match="stage projection has collapsed"):
        learner.run_stages()
    assert min(seen) > COLLAPSED_SPREAD, "the projections that are trained on differ by dropout alone"


def _watching(add: Callable[..., None], seen: list[float]) -> Callable[..., None]:
    def added(meter: Meter, loss: float, outputs: NDArray[np.float32], labels: NDArray[np.int64]) -> None:
        seen.append(spread(outputs))
        add(meter, loss, outputs, labels)

    return added


def test_a_smaller_last_batch_does_not_hide_a_collapse() -> None:
    stage = next(stage for stage in small.RECIPE.stages if stage.contrastive)
    meter = Meter(stage, None)
    point = np.full((32, 4), 0.5, np.float32)
    for number in range(COLLAPSE_WINDOW):
        images = 2 if number % 5 == 4 else 16
        meter.add(loss_of_one_point(2 * images), point[: 2 * images], np.zeros(images, np.int64))
        if number < COLLAPSE_WINDOW - 1:
            meter.refuse_collapse(lambda rows: rows, point)
    with pytest.raises(CollapseError, match=r"ln\(32 - 1\)"):
        meter.refuse_collapse(lambda rows: rows, point)


def test_a_loss_that_is_not_a_number_stops_the_run(run: Run, small_encoder: keras.Model) -> None:
    run.recipe = small.only(override(run.recipe, ["encoder.learning_rate=1e30"]), 1)
    with pytest.raises(DivergedError, match=r"encoder\.learning_rate"):
        Trainer(run, small_encoder).run_stages()
