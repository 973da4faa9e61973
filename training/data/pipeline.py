"""The tf.data pipeline: batches of images decoded ahead of the network."""

import contextlib
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import tensorflow as tf
from numpy.typing import NDArray

from contract.parts import IMAGE_SIDE
from training.data.images import UnreadableImageError, read_image


@contextlib.contextmanager
def unreadable_named() -> Iterator[None]:
    """Name the image that a pipeline could not read, without what TensorFlow says around it.

    Raises UnreadableImageError instead of the ``tf.errors.OpError`` of :func:`image_batches`.
    """
    try:
        yield
    except tf.errors.OpError as error:
        _, raised, cause = error.message.partition("ImageError: ")
        if not raised:
            raise
        raise UnreadableImageError(
            f"{cause.splitlines()[0]}; 'hal data check' finds every such image at once"
        ) from error


def image_batches(paths: Sequence[Path], batches: Sequence[NDArray[np.int64]]) -> Any:
    """Decode the images of each batch in parallel, two batches ahead.

    Args:
        batches: for each batch the indices into ``paths``.

    Returns:
        ``tf.data.Dataset`` of ``(images, indices)``: uint8 ``(batch, 256, 256, 3)`` and int64 ``(batch,)``.

    Raises:
        ValueError: a batch other than the last has another size.
        tf.errors.OpError: while iterating, where an image cannot be read; the message names it.
    """

    def read(index: NDArray[np.int64]) -> NDArray[np.uint8]:
        return read_image(paths[int(index)])

    def load(index: Any) -> Any:
        pixels = tf.numpy_function(read, [index], tf.uint8, stateful=False)
        return tf.ensure_shape(pixels, (IMAGE_SIDE, IMAGE_SIDE, 3)), index

    sizes = {len(batch) for batch in batches[:-1]}
    if len(sizes) > 1:
        raise ValueError(f"batches of sizes {sorted(sizes)}; only the last may differ")
    indices = tf.data.Dataset.from_tensor_slices(np.concatenate(batches))
    images = indices.map(load, num_parallel_calls=tf.data.AUTOTUNE, deterministic=True)
    return images.batch(len(batches[0])).prefetch(2)
