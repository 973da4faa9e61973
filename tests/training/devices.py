"""``python -m tests.training.devices FOLDER``: what two devices (logical CPUs) learn, printed as JSON.

Two updates by each of :data:`SETTINGS`. A batch of 15 images divides neither by two devices nor by a micro-batch of
four; of 9 images that are convolved, two micro-batches of four leave one image for two devices, as does a batch of one.

In the folder ``hal train`` trains a run of 24 images in batches of 23, of which the last has one, and goes on with a
copy of it as it was after its first epoch.
"""

import json
import os
import shutil
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

os.environ["TF_CPP_MIN_LOG_LEVEL"] = "3"

import keras
import numpy as np
import tensorflow as tf
from numpy.typing import NDArray
from typer.testing import CliRunner

from hal import app
from tests.training import small
from training import recipe
from training.data import manifest
from training.fit import start, trainer
from training.fit.run import Progress, Run
from training.fit.update import Contrastive, CrossEntropy, Update
from training.networks import xception as networks
from training.overrides import override

Answers = dict[str, list[float]]


def main(folder: Path) -> None:
    cpu = tf.config.list_physical_devices("CPU")[0]
    tf.config.set_logical_device_configuration(cpu, [tf.config.LogicalDeviceConfiguration()] * 2)
    spread = start.strategy("mirrored")
    # A second one in a process takes the first one's keys for its own collective operations (TensorFlow 2.20).
    start.strategy = {"mirrored": spread}.__getitem__  # type: ignore[attr-defined,assignment]
    with spread.scope():
        answers: dict[str, Any] = {name: updates() for name, updates in SETTINGS.items()}
    answers["devices"] = spread.num_replicas_in_sync
    answers["run"] = whole_and_resumed(folder)
    sys.stdout.write(json.dumps(answers, default=float) + "\n")


def contrastive(micro_batch: int | None) -> Answers:
    features, labels = normal(30, 2048), np.random.default_rng(2).integers(0, 3, 15)
    return updated(networks.build_projection_head(16, 0.0, 11), Contrastive(0.1), micro_batch, features, labels)


def cross_entropy() -> Answers:
    features, labels = normal(15, 2048), np.random.default_rng(2).integers(0, 3, 15)
    return updated(networks.build_classifier_head(0.0, 11, False), CrossEntropy(), None, features, labels)


def one_image_left(count: int, micro_batch: int | None) -> Answers:
    keras.utils.set_random_seed(11)
    layers = [keras.layers.Conv2D(4, 3), keras.layers.GlobalAveragePooling2D(), keras.layers.Dense(20)]
    network = keras.Sequential([keras.Input((8, 8, 3)), *layers])
    labels = np.random.default_rng(2).integers(0, 3, count)
    return updated(network, CrossEntropy(), micro_batch, normal(count, 8, 8, 3), labels)


SETTINGS = {
    "contrastive": lambda: contrastive(None),
    "contrastive in micro-batches": lambda: contrastive(4),
    "cross-entropy": cross_entropy,
    "convolved in micro-batches": lambda: one_image_left(9, 4),
    "convolved alone": lambda: one_image_left(1, None),
}


def normal(*shape: int) -> NDArray[np.float32]:
    return np.random.default_rng(1).normal(size=shape).astype(np.float32)


def updated(model: Any, objective: Any, micro_batch: int | None, inputs: Any, labels: Any) -> Answers:
    """What two updates by one batch bring; of the gradient and the weights the first layer's first 500."""
    optimizer = keras.optimizers.Adam(1e-2)
    optimizer.build(model.trainable_variables)
    update = Update(model, model.trainable_variables, optimizer, objective, micro_batch)
    initial = model.get_weights()[0].ravel()
    _, gradients = update.gradients(inputs, labels)
    loss, outputs = update(inputs, labels)
    again, _ = update(inputs, labels)
    return {
        "loss": [loss, again],
        "outputs": outputs.ravel().tolist(),
        "gradient": gradients[0].ravel()[:500].tolist(),
        "initial": initial[:500].tolist(),
        "weights": model.get_weights()[0].ravel()[:500].tolist(),
    }


def whole_and_resumed(folder: Path) -> dict[str, Any]:
    """Updates counted by each stage's optimizer, how far the runs came, and whether both ended the same."""
    two_stages = small.RECIPE.model_copy(update={"stages": small.RECIPE.stages[1:]})
    choices = ["encoder.batch_size=23", "encoder.classes_per_batch=null", "classifier.batch_size=23"]
    networks.build_encoder = lambda _: small.encoder()
    networks.imagenet_weights = lambda given: given
    recipe.find = lambda _: override(two_stages, [*choices, "classifier.epochs=1"])
    manifest.write(folder / "cells.csv", small.cells(folder / "cells"))
    adam, optimizers, save = trainer.adam, [], Run.save

    def kept(*arguments: Any, **named: Any) -> Any:
        optimizers.append(adam(*arguments, **named))
        return optimizers[-1]

    def save_and_copy(run: Run, progress: Progress, groups: Mapping[str, list[NDArray[Any]]]) -> None:
        save(run, progress, groups)
        if progress == Progress(0, 1):
            shutil.copytree(run.root, folder / "killed")

    trainer.adam = kept  # type: ignore[attr-defined]
    Run.save = save_and_copy  # type: ignore[method-assign]
    said = train("small", "--data", folder / "cells.csv", "--run", folder / "whole")
    updates = [int(optimizer.iterations.numpy()) for optimizer in optimizers]
    Run.save = save  # type: ignore[method-assign]
    train("--resume", folder / "killed")
    (whole, weights), (resumed, others) = (Run.open(folder / name).restore() for name in ("whole", "killed"))
    initial = small.encoder().get_weights()
    return {
        "said": said,
        "updates": updates,
        "stages": [whole.stage, resumed.stage],
        "learned": max(float(np.abs(a - b).max()) for a, b in zip(weights["encoder"], initial, strict=True)),
        "same": all(np.array_equal(a, b) for a, b in zip(weights["encoder"], others["encoder"], strict=True)),
    }


def train(*arguments: object) -> str:
    """What ``hal train`` says on all devices of this machine."""
    done = CliRunner().invoke(app, ["train", *map(str, arguments), "--devices", "mirrored"], catch_exceptions=False)
    assert done.exit_code == 0, done.output
    return " ".join(done.output.split())


if __name__ == "__main__":
    main(Path(sys.argv[1]))
