"""One optimiser update from one batch, the same whatever the micro-batch and the number of devices.

The supervised contrastive loss compares every view with every other, so it must see the whole batch at once; the
encoder need not. Gradient caching (Gao et al. 2021, "Scaling Deep Contrastive Learning Batch Size under Memory Limited
Setup", arXiv 2101.06983) embeds the batch in parts without keeping their activations, differentiates the loss by the
embeddings of all parts together, and then embeds each part again, with the same augmentation and dropout, to carry its
share of that derivative back to the weights. Accumulating the gradients of small batches is not the same: each part
would only see its own negatives.

Several devices share a batch in the same way: each embeds its part, all see the loss of the whole, and the gradients
are summed. A device for which no image is left embeds the last one again, which the loss does not see: its share of the
derivative is 0.
"""

from collections.abc import Callable, Sequence
from itertools import pairwise
from typing import Any, Final, Protocol

import keras
import numpy as np
import tensorflow as tf
from numpy.typing import NDArray

from contract.classes import CLASS_COUNT
from training.networks.losses import supervised_contrastive_loss

VIEWS: Final = 2


class Objective(Protocol):
    """A loss over a whole batch. ``copies``: rows of output for each image, side by side."""

    copies: int

    def __call__(self, outputs: Any, labels: Any) -> Any:
        """Scalar loss of outputs ``(images * copies, dimension)`` and labels ``(images,)``."""


class Contrastive:
    """Thesis Eq. 13 over two views of each image."""

    copies = VIEWS

    def __init__(self, temperature: float) -> None:
        self.temperature = temperature

    def __call__(self, outputs: Any, labels: Any) -> Any:
        """See :func:`training.networks.losses.supervised_contrastive_loss`."""
        projections = tf.reshape(outputs, (-1, self.copies, outputs.shape[-1]))
        return supervised_contrastive_loss(projections, labels, self.temperature)


class CrossEntropy:
    """Mean categorical cross-entropy of logits, in nats."""

    copies = 1

    def __call__(self, outputs: Any, labels: Any) -> Any:
        """Logits ``(images, 20)``, class indices ``(images,)``."""
        one_hot = tf.one_hot(labels, CLASS_COUNT)
        return tf.reduce_mean(tf.nn.softmax_cross_entropy_with_logits(one_hot, tf.cast(outputs, tf.float32)))


class Update:
    """Trains ``variables`` by one batch a call.

    Made and called in the scope of a ``tf.distribute`` strategy it spreads the batch over the strategy's devices.

    Args:
        model: inputs to outputs; called with ``training=True``.
        optimizer: built for ``variables``.
        micro_batch: images a device embeds at once; ``None`` for as many as the batch has.
    """

    def __init__(
        self,
        model: keras.Model,
        variables: Sequence[keras.Variable],
        optimizer: keras.optimizers.Optimizer,
        objective: Objective,
        micro_batch: int | None = None,
    ) -> None:
        self._model = model
        self._variables = list(variables)
        self._optimizer = optimizer
        self._objective = objective
        self._strategy = tf.distribute.get_strategy()
        self._devices = int(self._strategy.num_replicas_in_sync)
        self._micro_batch = micro_batch
        self._random_state = random_state(model)
        self._sums: list[Any] = []
        self._whole = _compiled(self._whole_batch)
        self._embed = _compiled(self._embed_part)
        self._carry_back = _compiled(self._carry_back_part)
        self._loss_and_derivative = _compiled(self._derivative)
        self._apply_sums = _compiled(self._apply_summed)

    def __call__(self, inputs: Any, labels: NDArray[np.int64]) -> tuple[float, NDArray[np.float32]]:
        """Train by one batch.

        Args:
            inputs: what the model takes, ``copies`` rows for each image. Shape: ``(images * copies, ...)``.
            labels: class indices. Shape: ``(images,)``.

        Returns:
            The loss, and the outputs it was computed from, shape ``(images * copies, dimension)``.
        """
        limit = self._devices * (self._micro_batch or len(labels))
        if len(labels) <= limit:
            filled, images = self._filled(inputs, len(labels), limit)
            loss, outputs = self._whole(self._spread(filled, images), tf.constant(labels))
        else:
            loss, outputs = self._accumulate(inputs, labels, limit)
            self._apply_sums()
        return float(self._one(loss)), np.asarray(self._one(outputs), np.float32)[: len(inputs)]

    def gradients(self, inputs: Any, labels: NDArray[np.int64]) -> tuple[float, list[NDArray[np.float32]]]:
        """Loss and gradient that :meth:`__call__` would apply, without applying it or spending random numbers."""
        before = [variable.numpy() for variable in self._random_state]
        loss = self._accumulate(inputs, labels, self._devices * (self._micro_batch or len(labels)))[0]
        for variable, value in zip(self._random_state, before, strict=True):
            variable.assign(value)
        # Read here, outside of a replica, a sum is that of all devices.
        return float(loss), [np.asarray(total.read_value()) for total in self._sums]

    def _accumulate(self, inputs: Any, labels: NDArray[np.int64], part: int) -> tuple[Any, Any]:
        """Loss and outputs of the whole batch; its gradient is left in ``_sums``."""
        self._make_sums()
        copies = self._objective.copies
        inputs, total = self._filled(inputs, len(labels), part)
        edges = [*range(0, total, part), total]
        parts = [(slice(start * copies, end * copies), end - start) for start, end in pairwise(edges)]
        states, outputs = [], []
        for chosen, images in parts:
            states.append([variable.numpy() for variable in self._random_state])
            outputs.append(self._gather(self._embed(self._spread(inputs[chosen], images))))
        every = tf.concat(outputs, axis=0)
        loss, derivative = self._loss_and_derivative(every, tf.constant(labels))
        for (chosen, images), state in zip(parts, states, strict=True):
            for variable, value in zip(self._random_state, state, strict=True):
                variable.assign(value)
            self._carry_back(self._spread(inputs[chosen], images), self._spread(derivative[chosen], images))
        return loss, every

    def _whole_batch(self, inputs: Any, labels: Any) -> Any:
        def on_device(inputs: Any, labels: Any) -> tuple[Any, Any]:
            with tf.GradientTape() as tape:
                outputs = self._model(inputs, training=True)
            every, offset = _gather_rows(outputs)
            loss, derivative = self._derivative(every, labels)
            own = derivative[offset : offset + tf.shape(outputs)[0]]
            self._apply(tape.gradient(outputs, self._trained, output_gradients=own))
            return loss, every

        return self._strategy.run(on_device, (inputs, labels))

    def _embed_part(self, inputs: Any) -> Any:
        return self._strategy.run(lambda rows: self._model(rows, training=True), (inputs,))

    def _carry_back_part(self, inputs: Any, derivative: Any) -> None:
        def on_device(inputs: Any, derivative: Any) -> None:
            with tf.GradientTape() as tape:
                outputs = self._model(inputs, training=True)
            gradients = tape.gradient(outputs, self._trained, output_gradients=derivative)
            for total, gradient in zip(self._sums, gradients, strict=True):
                total.assign_add(gradient)

        self._strategy.run(on_device, (inputs, derivative))

    def _apply_summed(self) -> None:
        self._strategy.run(lambda: self._apply([tf.identity(total) for total in self._sums]))

    def _derivative(self, outputs: Any, labels: Any) -> tuple[Any, Any]:
        """The loss of the labelled images, and its derivative by all outputs: 0 for those of :meth:`_filled`."""
        with tf.GradientTape() as tape:
            tape.watch(outputs)
            loss = self._objective(outputs[: tf.size(labels) * self._objective.copies], labels)
            scaled = self._optimizer.scale_loss(loss)
        return loss, tape.gradient(scaled, outputs)

    def _apply(self, gradients: Sequence[Any]) -> None:
        """Keras sums the gradients over the devices before it applies them."""
        self._optimizer.apply(gradients, self._variables)

    @property
    def _trained(self) -> list[Any]:
        return [variable.value for variable in self._variables]

    def _make_sums(self) -> None:
        """A gradient of every variable on every device, at 0."""
        if not self._sums:
            with self._strategy.scope():
                self._sums = [
                    tf.Variable(
                        tf.zeros(variable.shape),
                        trainable=False,
                        synchronization=tf.VariableSynchronization.ON_READ,
                        aggregation=tf.VariableAggregation.SUM,
                    )
                    for variable in self._variables
                ]
        for total in self._sums:
            total.assign(tf.zeros(total.shape))

    def _filled(self, inputs: Any, images: int, part: int) -> tuple[Any, int]:
        """Inputs, and of how many images: at least one for each device in the last part, or it could not convolve."""
        missing = max(self._devices - ((images - 1) % part + 1), 0)
        if not missing:
            return inputs, images
        again = tf.repeat(inputs[-1:], missing * self._objective.copies, axis=0)
        return tf.concat([inputs, again], axis=0), images + missing

    def _spread(self, rows: Any, images: int) -> Any:
        """Rows to devices, in their order, the rows of an image together."""
        if self._devices == 1:
            return rows
        per_image = len(rows) // images
        edges = [images * device // self._devices * per_image for device in range(self._devices + 1)]
        return self._strategy.experimental_distribute_values_from_function(
            lambda context: rows[edges[context.replica_id_in_sync_group] : edges[context.replica_id_in_sync_group + 1]]
        )

    def _gather(self, rows: Any) -> Any:
        return rows if self._devices == 1 else self._strategy.gather(rows, axis=0)

    def _one(self, values: Any) -> Any:
        """The first device's of values that are the same on all."""
        return self._strategy.experimental_local_results(values)[0]


def random_state(model: keras.Model) -> list[keras.Variable]:
    """The states of the random generators of a model's dropout and augmentation layers."""
    weights = {id(variable) for variable in model.weights}
    return [variable for variable in model.variables if id(variable) not in weights]


def _compiled(function: Callable[..., Any]) -> Any:
    return tf.function(function, autograph=False, reduce_retracing=True)


def _gather_rows(rows: Any) -> tuple[Any, Any]:
    """All devices' rows in the order of the devices, and where this device's begin."""
    context = tf.distribute.get_replica_context()
    if context.num_replicas_in_sync == 1:
        return rows, 0
    rows = tf.identity(rows)  # on this device: a function's argument is on none
    sizes = context.all_gather(tf.shape(rows)[:1], axis=0)
    own = context.replica_id_in_sync_group
    every = tf.ensure_shape(context.all_gather(rows, axis=0), [None, *rows.shape[1:]])
    return every, tf.reduce_sum(sizes[:own])
