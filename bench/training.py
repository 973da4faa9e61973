"""``hal bench train``: what the pipeline costs a training step, and what folding and cached views save."""

import itertools
import json
import statistics
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Final

import keras
import numpy as np
import tensorflow as tf
from numpy.typing import NDArray
from rich.console import Console
from rich.table import Table

from bench.processes import machine
from contract.files import write_text
from training.data import manifest
from training.data.manifest import LabelledImage, ManifestError
from training.data.pipeline import image_batches
from training.data.sampling import epoch_batches
from training.fit.features import encode
from training.fit.update import CrossEntropy, Update
from training.networks import xception as networks
from training.networks.augmentation import CLASSIFIER_AUGMENTATION
from training.networks.folding import folded

BATCH_SIZES: Final = (16, 20, 25)
"""Of HAL-C (Table 4.8) and of HAL-T (Table 4.4)."""
FOLDING_BATCH: Final = 32
"""Views of a contrastive batch of 16 images."""
PRECISIONS: Final = ("float32", "mixed_bfloat16")
EPOCHS: Final = 10


@dataclass(frozen=True, slots=True)
class PipelineCost:
    """Images a second of one kind of step, fed in two ways; ``ratio`` is the median over pairs of batches in turns."""

    encoder: str
    batch_size: int
    batches: int
    from_pipeline: float
    from_memory: float
    ratio: float


@dataclass(frozen=True, slots=True)
class FoldingCost:
    """Images a second through the encoder and back, with batch normalisation folded and as Keras computes it.

    ``ratio`` is folded over Keras, the median over pairs of steps in turns.
    """

    precision: str
    batch_size: int
    steps: int
    folded: float
    keras: float
    ratio: float


@dataclass(frozen=True, slots=True)
class ViewsCost:
    """A classifier on a frozen encoder, trained in one of two ways on the same images.

    ``online`` augments and encodes in every epoch, ``V views`` encodes V augmented views once; ``seconds`` are of the
    whole stage, encoding included.
    """

    how: str
    images: int
    epochs: int
    seconds: float
    accuracy: float
    validation_images: int


def bench_training(
    weights: Path | None, data: Path, batches: int, images: int, views: int, out: Path | None
) -> tuple[list[PipelineCost], list[FoldingCost], list[ViewsCost]]:
    """Measure all three, print tables and write the figures.

    Args:
        batches: timed for each figure.
        images: training images for the comparison of feature views; half as many to validate.

    Raises:
        ManifestError: the manifest cannot be read or has too few images.
        WeightsError: the weights cannot be had.
    """
    found = manifest.read(data)
    chosen = {split: _some([i for i in found if i.split == split], split) for split in ("train", "val")}
    encoder = networks.build_encoder(networks.imagenet_weights(weights))
    ways = itertools.product((False, True), BATCH_SIZES)
    costs = [pipeline_cost(encoder, chosen["train"], size, batches, trained) for trained, size in ways]
    _print("Images a second of a training step", costs)
    folding = [folding_cost(weights, precision, FOLDING_BATCH, batches) for precision in PRECISIONS]
    _print("Images a second forth and back", folding)
    compared = views_cost(encoder, chosen["train"][:images], chosen["val"][: images // 2], views)
    _print("A classifier on a frozen encoder", compared)
    if out is not None:
        figures = {
            "machine": machine(),
            "gpus": len(tf.config.list_logical_devices("GPU")),
            "tensorflow": tf.__version__,
            "pipeline": [asdict(cost) for cost in costs],
            "folding": [asdict(cost) for cost in folding],
            "views": [asdict(each) for each in compared],
        }
        write_text(out, json.dumps(figures, indent=2) + "\n")
    return costs, folding, compared


def _print(title: str, costs: Sequence[PipelineCost | FoldingCost | ViewsCost]) -> None:
    rows = [asdict(cost) for cost in costs]
    table = Table(*(name.replace("_", " ") for name in rows[0]), title=title)
    for row in rows:
        table.add_row(*(f"{value:.3f}" if isinstance(value, float) else str(value) for value in row.values()))
    Console().print(table)


def pipeline_cost(
    encoder: keras.Model, images: Sequence[LabelledImage], batch_size: int, batches: int, trains_encoder: bool
) -> PipelineCost:
    """Time steps on images from disk and on the same images in memory, by turns."""
    paths = [image.path for image in images]
    labels = np.array([image.class_index for image in images], dtype=np.int64)
    order = np.arange((batches + 1) * batch_size) % len(paths)
    indices = np.split(order, batches + 1)
    update = _classifier_update(encoder, trains_encoder)
    pipeline = iter(image_batches(paths, indices))

    inputs, first = next(pipeline)
    update(inputs, labels[first.numpy()])  # traces the graph
    fed, held = [], []
    for _ in range(batches):
        started = time.perf_counter()
        pixels, chosen = next(pipeline)
        update(pixels, labels[chosen.numpy()])
        fed.append(time.perf_counter() - started)
        held.append(_seconds(lambda: update(inputs, labels[first.numpy()])))
    return PipelineCost(
        encoder="unfrozen" if trains_encoder else "frozen",
        batch_size=batch_size,
        batches=batches,
        from_pipeline=batch_size / statistics.median(fed),
        from_memory=batch_size / statistics.median(held),
        ratio=statistics.median(memory / disk for memory, disk in zip(held, fed, strict=True)),
    )


def folding_cost(weights: Path | None, precision: str, batch_size: int, steps: int) -> FoldingCost:
    """Time the gradient of a sum over the encoder's outputs, folded and by Keras, by turns."""
    before = keras.mixed_precision.global_policy()
    keras.mixed_precision.set_global_policy(precision)
    try:
        encoder = networks.build_encoder(networks.imagenet_weights(weights))
    finally:
        keras.mixed_precision.set_global_policy(before)
    trained = [variable.value for variable in encoder.trainable_variables]
    pixels = tf.random.stateless_uniform((batch_size, *encoder.input_shape[1:]), (1, 2), 0, 255)

    def compiled(forward: Callable[[Any], Any]) -> Callable[[], None]:
        def step() -> Any:
            with tf.GradientTape() as tape:
                total = tf.reduce_sum(forward(pixels) ** 2)
            return tape.gradient(total, trained)

        graph = tf.function(step, autograph=False)
        return lambda: tf.nest.map_structure(lambda gradient: gradient[..., :1].numpy(), graph())

    folding, plain = compiled(lambda x: folded(encoder, x)), compiled(lambda x: encoder(x, training=False))
    folding(), plain()  # traces the graphs
    times = [(_seconds(folding), _seconds(plain)) for _ in range(steps)]
    return FoldingCost(
        precision=precision,
        batch_size=batch_size,
        steps=steps,
        folded=batch_size / statistics.median(fold for fold, _ in times),
        keras=batch_size / statistics.median(keras for _, keras in times),
        ratio=statistics.median(keras / fold for fold, keras in times),
    )


def views_cost(
    encoder: keras.Model, train: Sequence[LabelledImage], validation: Sequence[LabelledImage], views: int
) -> list[ViewsCost]:
    """Train the same classifier by online augmentation and on cached views."""
    paths = [image.path for image in train]
    labels = np.array([image.class_index for image in train], dtype=np.int64)
    held_out = np.array([image.class_index for image in validation], dtype=np.int64)
    features = encode(encoder, [image.path for image in validation], None, "validation images")

    def measured(how: str, learn: Callable[[keras.Model], None]) -> ViewsCost:
        # HAL-T's: on normalised features ten epochs of a few hundred images teach a head next to nothing.
        head = networks.build_classifier_head(0.2, 1, normalised=False)
        seconds = _seconds(lambda: learn(head))
        accuracy = float((np.asarray(head(features)).argmax(axis=1) == held_out).mean())
        return ViewsCost(how, len(train), EPOCHS, seconds, accuracy, len(validation))

    def online(head: keras.Model) -> None:
        update = _classifier_update(encoder, trains_encoder=False, head=head)
        for epoch in range(EPOCHS):
            for pixels, indices in image_batches(paths, epoch_batches(labels, 32, None, (1, epoch))):
                update(pixels, labels[indices.numpy()])

    def cached(head: keras.Model) -> None:
        seen = [
            encode(encoder, paths, CLASSIFIER_AUGMENTATION.layer(10 * view), f"view {view + 1} of {views}")
            for view in range(views)
        ]
        update = Update(head, head.trainable_variables, _adam(head.trainable_variables), CrossEntropy())
        for epoch in range(EPOCHS):
            for indices in epoch_batches(labels, 32, None, (1, epoch)):
                update(seen[epoch % views][indices], labels[indices])

    return [measured("online", online), measured(f"{views} views", cached)]


def _classifier_update(encoder: keras.Model, trains_encoder: bool, head: keras.Model | None = None) -> Update:
    head = networks.build_classifier_head(0.3, 1, normalised=True) if head is None else head
    encoder.trainable = trains_encoder
    network = networks.TrainingNetwork(encoder, head, CLASSIFIER_AUGMENTATION, 1)
    trained = network.trainable_variables if trains_encoder else head.trainable_variables
    return Update(network, trained, _adam(trained), CrossEntropy())


def _adam(variables: Sequence[keras.Variable]) -> keras.optimizers.Optimizer:
    optimizer = keras.optimizers.Adam(1e-3)
    optimizer.build(variables)
    return optimizer


def _seconds(work: Callable[[], Any]) -> float:
    started = time.perf_counter()
    work()
    return time.perf_counter() - started


def _some(images: list[LabelledImage], split: str) -> list[LabelledImage]:
    """In a seeded order."""
    if len(images) < max(BATCH_SIZES):
        raise ManifestError("too few images to measure with", [f"{len(images)} of split {split}"])
    order: NDArray[np.int64] = np.random.default_rng(2022).permutation(len(images))
    return [images[index] for index in order]
