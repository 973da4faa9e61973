"""``hal bench memory``: the peak memory of a contrastive update, whole and by gradient caching."""

import os
import resource
import sys
import time
from dataclasses import dataclass

from rich.console import Console
from rich.table import Table

from bench.processes import apart
from contract.parts import IMAGE_SIDE


@dataclass(frozen=True, slots=True)
class Peak:
    """The largest resident memory of a process that made one update of Xception and projection head."""

    batch_size: int
    micro_batch: int
    bytes: int
    seconds: float


def bench_memory(batch_size: int, micro_batch: int) -> None:
    """Print the peaks of a batch of ``batch_size`` images, two views of each, and of one of ``micro_batch`` images.

    Both embed ``micro_batch`` images at once, each in a process of its own.
    """
    table = Table("Batch", "Micro-batch", "Peak memory", "Seconds", title="One update of encoder and projection head")
    small, large = (apart(peak, size, micro_batch) for size in (micro_batch, batch_size))
    for each in (small, large):
        shown = (str(each.batch_size), str(each.micro_batch), f"{each.bytes / 1e9:.2f} GB", f"{each.seconds:.0f}")
        table.add_row(*shown)
    console = Console()
    console.print(table)
    console.print(f"ratio {large.bytes / small.bytes:.2f}", highlight=False)


def peak(batch_size: int, micro_batch: int, image_side: int = IMAGE_SIDE) -> Peak:
    """The peak of this process after one update; ``image_side`` as in ``TrainingNetwork``."""
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
    import keras
    import numpy as np

    from training.fit.update import Contrastive, Update
    from training.networks import xception as networks
    from training.networks.augmentation import PROJECTION_AUGMENTATION

    encoder = networks.build_encoder(None)
    head = networks.build_projection_head(128, 0.2, 1)
    network = networks.TrainingNetwork(encoder, head, PROJECTION_AUGMENTATION, 1, image_side=image_side)
    optimizer = keras.optimizers.Adam(1e-4)
    optimizer.build(network.trainable_variables)
    update = Update(network, network.trainable_variables, optimizer, Contrastive(0.1), micro_batch)
    pixels = np.random.default_rng(1).integers(0, 256, (batch_size, IMAGE_SIDE, IMAGE_SIDE, 3), np.uint8)
    started = time.monotonic()
    update(np.repeat(pixels, 2, axis=0), np.arange(batch_size) % 20)
    seconds = time.monotonic() - started
    unit = 1 if sys.platform == "darwin" else 1024
    return Peak(batch_size, micro_batch, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit, seconds)
