"""Trains a run stage by stage, from wherever its checkpoint left it.

HAL-C has three stages (thesis section 4.3.3 and Figure 4.1): the projection head learns on the frozen encoder, a start
from which the next stage does not collapse to one point; projection head and encoder learn together by the supervised
contrastive loss; the projection head is thrown away and a classifier learns by cross-entropy on the frozen encoder.
HAL-T has two (section 4.2.3): the top layer learns on the frozen encoder, then both are fine-tuned. HAL-R has one.
"""

import contextlib
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import keras
import numpy as np
import tensorflow as tf
from numpy.typing import NDArray

from contract.classes import CLASS_NAMES
from contract.files import write_text
from contract.parts import IMAGE_SIDE
from training.data.manifest import LabelledImage
from training.data.pipeline import image_batches, unreadable_named
from training.data.sampling import epoch_batches, epoch_size
from training.errors import MemoryShortError
from training.fit.features import cached_views, encode
from training.fit.optimizer import adam
from training.fit.run import Progress, Run
from training.fit.update import Contrastive, CrossEntropy, Update, random_state
from training.fit.watch import Meter, stopped_improving, validation_figures
from training.networks import xception as networks
from training.progress import track
from training.recipe import Stage

BATCHES_BETWEEN_CHECKPOINTS: Final = 50
EPOCHS_BETWEEN_CHECKPOINTS: Final = 10
"""Of a stage on cached features, whose epochs take a second."""


class FrozenEncoderError(AssertionError):
    """A stage that must not touch the encoder changed it."""


@dataclass(frozen=True, slots=True)
class LabelledFiles:
    """Images to train on or to validate with: files and class indices."""

    paths: list[Path]
    labels: NDArray[np.int64]

    @classmethod
    def of(cls, images: Sequence[LabelledImage], splits: Sequence[str]) -> "LabelledFiles":
        chosen = [image for image in images if image.split in splits]
        return cls([image.path for image in chosen], np.array([i.class_index for i in chosen], dtype=np.int64))


class Trainer:
    """Trains one run, from its checkpoint to its end.

    To be made in the scope of a ``tf.distribute`` strategy, as ``encoder`` was, if several devices are to share it.
    """

    def __init__(self, run: Run, encoder: keras.Model) -> None:
        recipe = run.recipe
        self.run = run
        self.recipe = recipe
        self.train = LabelledFiles.of(run.images, recipe.train_splits)
        self.validation = LabelledFiles.of(run.images, ("val",))
        self.encoder = encoder
        self.heads: dict[str, keras.Model] = {}
        if (projection := recipe.projection_head) is not None:
            self.heads["projection"] = networks.build_projection_head(projection.units, projection.dropout, recipe.seed)
        classifier = recipe.classifier_head
        self.heads["classifier"] = networks.build_classifier_head(
            classifier.dropout, recipe.seed + 2, classifier.normalised
        )
        self.progress, self._stored = run.restore()
        self._losses: list[float] = []
        self._assign("encoder", encoder.weights)
        for name, head in self.heads.items():
            self._assign(f"{name}_head", _state(head))
        self._board: Any = None
        with self._without_board_if_unwritable():
            self._board = tf.summary.create_file_writer(str(run.root / "tensorboard"))
        if not self._stored:
            write_text(run.root / "initial_weights.sha256", networks.fingerprint(encoder) + "\n")
            self._checkpoint(self.progress)

    def run_stages(self) -> None:
        """Train what is left; the last checkpoint holds the result.

        Raises:
            CollapseError: a contrastive stage fell on one point.
            UnreadableImageError: an image broke since the training began.
            MemoryShortError: the batch does not fit a device.
            RunError: a file of the run cannot be written.
            FrozenEncoderError: a stage changed an encoder that it must leave as it was.
        """
        while self.progress.stage < len(self.recipe.stages):
            number = self.progress.stage
            stage = self.recipe.stages[number]
            self.run.say(f"Stage {number + 1} of {len(self.recipe.stages)}, {stage.name}: {_what_learns(stage)}")
            before = networks.fingerprint(self.encoder)
            try:
                with unreadable_named():
                    self._train_stage(stage)
            except tf.errors.ResourceExhaustedError as error:
                raise MemoryShortError(
                    f"stage {stage.name}: no memory for {stage.micro_batch or stage.batch_size} images at once; "
                    f"go on with a smaller {stage.name}.micro_batch, whose gradients are those of the whole batch: "
                    f"hal train --resume {self.run.root} --set {stage.name}.micro_batch=8 ({_first_line(error)})"
                ) from error
            if not stage.trains_encoder and networks.fingerprint(self.encoder) != before:
                raise FrozenEncoderError(f"stage {stage.name} changed the encoder, which it must leave as it was")
            self._stored = {}
            self._checkpoint(Progress(number + 1))

    def _train_stage(self, stage: Stage) -> None:
        head = self.heads[stage.head]
        networks.set_trainable(self.encoder, stage.trains_encoder, stage.frozen_blocks)
        network = networks.TrainingNetwork(
            self.encoder, head, stage.augmentation, self._seed(), stage.live_batch_normalisation, stage.image_side
        )
        model = head if stage.feature_views else network
        trained = network.trainable_variables if stage.trains_encoder else head.trainable_variables
        optimizer = adam(stage, len(self.train.paths), trained, scaled=self.recipe.precision == "mixed_float16")
        self._assign("random", random_state(model))
        self._assign("optimizer", optimizer.variables)
        objective = Contrastive(self.recipe.temperature) if stage.contrastive else CrossEntropy()
        update = Update(model, trained, optimizer, objective, stage.micro_batch)
        views = self._views(stage.name, self.train, stage, stage.feature_views) if stage.feature_views else None
        meter = Meter(stage, self._stored.get("meter"))
        self._losses = [float(loss) for each in self._stored.get("losses", ()) for loss in each]
        images = epoch_size(len(self.train.paths), stage.batch_size, stage.classes_per_batch)
        already = self.progress.epoch * images + self.progress.batch * stage.batch_size

        with track(f"stage {stage.name}", stage.epochs * images, already) as advance:
            for epoch in range(self.progress.epoch, stage.epochs):
                if stage.patience and stopped_improving(self._losses, stage.patience):
                    self.run.say(f"  the loss has not improved in {stage.patience} epochs: stage {stage.name} ends")
                    break
                seed = (self.recipe.seed, self.progress.stage + 1, epoch)
                batches = epoch_batches(self.train.labels, stage.batch_size, stage.classes_per_batch, seed)
                first = self.progress.batch if epoch == self.progress.epoch else 0
                started = time.monotonic()
                remaining = self._inputs(views, batches[first:], seed, objective.copies)
                for number, (inputs, indices) in enumerate(remaining, start=first + 1):
                    labels = self.train.labels[indices]
                    meter.add(*update(inputs, labels), labels)
                    meter.refuse_collapse(lambda rows: model(rows, training=False), inputs)
                    advance(len(indices), f"epoch {epoch + 1} of {stage.epochs}, loss {meter.recent_loss:.3f}")
                    if views is None and number % BATCHES_BETWEEN_CHECKPOINTS == 0 and number < len(batches):
                        self._checkpoint(Progress(self.progress.stage, epoch, number), model, optimizer, meter.state)
                figures = meter.end_epoch()
                self._losses.append(figures["loss"])
                figures |= self._validate(stage, epoch)
                self._epoch_done(stage, epoch, time.monotonic() - started, figures)
                if views is None or (epoch + 1) % EPOCHS_BETWEEN_CHECKPOINTS == 0:
                    self._checkpoint(Progress(self.progress.stage, epoch + 1), model, optimizer)

    def _inputs(
        self,
        views: NDArray[np.float32] | None,
        batches: Sequence[NDArray[np.int64]],
        seed: tuple[int, ...],
        copies: int,
    ) -> Iterator[tuple[Any, NDArray[np.int64]]]:
        """Batches of pixels to be augmented and encoded, or of cached features; ``copies`` rows for each image."""
        if views is None:
            for images, indices in image_batches(self.train.paths, batches):
                yield tf.repeat(images, copies, axis=0), indices.numpy()
            return
        generator = np.random.default_rng(seed)
        for indices in batches:
            order = generator.permuted(np.tile(np.arange(views.shape[1]), (len(indices), 1)), axis=1)
            yield views[np.repeat(indices, copies), order[:, :copies].ravel()], indices

    def _validate(self, stage: Stage, epoch: int) -> dict[str, float]:
        """Figures of the validation images after an epoch, none of them augmented."""
        if len(self.validation.labels) == 0 or self.recipe.trains_on_validation:
            return {}
        if stage.trains_encoder:
            features = encode(self.encoder, self.validation.paths, None, "  validation")
        else:
            features = self._views(stage.name + "-validation", self.validation, None, 1)[:, 0]
        outputs = np.asarray(self.heads[stage.head](features, training=False), np.float32)
        figures, recall = validation_figures(stage, outputs, self.validation.labels, self.recipe)
        self.run.record_recall(stage.name, epoch + 1, {CLASS_NAMES[c]: value for c, value in recall.items()})
        return figures

    def _views(self, name: str, files: LabelledFiles, stage: Stage | None, views: int) -> NDArray[np.float32]:
        augmentation = None if stage is None else stage.augmentation
        side = IMAGE_SIDE if stage is None else stage.image_side
        return cached_views(self.run, self.encoder, files.paths, augmentation, views, name, self._seed() + 100, side)

    def _seed(self) -> int:
        return self.recipe.seed + 1000 * (self.progress.stage + 1)

    def _checkpoint(
        self,
        progress: Progress,
        model: keras.Model | None = None,
        optimizer: keras.optimizers.Optimizer | None = None,
        meter: NDArray[np.float64] | None = None,
    ) -> None:
        groups = {"encoder": self.encoder.get_weights()}
        groups |= {f"{name}_head": [each.numpy() for each in _state(head)] for name, head in self.heads.items()}
        if model is not None and optimizer is not None:
            groups["random"] = [variable.numpy() for variable in random_state(model)]
            groups["optimizer"] = [variable.numpy() for variable in optimizer.variables]
            groups["losses"] = [np.array(self._losses)]
        if meter is not None:
            groups["meter"] = [meter]
        self.run.save(progress, groups)
        self.progress = progress

    def _assign(self, group: str, variables: Sequence[keras.Variable]) -> None:
        for variable, value in zip(variables, self._stored.get(group, ()), strict=False):
            variable.assign(value)

    @contextlib.contextmanager
    def _without_board_if_unwritable(self) -> Iterator[None]:
        try:
            yield
        except tf.errors.OpError as error:
            self._board = None
            self.run.say(f"  TensorBoard's files cannot be written ({_first_line(error)}); training goes on without")

    def _epoch_done(self, stage: Stage, epoch: int, seconds: float, figures: Mapping[str, float]) -> None:
        self.run.record({"stage": stage.name, "epoch": epoch + 1, **figures, "seconds": round(seconds, 1)})
        if self._board is not None:
            with self._without_board_if_unwritable(), self._board.as_default(step=epoch + 1):
                for name, value in figures.items():
                    tf.summary.scalar(f"{stage.name}/{name}", value)
                self._board.flush()
        if not stage.feature_views or (epoch + 1) % EPOCHS_BETWEEN_CHECKPOINTS == 0 or epoch + 1 == stage.epochs:
            shown = ", ".join(f"{name.replace('_', ' ')} {value:.4f}" for name, value in figures.items())
            self.run.say(f"  epoch {epoch + 1}: {shown} ({seconds:.0f} s)")


def _state(head: keras.Model) -> list[keras.Variable]:
    """All that a head carries from one stage to the next: weights and the state of its dropout."""
    return [*head.weights, *random_state(head)]


def _first_line(error: Any) -> str:
    return str(error.message.splitlines()[0])


def _what_learns(stage: Stage) -> str:
    learning = f"{stage.head} head" + (" and encoder" if stage.trains_encoder else " on the frozen encoder")
    return f"{learning}, {stage.epochs} epochs in batches of {stage.batch_size}"
