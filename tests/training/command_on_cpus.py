"""``python -m tests.training.command_on_cpus CPUS ARGUMENT...``: ``hal`` on a machine of so many CPUs.

Recipe ``small`` and its encoder stand for the large ones. The devices that the training had are its last line.
"""

import os
import sys
from typing import Any

os.environ["TF_CPP_MIN_LOG_LEVEL"] = "3"

import tensorflow as tf


def main(cpus: int, arguments: list[str]) -> None:
    cpu = tf.config.list_physical_devices("CPU")[0]
    tf.config.set_logical_device_configuration(cpu, [tf.config.LogicalDeviceConfiguration()] * cpus)
    import hal
    from tests.training import small
    from training import recipe
    from training.fit import start as train
    from training.networks import xception as networks

    def told(*given: Any) -> None:
        begin(*given)
        sys.stdout.write(f"devices: {tf.distribute.get_strategy().num_replicas_in_sync}\n")

    begin, train._train = train._train, told
    networks.build_encoder = lambda _: small.encoder()
    networks.imagenet_weights = lambda given: given
    recipe.find = {"small": small.RECIPE}.__getitem__
    sys.argv = ["hal", *arguments]
    hal.main()


if __name__ == "__main__":
    main(int(sys.argv[1]), sys.argv[2:])
