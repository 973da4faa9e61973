"""Features of a frozen encoder, computed once for each view of each image and kept in the run's folder."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import keras
import numpy as np
import tensorflow as tf
from numpy.typing import NDArray

from contract.parts import EMBEDDING_SIZE, IMAGE_SIDE
from training.data.pipeline import image_batches, unreadable_named
from training.errors import MemoryShortError
from training.fit.run import Run
from training.networks.augmentation import Augmentation
from training.networks.folding import folded
from training.networks.xception import fingerprint
from training.progress import track

BATCH = 32
"""Images embedded at once; fewer where the device has no memory for them."""
_FREE_MEMORY = "end other programs on the device, or embed on the CPU with CUDA_VISIBLE_DEVICES=-1"


def encode(
    encoder: keras.Model,
    paths: Sequence[Path],
    augmentation: keras.Layer | None,
    what: str,
    image_side: int = IMAGE_SIDE,
) -> Any:
    """The encoder's output for every image, float32. Shape: ``(len(paths), 2048)``.

    Images are scaled to ``image_side`` pixels and, if a layer is given, augmented as in training.
    """

    @tf.function(input_signature=[tf.TensorSpec((None, IMAGE_SIDE, IMAGE_SIDE, 3), tf.uint8)], autograph=False)
    def forward(images: Any) -> Any:
        pixels = tf.cast(images, tf.float32)
        if image_side < IMAGE_SIDE:
            pixels = keras.ops.image.resize(pixels, (image_side, image_side), antialias=True)
        if augmentation is not None:
            pixels = augmentation(pixels, training=True)
        return folded(encoder, pixels)

    features = np.empty((len(paths), EMBEDDING_SIZE), np.float32)
    done, size = 0, BATCH
    with unreadable_named(), track(what, len(paths)) as advance:
        while done < len(paths):
            batches = [np.arange(first, min(first + size, len(paths))) for first in range(done, len(paths), size)]
            try:
                for images, indices in image_batches(paths, batches):
                    features[indices.numpy()] = forward(images).numpy()
                    done += len(indices)
                    advance(len(indices))
            except tf.errors.ResourceExhaustedError as error:
                if size == 1:
                    raise MemoryShortError(f"{what}: no memory to embed even one image; {_FREE_MEMORY}") from error
                size //= 2
    return features


def cached_views(
    run: Run,
    encoder: keras.Model,
    paths: Sequence[Path],
    augmentation: Augmentation | None,
    views: int,
    name: str,
    seed: int,
    image_side: int = IMAGE_SIDE,
) -> NDArray[np.float32]:
    """Features of several augmented views of every image, each view written to disk once it is whole.

    The run's folder keeps them, so that a resumed run does not compute them again. Shape: ``(len(paths), V, 2048)``.

    Raises:
        RunError: a view cannot be written.
    """
    weights = fingerprint(encoder)[:12]
    stacked = []
    for view in range(views):
        path = run.root / f"features-{name}-{weights}-{view}.npy"
        if not path.exists():
            layer = None if augmentation is None else augmentation.layer(seed + 10 * view)
            features = encode(encoder, paths, layer, f"{name}, view {view + 1} of {views}", image_side)
            with run.writing(path, features.nbytes) as partial, partial.open("wb") as stream:
                np.save(stream, features)
        else:
            features = np.load(path)
        stacked.append(features)
    return np.stack(stacked, axis=1)
