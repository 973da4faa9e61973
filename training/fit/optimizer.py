"""Adam as a stage wants it: its learning rate may rise at first and fall to the end."""

from collections.abc import Sequence
from typing import Any

import keras

from training.recipe import Stage


def adam(stage: Stage, images: int, variables: Sequence[keras.Variable], *, scaled: bool) -> keras.optimizers.Optimizer:
    """The optimizer of a stage, built for the variables that learn.

    ``scaled`` multiplies the loss, without which gradients vanish in float16.
    """
    updates = stage.epochs * -(-images // stage.batch_size)
    optimizer = keras.optimizers.Adam(learning_rate(stage, updates))
    if scaled:
        optimizer = keras.optimizers.LossScaleOptimizer(optimizer)
    optimizer.build(variables)
    return optimizer


def learning_rate(stage: Stage, updates: int) -> Any:
    """The stage's learning rate, a number or Keras' schedule of it, over so many updates.

    It rises linearly over ``warm_up`` of them and falls by a cosine over the rest, where the stage says so.
    """
    warm_up = round(stage.warm_up * updates)
    if stage.decay == "cosine":
        return keras.optimizers.schedules.CosineDecay(
            0.0 if warm_up else stage.learning_rate,
            max(updates - warm_up, 1),
            warmup_target=stage.learning_rate if warm_up else None,
            warmup_steps=warm_up,
        )
    if warm_up:
        return keras.optimizers.schedules.PolynomialDecay(0.0, warm_up, stage.learning_rate)
    return stage.learning_rate
