"""What is watched while a network learns: loss, accuracy, the health of its projections, and recall by class."""

from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import asdict
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from training.errors import TrainingError
from training.fit.embedding_health import (
    class_mean_accuracy,
    embedding_health,
    is_loss_of_one_point,
    loss_of_one_point,
    refuse_collapse,
    spread,
)
from training.fit.update import CrossEntropy
from training.networks.losses import supervised_contrastive_loss
from training.recipe import Recipe, Stage

COLLAPSE_WINDOW: Final = 50
"""Batches between two looks at whether their mean loss is that of a single point."""
LOOKED_AT: Final = 32
"""Rows of a batch of which the spread is taken, at most."""
MOST_COMPARED: Final = 2000
"""Validation images compared with each other in a contrastive stage; the comparison grows with their square."""


class DivergedError(TrainingError):
    """The loss is not a number any more."""


class Meter:
    """Adds up an epoch's loss and figures batch by batch, and watches for a collapse."""

    def __init__(self, stage: Stage, stored: Sequence[NDArray[np.float64]] | None) -> None:
        self._stage = stage
        self._rows: list[list[float]] = stored[0].tolist() if stored else []
        self._recent: deque[tuple[float, int]] = deque(maxlen=COLLAPSE_WINDOW)
        self._batches = 0

    def add(self, loss: float, outputs: NDArray[np.float32], labels: NDArray[np.int64]) -> None:
        """A batch's loss, outputs ``(images * copies, dimension)`` and class indices ``(images,)``.

        Raises:
            DivergedError: the loss is not a number.
        """
        if not np.isfinite(loss):
            raise DivergedError(
                f"stage {self._stage.name}: the loss is {loss}; lower {self._stage.name}.learning_rate, or use float32"
            )
        accuracy = np.nan if self._stage.contrastive else float(np.mean(outputs.argmax(axis=1) == labels))
        self._rows.append([len(labels), loss, accuracy])
        self._recent.append((loss, len(outputs)))
        self._batches += 1

    def refuse_collapse(self, project: Callable[[Any], Any], inputs: Any) -> None:
        """Look, once in :data:`COLLAPSE_WINDOW` batches, whether all projections lie on one point.

        Only where the loss of these batches was that of a single point does ``project`` compute the last batch's
        projections, without dropout or augmentation.

        Raises:
            CollapseError: they do.
        """
        if not self._stage.contrastive or self._batches % COLLAPSE_WINDOW:
            return
        loss, views = self._recent_loss_at_full_size()
        if is_loss_of_one_point(loss, views):
            rows = inputs[:: -(-len(inputs) // LOOKED_AT)]
            refuse_collapse(loss, spread(np.asarray(project(rows), np.float32)), views, self._stage.name)

    def _recent_loss_at_full_size(self) -> tuple[float, int]:
        """Recent loss as if all batches, the last of an epoch too, had as many views as most of them."""
        losses, sizes = np.array(self._recent).T
        views = int(np.median(sizes))
        excess = np.mean([loss - loss_of_one_point(int(size)) for loss, size in zip(losses, sizes, strict=True)])
        return loss_of_one_point(views) + float(excess), views

    @property
    def recent_loss(self) -> float:
        return float(np.mean([loss for loss, _ in self._recent]))

    @property
    def state(self) -> NDArray[np.float64]:
        """What a checkpoint keeps of the epoch under way."""
        return np.array(self._rows)

    def end_epoch(self) -> dict[str, float]:
        """The epoch's means over images, and start again."""
        rows = np.array(self._rows)
        self._rows = []
        figures = {"loss": float(np.average(rows[:, 1], weights=rows[:, 0]))}
        if not self._stage.contrastive:
            figures["accuracy"] = float(np.average(rows[:, 2], weights=rows[:, 0]))
        return figures


def stopped_improving(losses: Sequence[float], patience: int) -> bool:
    """Whether the last ``patience`` epochs brought no loss below the best one before them."""
    return len(losses) > patience and min(losses[-patience:]) >= min(losses[:-patience])


def validation_figures(
    stage: Stage, outputs: NDArray[np.float32], labels: NDArray[np.int64], recipe: Recipe
) -> tuple[dict[str, float], dict[int, float]]:
    """Figures of validation images after an epoch, by the names of ``history.csv``, and recall by class index.

    In a contrastive stage ``outputs`` are projections, the loss is that of single views, and accuracy and recall are
    those of the nearest class mean; there is no classifier yet.
    """
    if not stage.contrastive:
        hits = outputs.argmax(axis=1) == labels
        recall = {int(c): float(hits[labels == c].mean()) for c in np.unique(labels)}
        return {"val_loss": float(CrossEntropy()(outputs, labels)), "val_accuracy": float(hits.mean())}, recall
    order = np.random.default_rng(recipe.seed).permutation(len(labels))[:MOST_COMPARED]
    projections, labels = outputs[order], labels[order]
    accuracy, found = class_mean_accuracy(projections, labels)
    figures = {
        "val_loss": float(supervised_contrastive_loss(projections[:, None], labels, recipe.temperature)),
        "val_accuracy": accuracy,
        **asdict(embedding_health(projections, labels)),
    }
    return figures, {c: hits / images for c, (hits, images) in found.items()}
