"""The three steps of HAL-C (thesis section 4.3.3 and Figure 4.1).

1. The projection head learns on the frozen encoder: a start from which step 2 does not collapse to one point.
2. Projection head and encoder learn together by the supervised contrastive loss.
3. The projection head is thrown away; a classifier learns by cross-entropy on the frozen encoder.
"""

import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import keras
import numpy as np
import tensorflow as tf
from numpy.typing import NDArray

from contract.classes import CLASS_COUNT
from training import networks
from training.data.manifest import LabelledImage
from training.data.pipeline import image_batches
from training.data.sampling import epoch_batches, epoch_size
from training.features import cached_views
from training.losses import supervised_contrastive_loss
from training.progress import track
from training.recipe import Step
from training.run import Progress, Run

VIEWS: Final = 2
PROJECTION, ENCODER, CLASSIFIER, DONE = 1, 2, 3, 4
BATCHES_BETWEEN_CHECKPOINTS: Final = 50


class FrozenEncoderError(AssertionError):
    """A step that must not touch the encoder changed it."""


@dataclass(frozen=True, slots=True)
class Split:
    """The images of one split: files and class indices."""

    paths: list[Path]
    labels: NDArray[np.int64]

    @classmethod
    def of(cls, images: Sequence[LabelledImage], split: str) -> "Split":
        """The images of ``split``."""
        chosen = [image for image in images if image.split == split]
        return cls([image.path for image in chosen], np.array([i.class_index for i in chosen], dtype=np.int64))


class Trainer:
    """Trains one HAL-C run, from wherever its checkpoint left it."""

    def __init__(self, run: Run, encoder: keras.Model) -> None:
        recipe = run.recipe
        self.run = run
        self.recipe = recipe
        self.train = Split.of(run.images, "train")
        self.validation = Split.of(run.images, "val")
        self.encoder = encoder
        dropout = recipe.projection_step.dropout
        self.projection_head = networks.build_projection_head(recipe.projection_units, dropout, recipe.seed)
        self.classifier_head = networks.build_classifier_head(recipe.classifier_step.dropout, recipe.seed + 2)
        (run.root / "initial_weights.sha256").write_text(networks.fingerprint(encoder) + "\n", encoding="utf-8")
        self.progress, self._stored = run.restore()
        self._assign("encoder", encoder.weights)
        self._assign("projection_head", _state(self.projection_head))
        self._assign("classifier_head", _state(self.classifier_head))

    def run_steps(self) -> None:
        """Train what is left of the three steps; the last checkpoint holds the result.

        Raises:
            FrozenEncoderError: step 1 or 3 changed the encoder.
        """
        steps: dict[int, Callable[[], None]] = {
            PROJECTION: self._projection_step,
            ENCODER: self._encoder_step,
            CLASSIFIER: self._classifier_step,
        }
        while self.progress.step < DONE:
            number = self.progress.step
            before = networks.fingerprint(self.encoder)
            steps[number]()
            if number != ENCODER and networks.fingerprint(self.encoder) != before:
                raise FrozenEncoderError(f"step {number} changed the encoder, which it must leave as it was")
            self._stored = {}
            self._checkpoint(Progress(number + 1), None)

    def _projection_step(self) -> None:
        self.run.say("Step 1: projection head on the frozen encoder")
        self._frozen_step(self.recipe.projection_step, self.projection_head, "projection")

    def _classifier_step(self) -> None:
        self.run.say("Step 3: classifier on the frozen encoder")
        self._frozen_step(self.recipe.classifier_step, self.classifier_head, "classifier")

    def _encoder_step(self) -> None:
        self.run.say("Step 2: projection head and encoder")
        step = self.recipe.encoder_step
        self.encoder.trainable = True
        network = networks.Network(self.encoder, self.projection_head, step.augmentation, self._seed(ENCODER))
        optimizer = self._optimizer(step, network.trainable_variables)
        self._restore_step(network, optimizer)

        @tf.function(autograph=False, reduce_retracing=True)
        def update(images: Any, labels: Any) -> Any:
            pixels = tf.repeat(tf.cast(images, tf.float32), VIEWS, axis=0)
            with tf.GradientTape() as tape:
                projections = tf.reshape(network(pixels, training=True), (-1, VIEWS, self.recipe.projection_units))
                loss = supervised_contrastive_loss(projections, labels, self.recipe.temperature)
                scaled = optimizer.scale_loss(loss)
            optimizer.apply(tape.gradient(scaled, network.trainable_variables), network.trainable_variables)
            return loss

        for epoch, batches, first in self._epochs(ENCODER, step):
            started, losses = time.monotonic(), []
            what = f"step 2, epoch {epoch + 1} of {step.epochs}"
            total, already = sum(map(len, batches)), sum(map(len, batches[:first]))
            with track(what, total, already) as advance:
                remaining = image_batches(self.train.paths, batches[first:])
                for number, (images, indices) in enumerate(remaining, start=first + 1):
                    losses.append(float(update(images, self.train.labels[indices.numpy()])))
                    advance(len(indices), f"loss {np.mean(losses[-20:]):.3f}")
                    if number % BATCHES_BETWEEN_CHECKPOINTS == 0 and number < len(batches):
                        self._checkpoint(Progress(ENCODER, epoch, number), network, optimizer)
            self._epoch_done(ENCODER, epoch, started, float(np.mean(losses)))
            self._checkpoint(Progress(ENCODER, epoch + 1), network, optimizer)

    def _frozen_step(self, step: Step, head: keras.Model, name: str) -> None:
        number = self.progress.step
        self.encoder.trainable = False
        contrastive = head is self.projection_head
        network = networks.Network(self.encoder, head, step.augmentation, self._seed(number))
        model = head if step.feature_views else network
        optimizer = self._optimizer(step, head.trainable_variables)
        self._restore_step(model, optimizer)
        validation = None if contrastive else self._views(name + "-validation", self.validation, None, 1)[:, 0]

        @tf.function(autograph=False, reduce_retracing=True)
        def update(inputs: Any, labels: Any) -> tuple[Any, Any]:
            with tf.GradientTape() as tape:
                outputs = model(inputs, training=True)
                if contrastive:
                    projections = tf.reshape(outputs, (-1, VIEWS, self.recipe.projection_units))
                    loss, hits = supervised_contrastive_loss(projections, labels, self.recipe.temperature), 0.0
                else:
                    loss, hits = _cross_entropy(labels, outputs), _accuracy(labels, outputs)
                scaled = optimizer.scale_loss(loss)
            optimizer.apply(tape.gradient(scaled, head.trainable_variables), head.trainable_variables)
            return loss, hits

        cached = None
        if step.feature_views:
            cached = self._views(name, self.train, step, step.feature_views)
        what = f"step {number}, {name} head"
        images = epoch_size(len(self.train.paths), step.batch_size, step.classes_per_batch)
        with track(what, step.epochs * images, self.progress.epoch * images) as advance:
            for epoch, batches, first in self._epochs(number, step):
                started, results = time.monotonic(), []
                for position, (inputs, indices) in enumerate(
                    self._inputs(cached, batches[first:], contrastive, epoch), start=first + 1
                ):
                    results.append([float(value) for value in update(inputs, self.train.labels[indices])])
                    advance(len(indices), f"epoch {epoch + 1} of {step.epochs}, loss {results[-1][0]:.3f}")
                    if cached is None and position % BATCHES_BETWEEN_CHECKPOINTS == 0 and position < len(batches):
                        self._checkpoint(Progress(number, epoch, position), model, optimizer)
                loss, accuracy = np.mean(results, axis=0).tolist()
                if contrastive:
                    self._epoch_done(number, epoch, started, loss)
                else:
                    logits = head(validation, training=False)
                    self._epoch_done(
                        number,
                        epoch,
                        started,
                        loss,
                        accuracy=accuracy,
                        val_loss=float(_cross_entropy(self.validation.labels, logits)),
                        val_accuracy=float(_accuracy(self.validation.labels, logits)),
                    )
                if cached is None or (epoch + 1) % 10 == 0:
                    self._checkpoint(Progress(number, epoch + 1), model, optimizer)

    def _inputs(
        self, cached: NDArray[np.float32] | None, batches: Sequence[NDArray[np.int64]], contrastive: bool, epoch: int
    ) -> Iterator[tuple[Any, NDArray[np.int64]]]:
        """Batches for a frozen step: pixels to be augmented and encoded, or features of cached views."""
        copies = VIEWS if contrastive else 1
        if cached is None:
            for images, indices in image_batches(self.train.paths, batches):
                yield tf.repeat(tf.cast(images, tf.float32), copies, axis=0), indices.numpy()
            return
        generator = np.random.default_rng((self.recipe.seed, self.progress.step, epoch))
        for indices in batches:
            order = generator.permuted(np.tile(np.arange(cached.shape[1]), (len(indices), 1)), axis=1)
            yield cached[np.repeat(indices, copies), order[:, :copies].ravel()], indices

    def _views(self, name: str, split: Split, step: Step | None, views: int) -> NDArray[np.float32]:
        augmentation = None if step is None else step.augmentation
        seed = self._seed(self.progress.step) + 100
        return cached_views(self.run, self.encoder, split.paths, augmentation, views, name, seed)

    def _epochs(self, number: int, step: Step) -> Iterator[tuple[int, list[NDArray[np.int64]], int]]:
        """Epoch, its batches, and the first batch that is not yet trained."""
        for epoch in range(self.progress.epoch, step.epochs):
            seed = (self.recipe.seed, number, epoch)
            batches = epoch_batches(self.train.labels, step.batch_size, step.classes_per_batch, seed)
            yield epoch, batches, self.progress.batch if epoch == self.progress.epoch else 0

    def _optimizer(self, step: Step, variables: Sequence[keras.Variable]) -> keras.optimizers.Optimizer:
        updates = step.epochs * -(-len(self.train.paths) // step.batch_size)
        optimizer = keras.optimizers.Adam(_learning_rate(step, updates))
        if self.recipe.precision == "mixed_float16":
            optimizer = keras.optimizers.LossScaleOptimizer(optimizer)
        optimizer.build(variables)
        return optimizer

    def _seed(self, number: int) -> int:
        return self.recipe.seed + 1000 * number

    def _checkpoint(
        self,
        progress: Progress,
        model: keras.Model | None,
        optimizer: keras.optimizers.Optimizer | None = None,
    ) -> None:
        groups = {
            "encoder": self.encoder.get_weights(),
            "projection_head": [variable.numpy() for variable in _state(self.projection_head)],
            "classifier_head": [variable.numpy() for variable in _state(self.classifier_head)],
        }
        if model is not None and optimizer is not None:
            groups["random"] = [variable.numpy() for variable in _random_state(model)]
            groups["optimizer"] = [variable.numpy() for variable in optimizer.variables]
        self.run.save(progress, groups)
        self.progress = progress

    def _restore_step(self, model: keras.Model, optimizer: keras.optimizers.Optimizer) -> None:
        self._assign("random", _random_state(model))
        self._assign("optimizer", optimizer.variables)

    def _assign(self, group: str, variables: Sequence[keras.Variable]) -> None:
        for variable, value in zip(variables, self._stored.get(group, ()), strict=False):
            variable.assign(value)

    def _epoch_done(self, number: int, epoch: int, started: float, loss: float, **figures: float) -> None:
        seconds = time.monotonic() - started
        self.run.record({"step": number, "epoch": epoch + 1, "loss": loss, "seconds": round(seconds, 1), **figures})
        if number == ENCODER or (epoch + 1) % 10 == 0:
            shown = ", ".join(f"{name.replace('_', ' ')} {value:.4f}" for name, value in figures.items())
            self.run.say(f"  epoch {epoch + 1}: loss {loss:.4f}{', ' + shown if shown else ''} ({seconds:.0f} s)")


def _state(head: keras.Model) -> list[keras.Variable]:
    """All that a head carries from one step to the next: weights and the state of its dropout."""
    return [*head.weights, *_random_state(head)]


def _random_state(model: keras.Model) -> list[keras.Variable]:
    """The states of the dropout and augmentation layers' random generators."""
    stateful = {id(variable) for variable in model.weights}
    return [variable for variable in model.variables if id(variable) not in stateful]


def _learning_rate(step: Step, updates: int) -> Any:
    warm_up = round(step.warm_up * updates)
    if step.decay == "cosine":
        return keras.optimizers.schedules.CosineDecay(
            0.0 if warm_up else step.learning_rate,
            max(updates - warm_up, 1),
            warmup_target=step.learning_rate if warm_up else None,
            warmup_steps=warm_up,
        )
    if warm_up:
        return keras.optimizers.schedules.PolynomialDecay(0.0, warm_up, step.learning_rate)
    return step.learning_rate


def _cross_entropy(labels: Any, logits: Any) -> Any:
    one_hot = tf.one_hot(labels, CLASS_COUNT)
    return tf.reduce_mean(tf.nn.softmax_cross_entropy_with_logits(one_hot, logits))


def _accuracy(labels: Any, logits: Any) -> Any:
    return tf.reduce_mean(tf.cast(tf.argmax(logits, axis=1) == tf.cast(labels, tf.int64), tf.float32))
