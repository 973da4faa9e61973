"""``hal bench memory``: the peak memory of a contrastive update, whole and by gradient caching."""

import json
import os
import resource
import subprocess
import sys
from dataclasses import dataclass
from typing import Final

from rich.console import Console
from rich.table import Table

from contract.description import IMAGE_SIDE

BYTES_PER_UNIT: Final = 1 if sys.platform == "darwin" else 1024
"""Of ``ru_maxrss``."""


@dataclass(frozen=True, slots=True)
class Peak:
    """The largest resident memory of a process that made one update of Xception and projection head."""

    batch_size: int
    micro_batch: int
    bytes: int
    seconds: float


def bench_memory(batch_size: int, micro_batch: int) -> tuple[Peak, Peak]:
    """Compare a batch in micro-batches with one batch of the micro-batch's size, each in a process of its own.

    Args:
        batch_size: images, two views of each.
        micro_batch: images embedded at once.

    Returns:
        Of the small batch, and of the large one.
    """
    small, large = peak(micro_batch, micro_batch), peak(batch_size, micro_batch)
    table = Table("Batch", "Micro-batch", "Peak memory", "Seconds", title="One update of encoder and projection head")
    for each in (small, large):
        shown = (str(each.batch_size), str(each.micro_batch), f"{each.bytes / 1e9:.2f} GB", f"{each.seconds:.0f}")
        table.add_row(*shown)
    console = Console()
    console.print(table)
    console.print(f"ratio {large.bytes / small.bytes:.2f}", highlight=False)
    return small, large


def peak(batch_size: int, micro_batch: int, image_side: int = IMAGE_SIDE) -> Peak:
    """Make one update in a new process and ask for its peak.

    Args:
        batch_size, micro_batch: see :func:`bench_memory`.
        image_side: pixels to which the encoder's input is scaled, see :class:`training.networks.xception.Network`.

    Raises:
        subprocess.CalledProcessError: it failed, for want of memory perhaps.
    """
    command = [sys.executable, "-m", "bench.memory", str(batch_size), str(micro_batch), str(image_side)]
    # In a session of its own, so that Ctrl-C is not explained by both.
    done = subprocess.run(  # noqa: S603 - this very file
        command, stdout=subprocess.PIPE, text=True, check=True, start_new_session=True
    )
    return Peak(batch_size, micro_batch, **json.loads(done.stdout.splitlines()[-1]))


def _update(batch_size: int, micro_batch: int, image_side: int) -> None:
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
    import time

    import keras
    import numpy as np

    from training.fit.update import Contrastive, Update
    from training.networks import xception as networks
    from training.networks.augmentation import PROJECTION_AUGMENTATION

    encoder = networks.build_encoder(None)
    head = networks.build_projection_head(128, 0.2, 1)
    network = networks.Network(encoder, head, PROJECTION_AUGMENTATION, 1, image_side=image_side)
    optimizer = keras.optimizers.Adam(1e-4)
    optimizer.build(network.trainable_variables)
    update = Update(network, network.trainable_variables, optimizer, Contrastive(0.1), micro_batch)
    pixels = np.random.default_rng(1).integers(0, 256, (batch_size, IMAGE_SIDE, IMAGE_SIDE, 3), np.uint8)
    labels = np.arange(batch_size) % 20
    started = time.monotonic()
    update(np.repeat(pixels, 2, axis=0), labels)
    figures = {
        "bytes": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * BYTES_PER_UNIT,
        "seconds": time.monotonic() - started,
    }
    sys.stdout.write(json.dumps(figures) + "\n")


if __name__ == "__main__":
    _update(*map(int, sys.argv[1:]))
