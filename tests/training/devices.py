"""``python -m tests.training.devices one|mirrored|workers``: updates by both losses, printed as JSON.

``mirrored`` has two logical CPUs; ``workers`` is one of the processes that ``TF_CONFIG`` names.
A batch of 15 images divides neither by two devices nor by a micro-batch of four; of 9 images that are convolved, two
micro-batches of four leave one image for two devices.
"""

import json
import os
import sys

os.environ["TF_CPP_MIN_LOG_LEVEL"] = "3"

import numpy as np
import tensorflow as tf

SETTINGS = ("contrastive", None), ("contrastive", 4), ("cross-entropy", None), ("cross-entropy", 4)


def main(devices: str) -> None:
    if devices == "mirrored":
        cpu = tf.config.list_physical_devices("CPU")[0]
        tf.config.set_logical_device_configuration(cpu, [tf.config.LogicalDeviceConfiguration()] * 2)
    from training.train import strategy

    spread = strategy(devices)
    with spread.scope():
        answers = {f"{kind} {micro_batch}": two_updates(kind, micro_batch) for kind, micro_batch in SETTINGS}
        answers["convolved 4"] = one_image_left()
    sys.stdout.write(json.dumps({"devices": spread.num_replicas_in_sync, **answers}, default=float) + "\n")


def two_updates(kind: str, micro_batch: int | None) -> dict[str, list[float]]:
    import keras

    from training import networks
    from training.update import Contrastive, CrossEntropy, Update

    generator = np.random.default_rng(1)
    objective = Contrastive(0.1) if kind == "contrastive" else CrossEntropy()
    labels = generator.integers(0, 3, 15)
    features = generator.normal(size=(15 * objective.copies, 2048)).astype(np.float32)
    if kind == "contrastive":
        head = networks.build_projection_head(16, 0.0, 11)
    else:
        head = networks.build_classifier_head(0.0, 11, normalised=False)
    optimizer = keras.optimizers.Adam(1e-2)
    optimizer.build(head.trainable_variables)
    update = Update(head, head.trainable_variables, optimizer, objective, micro_batch)
    initial = head.get_weights()[0].ravel()
    _, gradients = update.gradients(features, labels)
    loss, outputs = update(features, labels)
    again, _ = update(features, labels)
    return {
        "loss": [loss, again],
        "outputs": outputs.ravel().tolist(),
        "gradient": gradients[0].ravel()[:500].tolist(),
        "initial": initial[:500].tolist(),
        "weights": head.get_weights()[0].ravel()[:500].tolist(),
    }


def one_image_left() -> dict[str, list[float]]:
    import keras

    from training.update import CrossEntropy, Update

    generator = np.random.default_rng(1)
    keras.utils.set_random_seed(11)
    layers = [keras.layers.Conv2D(4, 3), keras.layers.GlobalAveragePooling2D(), keras.layers.Dense(20)]
    network = keras.Sequential([keras.Input((8, 8, 3)), *layers])
    optimizer = keras.optimizers.Adam(1e-2)
    optimizer.build(network.trainable_variables)
    update = Update(network, network.trainable_variables, optimizer, CrossEntropy(), 4)
    images, labels = generator.normal(size=(9, 8, 8, 3)).astype(np.float32), generator.integers(0, 3, 9)
    initial = network.get_weights()[0].ravel()
    _, gradients = update.gradients(images, labels)
    loss, outputs = update(images, labels)
    return {
        "loss": [loss],
        "outputs": outputs.ravel().tolist(),
        "gradient": gradients[0].ravel().tolist(),
        "initial": initial.tolist(),
        "weights": network.get_weights()[0].ravel().tolist(),
    }


if __name__ == "__main__":
    main(sys.argv[1])
