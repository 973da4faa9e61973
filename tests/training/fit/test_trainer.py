"""The stages: what may learn in which, and what ends a training with advice."""

import csv
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest
import tensorflow as tf
from numpy.typing import NDArray

from tests.training import small
from training.data.images import UnreadableImageError
from training.data.manifest import LabelledImage
from training.errors import MemoryShortError
from training.fit.run import Progress, Run
from training.fit.trainer import FrozenEncoderError, Trainer
from training.fit.update import Update
from training.networks import xception as networks
from training.overrides import override
from training.recipe import Recipe


@dataclass(frozen=True)
class Trained:
    """What a training made of the encoder.

    Attributes:
        root: folder of the run.
        fingerprints: of the whole, before the first stage and after each.
        before: gamma, beta, mean and variance of its batch normalisation.
        after: the same at the end.
    """

    root: Path
    fingerprints: list[str]
    before: list[NDArray[np.float32]]
    after: list[NDArray[np.float32]]


def trained(root: Path, recipe: Recipe) -> Trained:
    seen: list[str] = []
    checkpoint = Trainer._checkpoint

    def record(self: Trainer, progress: Progress, *rest: Any) -> None:
        checkpoint(self, progress, *rest)
        if not rest:
            seen.append(networks.fingerprint(self.encoder))

    keras.mixed_precision.set_global_policy("float32")
    encoder = small.encoder()
    layer = next(each for each in encoder.layers if isinstance(each, keras.layers.BatchNormalization))
    before = [value.copy() for value in layer.get_weights()]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Trainer, "_checkpoint", record)
        Trainer(Run.start(root / "run", recipe, small.cells(root / "cells")), encoder).run_stages()
    return Trained(root / "run", seen, before, layer.get_weights())


@pytest.fixture(scope="module")
def hal_c(tmp_path_factory: pytest.TempPathFactory) -> Trained:
    return trained(tmp_path_factory.mktemp("hal-c"), small.RECIPE)


@pytest.fixture(scope="module")
def hal_t(tmp_path_factory: pytest.TempPathFactory) -> Trained:
    return trained(tmp_path_factory.mktemp("hal-t"), small.TRANSFER)


def test_steps_1_and_3_leave_the_encoder_byte_identical_and_step_2_trains_it(hal_c: Trained) -> None:
    initial, after_projection, after_encoder, after_classifier = hal_c.fingerprints
    assert initial == after_projection != after_encoder == after_classifier


def test_step_2_trains_the_weights_but_not_the_statistics_of_batch_normalisation(hal_c: Trained) -> None:
    gamma, beta, mean, variance = hal_c.after
    np.testing.assert_array_equal(mean, hal_c.before[2])
    np.testing.assert_array_equal(variance, hal_c.before[3])
    assert np.abs(gamma - hal_c.before[0]).max() > 0
    assert np.abs(beta - hal_c.before[1]).max() > 0


def test_every_epoch_leaves_its_figures_for_people_and_for_tensorboard(hal_c: Trained) -> None:
    rows = small.history(hal_c.root)
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
    with (hal_c.root / "recall.csv").open(newline="") as stream:
        recall = list(csv.DictReader(stream))
    assert len(recall) == len(rows)
    assert {name for name, value in recall[-1].items() if value} == {"stage", "epoch", *small.COLOURS}
    assert list((hal_c.root / "tensorboard").glob("events.out.tfevents.*"))


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
    run.recipe = override(small.only(run.recipe, 2), [f"classifier.{choice}" for choice in choices])
    Trainer(run, small_encoder).run_stages()
    last = small.history(run.root)[-1]
    assert (last["stage"], last["epoch"]) == ("classifier", "60")
    assert float(last["val_accuracy"]) >= 0.9, f"validation accuracy in {last}"


def test_fine_tuning_of_hal_t_trains_the_encoder_after_the_top_layer_left_it_alone(hal_t: Trained) -> None:
    initial, after_top_layer, after_fine_tuning = hal_t.fingerprints
    assert initial == after_top_layer != after_fine_tuning


def test_batch_normalisation_learns_its_statistics_only_where_the_recipe_says_so(
    hal_t: Trained, tmp_path: Path
) -> None:
    live = trained(tmp_path, override(small.only(small.TRANSFER, 1), ["fine_tuning.live_batch_normalisation=true"]))
    for run, learns in ((live, True), (hal_t, False)):
        assert (np.abs(run.after[2] - run.before[2]).max() > 0) == learns
        assert (np.abs(run.after[3] - run.before[3]).max() > 0) == learns


def test_frozen_blocks_stay_byte_identical_while_the_rest_of_the_encoder_learns(
    tmp_path: Path, cells: list[LabelledImage], small_encoder: keras.Model
) -> None:
    before = {layer.name: layer.get_weights() for layer in small_encoder.layers if layer.weights}
    recipe = override(small.only(small.TRANSFER, 1), ["fine_tuning.frozen_blocks=1"])
    Trainer(Run.start(tmp_path / "run", recipe, cells), small_encoder).run_stages()
    changed = {
        name: any(
            (old != new).any() for old, new in zip(weights, small_encoder.get_layer(name).get_weights(), strict=True)
        )
        for name, weights in before.items()
    }
    assert changed == {"block1_conv": False, "block1_conv_bn": False, "block2_conv": True, "block3_conv": True}


def test_too_little_memory_names_the_setting_to_lower(
    run: Run, small_encoder: keras.Model, monkeypatch: pytest.MonkeyPatch
) -> None:
    def exhaust(*_: Any) -> None:
        raise tf.errors.ResourceExhaustedError(None, None, "OOM when allocating tensor with shape[32,256,256,32]")

    monkeypatch.setattr(Update, "__call__", exhaust)
    with pytest.raises(MemoryShortError, match=r"go on with .*--resume .*run --set projection\.micro_batch=8"):
        Trainer(run, small_encoder).run_stages()


def test_training_goes_on_without_tensorboard_where_its_files_cannot_be_written(
    run: Run, small_encoder: keras.Model, capsys: pytest.CaptureFixture[str]
) -> None:
    run.recipe = small.only(run.recipe, 2)
    (run.root / "tensorboard").write_text("a file where a folder is wanted")
    Trainer(run, small_encoder).run_stages()
    assert capsys.readouterr().out.count("TensorBoard's files cannot be written") == 1
    assert run.restore()[0].stage == 1


def test_an_image_that_breaks_while_training_is_named(run: Run, small_encoder: keras.Model) -> None:
    broken = next(image.path for image in run.images if image.split == "train")
    broken.write_bytes(broken.read_bytes()[:200])
    with pytest.raises(
        UnreadableImageError, match=rf"^{re.escape(str(broken.resolve()))} cannot.*'hal data check' finds"
    ):
        Trainer(run, small_encoder).run_stages()
