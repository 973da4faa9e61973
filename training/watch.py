"""What is watched while a network learns: loss, accuracy, the spread of its projections, and recall by class."""

from collections import deque
from collections.abc import Sequence
from typing import Final

import numpy as np
from numpy.typing import NDArray

from training.embedding_health import class_mean_accuracy, embedding_health, refuse_collapse, spread
from training.errors import TrainingError
from training.losses import supervised_contrastive_loss
from training.recipe import Recipe, Stage
from training.update import CrossEntropy

COLLAPSE_WINDOW: Final = 50
"""Batches over which loss and spread are averaged before a collapse is believed: a new head may begin close to one."""
MOST_COMPARED: Final = 2000
"""Validation images compared with each other in a contrastive stage; the comparison grows with their square."""


class DivergedError(TrainingError):
    """The loss is not a number any more."""


class Meter:
    """Adds up an epoch's loss and figures batch by batch, and watches for a collapse."""

    def __init__(self, stage: Stage, stored: Sequence[NDArray[np.float64]] | None) -> None:
        self._stage = stage
        self._rows: list[list[float]] = stored[0].tolist() if stored else []
        self._recent: deque[tuple[float, float, int]] = deque(maxlen=COLLAPSE_WINDOW)

    def add(self, loss: float, outputs: NDArray[np.float32], labels: NDArray[np.int64]) -> None:
        """A batch's loss, outputs ``(images * copies, dimension)`` and class indices ``(images,)``.

        Raises:
            DivergedError: the loss is not a number.
            CollapseError: the projections of the last batches lie on one point.
        """
        if not np.isfinite(loss):
            raise DivergedError(
                f"stage {self._stage.name}: the loss is {loss}; lower {self._stage.name}.learning_rate, or use float32"
            )
        hits = outputs.argmax(axis=1) == labels if not self._stage.contrastive else ()
        second = spread(outputs) if self._stage.contrastive else float(np.mean(hits))
        self._rows.append([len(labels), loss, second])
        self._recent.append((loss, second, len(outputs)))
        if self._stage.contrastive and len(self._recent) == COLLAPSE_WINDOW:
            losses, spreads, views = np.array(self._recent).T
            refuse_collapse(float(losses.mean()), float(spreads.mean()), int(np.median(views)), self._stage.name)

    @property
    def recent_loss(self) -> float:
        """Mean of the last batches."""
        return float(np.mean([loss for loss, _, _ in self._recent]))

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

    In a contrastive stage the loss is that of single views, and accuracy and recall are those of the nearest class
    mean; there is no classifier yet.

    Args:
        stage: the stage under way.
        outputs: projections or logits. Shape: ``(n, dimension)``.
        labels: class indices. Shape: ``(n,)``.
        recipe: its temperature and seed.
    """
    if not stage.contrastive:
        hits = outputs.argmax(axis=1) == labels
        recall = {int(c): float(hits[labels == c].mean()) for c in np.unique(labels)}
        return {"val_loss": float(CrossEntropy()(outputs, labels)), "val_accuracy": float(hits.mean())}, recall
    order = np.random.default_rng(recipe.seed).permutation(len(labels))[:MOST_COMPARED]
    projections, labels = outputs[order], labels[order]
    health = embedding_health(projections, labels)
    accuracy, found = class_mean_accuracy(projections, labels)
    figures = {
        "val_loss": float(supervised_contrastive_loss(projections[:, None], labels, recipe.temperature)),
        "val_accuracy": accuracy,
        "spread": health.spread,
        "alignment": health.alignment,
        "uniformity": health.uniformity,
    }
    return figures, {c: hits / images for c, (hits, images) in found.items()}
