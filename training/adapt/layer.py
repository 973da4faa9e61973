"""A bundle's last layer, fitted again on a laboratory's cells by logistic regression towards the shipped one.

With weights ``w_i`` that give each class the same share, a change ``D`` of the layer minimises

    sum_i w_i (-log softmax(logits_i + x_i D)[label_i]) + penalty / 2 ||D||^2

over the embeddings ``x_i``, a 1 appended for the bias. The classes that a laboratory has no cell of are held by
*anchors*: the bundle's mean embedding of each class, which together weigh as much as the cells. Without them, every
cell would teach that the other classes do not occur.
"""

import warnings
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import minimize
from sklearn.model_selection import StratifiedGroupKFold

from contract.parts import EMBEDDING_SIZE
from training.evaluation.calibration import best_temperature
from training.export.novelty import balanced

PENALTIES: Final = tuple(float(10.0**-half) for half in np.arange(0.0, 4.5, 0.5))
"""From strong to weak; what comes before is no change at all."""
DEFAULT_PENALTY: Final = 1e-3
"""Where cells of held-out slides do not tell another to be better by more than chance, or all are of one slide: on 3 to
30 cells a class of Raabin-WBC it is within 0.03 of the best in mean recall on other smears."""
FOLDS: Final = 5
ITERATIONS: Final = 300


@dataclass(frozen=True, slots=True)
class LastLayer:
    """Embeddings ``(n, 2048)`` to logits ``(n, 20)``: ``embeddings @ weights + bias``."""

    weights: NDArray[np.float64]
    bias: NDArray[np.float64]

    def logits(self, embeddings: NDArray[Any]) -> NDArray[np.float64]:
        """Shape: ``(n, 20)``."""
        return np.asarray(embeddings, np.float64) @ self.weights + self.bias

    def moved(self, change: NDArray[np.float64]) -> "LastLayer":
        """By a change of the weights, whose last row is that of the bias. Shape: ``(2049, 20)``."""
        return LastLayer(self.weights + change[:-1], self.bias + change[-1])


@dataclass(frozen=True, slots=True)
class Cells:
    """Labelled cells as the frozen encoder sees them.

    Attributes:
        features: the embedding, l2-normalised, and what the network gives behind it. Shape: ``(n, 2048)`` or more.
        labels: class indices. Shape: ``(n,)``.
        slides: a number that cells share which must stay together. Shape: ``(n,)``.
    """

    features: NDArray[np.float32]
    labels: NDArray[np.int64]
    slides: NDArray[np.int64]

    def __len__(self) -> int:
        return len(self.labels)

    @property
    def embeddings(self) -> NDArray[np.float32]:
        """Shape: ``(n, 2048)``."""
        return self.features[:, :EMBEDDING_SIZE]

    def of(self, chosen: NDArray[Any]) -> "Cells":
        """Some of them, by a mask or by positions."""
        return Cells(self.features[chosen], self.labels[chosen], self.slides[chosen])


@dataclass(frozen=True, slots=True)
class Choice:
    """The penalty that tells held-out slides best.

    Attributes:
        penalty: infinite where every change of the layer is worse than none.
        held_out: logits of each cell by a layer that has seen no cell of its slide. Shape: ``(n, 20)``.
        folds: when each cell was held out. Shape: ``(n,)``.
    """

    penalty: float
    held_out: NDArray[np.float32]
    folds: NDArray[np.int64]


def solver(
    layer: LastLayer, cells: Cells, anchors: Cells, suppressed: NDArray[np.bool_]
) -> Callable[[float], NDArray[np.float64]]:
    """What fits the change of a layer for one penalty after the other, each beginning where the last one ended.

    Args:
        layer: the shipped one.
        cells: of the laboratory; none of a suppressed class.
        anchors: see the module; may be none.
        suppressed: classes that are never answered. Shape: ``(20,)``.

    Returns:
        Penalty to change. Shape: ``(2049, 20)``.
    """
    embeddings = np.concatenate([cells.embeddings, anchors.embeddings]).astype(np.float64)
    labels = np.concatenate([cells.labels, anchors.labels])
    weights = np.concatenate([balanced(cells.labels), balanced(anchors.labels)])[:, np.newaxis]
    shipped = np.where(suppressed, -np.inf, layer.logits(embeddings))
    target = np.eye(len(suppressed))[labels]
    features = np.column_stack([embeddings, np.ones(len(labels))])
    # The change lies in the span of the features: few cells, few unknowns.
    left, lengths, right = np.linalg.svd(features, full_matrices=False)
    kept = lengths > lengths[0] * 1e-6
    reduced, basis = left[:, kept] * lengths[kept], right[kept].T
    found = np.zeros((reduced.shape[1], len(suppressed)))

    def loss(flat: NDArray[np.float64], penalty: float) -> tuple[float, NDArray[np.float64]]:
        change = flat.reshape(found.shape)
        logits = shipped + reduced @ change
        logits -= logits.max(axis=1, keepdims=True)
        exponentials = np.exp(logits)
        sums = exponentials.sum(axis=1, keepdims=True)
        errors = np.log(sums) - logits[np.arange(len(labels)), labels, np.newaxis]
        slope = reduced.T @ (weights * (exponentials / sums - target)) + penalty * change
        return float((weights * errors).sum() + penalty / 2 * (change**2).sum()), slope.ravel()

    def solve(penalty: float) -> NDArray[np.float64]:
        nonlocal found
        options = {"maxiter": ITERATIONS}
        result = minimize(loss, found.ravel(), (penalty,), jac=True, method="L-BFGS-B", options=options)
        found = result.x.reshape(found.shape)
        return np.asarray(basis @ found)

    return solve


def choose_penalty(
    layer: LastLayer, cells: Cells, anchors: Cells, suppressed: NDArray[np.bool_], seed: int
) -> Choice | None:
    """Cross-validation over slides, none of which is ever on both sides; the loss is that of all classes alike.

    The best penalty counts where it is better than the default one by more than a standard error over slides. ``None``
    where all cells are of one slide.
    """
    count = min(FOLDS, len(np.unique(cells.slides)))
    if count < 2:
        return None
    # Not by class where no class has a cell for every fold, which the splitter refuses.
    strata = cells.labels if np.bincount(cells.labels).max() >= count else np.zeros_like(cells.labels)
    splitter = StratifiedGroupKFold(count, shuffle=True, random_state=seed)
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "The least populated class", UserWarning)
        held = [there for _, there in splitter.split(strata, strata, cells.slides)]
    folds = np.zeros(len(cells), np.int64)
    for fold, positions in enumerate(held):
        folds[positions] = fold
    solvers = [solver(layer, cells.of(folds != fold), anchors, suppressed) for fold in range(count)]
    tried = {float("inf"): layer.logits(cells.embeddings)}
    for penalty in PENALTIES:
        tried[penalty] = np.empty_like(tried[float("inf")])
        for fold, solve in enumerate(solvers):
            there = folds == fold
            tried[penalty][there] = layer.moved(solve(penalty)).logits(cells.embeddings[there])
    errors = {penalty: balanced_errors(logits, cells.labels, suppressed) for penalty, logits in tried.items()}
    best = min(errors, key=lambda penalty: float(errors[penalty].sum()))
    _, slides = np.unique(cells.slides, return_inverse=True)
    worse = np.bincount(slides, errors[DEFAULT_PENALTY] - errors[best])
    if worse.sum() <= np.sqrt((worse**2).sum()):
        best = DEFAULT_PENALTY
    return Choice(best, tried[best].astype(np.float32), folds)


def balanced_errors(
    logits: NDArray[np.float64], labels: NDArray[np.int64], suppressed: NDArray[np.bool_]
) -> NDArray[np.float64]:
    """The share of each cell in the cross-entropy, every class with the same weight, at the best temperature.

    A temperature is fitted to the held-out cells anyhow, so that a layer is not to be judged by its scale.
    """
    kept = np.where(suppressed, -np.inf, logits)
    kept = kept - kept.max(axis=1, keepdims=True)
    weights, rows = balanced(labels), np.arange(len(labels))

    def errors(temperature: float) -> NDArray[np.float64]:
        scaled = kept / temperature
        return np.asarray(weights * (np.log(np.exp(scaled).sum(axis=1)) - scaled[rows, labels]))

    return errors(best_temperature(lambda temperature: float(errors(temperature).sum())))
