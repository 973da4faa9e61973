"""``python -m tests.training.devices one|mirrored [FOLDER]``: updates by both losses, printed as JSON.

``mirrored`` has two logical CPUs.
A batch of 15 images divides neither by two devices nor by a micro-batch of four; of 9 images that are convolved, two
micro-batches of four leave one image for two devices, as does a batch of one.

With a folder, runs are trained there instead: 24 images in batches of 23, of which the last has one.
"""

import json
import os
import sys
from pathlib import Path
from typing import Any

os.environ["TF_CPP_MIN_LOG_LEVEL"] = "3"

import numpy as np
import tensorflow as tf

SETTINGS = ("contrastive", None), ("contrastive", 4), ("cross-entropy", None), ("cross-entropy", 4)


def main(devices: str, folder: str | None = None) -> None:
    if devices == "mirrored":
        cpu = tf.config.list_physical_devices("CPU")[0]
        tf.config.set_logical_device_configuration(cpu, [tf.config.LogicalDeviceConfiguration()] * 2)
    from training.fit.start import strategy

    spread = strategy(devices)
    answers: dict[str, Any]
    with spread.scope():
        if folder is not None:
            answers = whole_and_resumed(Path(folder))
        else:
            answers = {f"{kind} {micro_batch}": two_updates(kind, micro_batch) for kind, micro_batch in SETTINGS}
            answers["convolved 4"] = one_image_left(9, 4)
            answers["convolved alone"] = one_image_left(1, None)
    sys.stdout.write(json.dumps({"devices": spread.num_replicas_in_sync, **answers}, default=float) + "\n")


def two_updates(kind: str, micro_batch: int | None) -> dict[str, list[float]]:
    from training.fit.update import Contrastive, CrossEntropy
    from training.networks import xception as networks

    generator = np.random.default_rng(1)
    objective = Contrastive(0.1) if kind == "contrastive" else CrossEntropy()
    labels = generator.integers(0, 3, 15)
    features = generator.normal(size=(15 * objective.copies, 2048)).astype(np.float32)
    if kind == "contrastive":
        return updated(networks.build_projection_head(16, 0.0, 11), objective, micro_batch, features, labels)
    return updated(networks.build_classifier_head(0.0, 11, False), objective, micro_batch, features, labels)


def one_image_left(count: int, micro_batch: int | None) -> dict[str, list[float]]:
    import keras

    from training.fit.update import CrossEntropy

    generator = np.random.default_rng(1)
    keras.utils.set_random_seed(11)
    layers = [keras.layers.Conv2D(4, 3), keras.layers.GlobalAveragePooling2D(), keras.layers.Dense(20)]
    network = keras.Sequential([keras.Input((8, 8, 3)), *layers])
    images, labels = generator.normal(size=(count, 8, 8, 3)).astype(np.float32), generator.integers(0, 3, count)
    return updated(network, CrossEntropy(), micro_batch, images, labels)


def updated(model: Any, objective: Any, micro_batch: int | None, inputs: Any, labels: Any) -> dict[str, list[float]]:
    """What two updates by one batch bring; of the gradient and the weights the first layer's first 500."""
    import keras

    from training.fit.update import Update

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
    """Updates counted by each stage's optimizer, and whether a run killed after its first epoch ends the same."""
    from tests.training import small
    from training.fit import trainer
    from training.fit.run import Run
    from training.overrides import override

    two_stages = small.RECIPE.model_copy(update={"stages": small.RECIPE.stages[1:]})
    choices = ["encoder.batch_size=23", "encoder.classes_per_batch=null", "classifier.batch_size=23"]
    recipe = override(two_stages, [*choices, "classifier.epochs=1"])
    cells = small.cells(folder / "cells")
    adam, optimizers = trainer.adam, []

    def kept(*arguments: Any, **named: Any) -> Any:
        optimizers.append(adam(*arguments, **named))
        return optimizers[-1]

    trainer.adam = kept  # type: ignore[attr-defined]
    whole = small.train(Run.start(folder / "whole", recipe, cells))
    updates = [int(optimizer.iterations.numpy()) for optimizer in optimizers]
    killed = Run.start(folder / "killed", recipe, cells)
    save, saves = killed.save, iter(range(1))

    def save_and_die(*arguments: Any) -> None:
        save(*arguments)
        if next(saves, None) is None:
            raise KeyboardInterrupt

    killed.save = save_and_die  # type: ignore[method-assign]
    try:
        small.train(killed)
    except KeyboardInterrupt:
        resumed = small.train(Run.open(killed.root))
    same = [
        np.array_equal(a, b) for a, b in zip(whole.encoder.get_weights(), resumed.encoder.get_weights(), strict=True)
    ]
    return {"updates": updates, "same": all(same)}


if __name__ == "__main__":
    main(*sys.argv[1:])
