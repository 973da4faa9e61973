"""The stages: what may learn in which, and what ends a training with advice."""

import re
from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest
import tensorflow as tf

from tests.training import small
from training.data.images import UnreadableImageError
from training.data.manifest import LabelledImage
from training.errors import MemoryShortError
from training.fit.run import Progress, Run
from training.fit.trainer import FrozenEncoderError, Trainer
from training.fit.update import Update
from training.networks import xception as networks
from training.overrides import override

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
    last = small.history(run.root)[-1]
    assert (last["stage"], last["epoch"]) == ("classifier", "60")
    assert float(last["val_accuracy"]) >= 0.9, f"validation accuracy in {last}"


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
    (run.root / "tensorboard").write_text("a file where a folder is wanted")
    Trainer(run, small_encoder).run_stages()
    assert capsys.readouterr().out.count("TensorBoard's files cannot be written") == 1
    assert run.restore()[0].stage == 3


def test_an_image_that_breaks_while_training_is_named(run: Run, small_encoder: keras.Model) -> None:
    broken = next(image.path for image in run.images if image.split == "train")
    broken.write_bytes(broken.read_bytes()[:200])
    with pytest.raises(
        UnreadableImageError, match=rf"^{re.escape(str(broken.resolve()))} cannot.*'hal data check' finds"
    ):
        Trainer(run, small_encoder).run_stages()
