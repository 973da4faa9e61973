"""Temperature, policy and novelty of an adapted bundle, fitted on slides that the layers have not seen."""

from dataclasses import replace
from pathlib import Path
from typing import Final

import numpy as np
from numpy.typing import NDArray

from contract.bundle import sha256_of
from contract.classes import HAIRY_CELL
from contract.decision import calibrated_probabilities
from contract.description import BundleDescription, Calibration, DecisionPolicy, Evidence
from contract.novelty import NoveltyBasis
from contract.parts import Novelty
from training.adapt.layer import Cells, Choice
from training.evaluation.calibration import best_temperature, negative_log_likelihood
from training.evaluation.policy import PolicyError, confident_from, false_flags, hairy_threshold
from training.evaluation.results import Evaluation
from training.export.novelty import FAMILIAR_RATE, FILE_NAME, write_basis

HELD_OUT: Final = "held-out cells of the laboratory, each by a layer that has seen no cell of its slide"
SPREAD_OF_TEMPERATURES: Final = 0.5
"""Standard deviation, in natural logarithms, of what is believed about the temperature before the cells are seen: a
dozen cells that are all named rightly would otherwise ask for one near 0."""
FEWEST_HAIRY: Final = 10
"""Held-out hairy cells with which the threshold of the flag is chosen anew."""
FEWEST_CELLS: Final = 200
"""Held-out cells with which less may be reviewed than by the parent's policy."""
MORE_COMPONENTS: Final = 16
"""Directions in which a laboratory's cells may lie outside of the parent's subspace."""


def refit_novelty(
    basis: NoveltyBasis, before: Novelty, cells: Cells, choice: Choice | None, folder: Path
) -> tuple[Novelty, NoveltyBasis, NDArray[np.float32]]:
    """Make a laboratory's cells familiar: more components, and a threshold that 98 % of its held-out cells keep.

    The threshold is never below the parent's and distances only shrink with more components, so that no image that was
    familiar becomes unfamiliar. ``choice`` says which cells were held out together; ``None`` where none were.

    Returns:
        The part of ``bundle.json``, the basis, and the score of each cell while it was held out. Shape: ``(n,)``.
    """
    extended = _extended(basis, cells.features)
    count, threshold = len(cells), basis.threshold
    distances = extended.scores(cells.features)
    if choice is not None:
        for fold in np.unique(choice.folds):
            there = choice.folds == fold
            distances[there] = _extended(basis, cells.features[~there]).scores(cells.features[there])
        threshold = max(threshold, float(np.quantile(distances, 1 - FAMILIAR_RATE, method="inverted_cdf")))
    path = folder / FILE_NAME
    write_basis(path, extended)
    changes = {
        "path": path.name,
        "sha256": sha256_of(path),
        "components": len(extended.components),
        "images": before.images + count,
        "threshold": threshold,
        "familiar_rate": FAMILIAR_RATE,
        "validation_images": before.validation_images if choice is None else count,
    }
    scores = (distances / threshold).astype(np.float32)
    return before.model_copy(update=changes), replace(extended, threshold=threshold), scores


def _extended(basis: NoveltyBasis, features: NDArray[np.float32]) -> NoveltyBasis:
    """A basis with components of what cells have outside of it, too; its threshold is 1."""
    centred = basis.centred(features).astype(np.float64)
    outside = centred - (centred @ basis.components.T) @ basis.components
    _, lengths, directions = np.linalg.svd(outside, full_matrices=False)
    more = directions[:MORE_COMPONENTS][lengths[:MORE_COMPONENTS] > 1e-6]
    return replace(basis, components=np.concatenate([basis.components, more]).astype(np.float32), threshold=1.0)


def refit_calibration(
    before: BundleDescription, held_out: NDArray[np.float32], labels: NDArray[np.int64]
) -> Calibration:
    """The temperature at which the held-out cells are likeliest, pulled towards the parent's.

    Images that the new novelty basis calls unfamiliar keep the parent's second temperature, unless it is the lower one.
    """
    parent, suppressed = before.calibration, before.suppressed

    def loss(temperature: float) -> float:
        probabilities = calibrated_probabilities(held_out, temperature, suppressed)
        surprise = np.log(temperature / parent.temperature) / SPREAD_OF_TEMPERATURES
        return float(negative_log_likelihood(probabilities, labels) * len(labels) + surprise**2 / 2)

    temperature = best_temperature(loss)
    second = parent.unfamiliar_temperature
    changes = {
        "id": f"temperature-{temperature:.4f}" + ("" if second is None else f"-unfamiliar-{second:.4f}"),
        "temperature": temperature,
        "unfamiliar_temperature": None if second is None else max(second, temperature),
        "fitted_on": HELD_OUT,
        "images": len(labels),
        "ece_before": Evaluation.at(held_out, labels, 1.0, suppressed).calibration_error,
        "ece_after": Evaluation.at(held_out, labels, temperature, suppressed).calibration_error,
        "shifted_images": None,
        "shifted_ece_before": None,
        "shifted_ece_after": None,
    }
    return parent.model_copy(update=changes)


def refit_policy(before: BundleDescription, held_out: Evaluation) -> DecisionPolicy:
    """The threshold of the hairy flag, where enough hairy cells were held out, and the limit of review."""
    policy = before.policy
    changes: dict[str, object] = {"version": f"{policy.version}.{len(before.adaptations) + 1}"}
    limit = confident_from(held_out)
    changes["review_below_probability"] = (
        limit if len(held_out.labels) >= FEWEST_CELLS else max(limit, policy.review_below_probability)
    )
    hairy = int((held_out.labels == HAIRY_CELL.index).sum())
    if policy.hairy_threshold is None:
        return policy.model_copy(update=changes)
    threshold, basis = policy.hairy_threshold, f"is the parent bundle's: {policy.hairy_threshold_basis}"
    if hairy >= FEWEST_HAIRY:
        try:
            threshold, basis = hairy_threshold(held_out, "val")
        except PolicyError as error:
            basis = f"is the parent bundle's, since {error}"
    changes |= {
        "hairy_threshold": threshold,
        "hairy_threshold_basis": basis,
        "false_flags": false_flags(held_out, threshold, HELD_OUT) or policy.false_flags,
    }
    if hairy and before.classes[HAIRY_CELL.index].evidence is Evidence.COMPOSITE:
        changes["hairy_advice"] = (
            f"The encoder of this bundle learned hairy cells from edited photographs of other cells; its last layer "
            f"has seen {hairy} real ones of one laboratory. Confirm every flag by flow cytometry."
        )
    return policy.model_copy(update=changes)
