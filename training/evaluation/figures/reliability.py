"""Reliability diagram: how often a network is right when it is so confident (Guo et al. 2017, Figure 1)."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from training.evaluation.calibration import BINS, confidence_bin
from training.evaluation.figures.palette import COLOURS, GREY, HEADING, SMALL, TEXT, figure, save, tidy
from training.evaluation.results import Evaluation, Proportion


@dataclass(frozen=True, slots=True)
class Bin:
    """The images of one confidence bin that holds any: mean confidence and how many of them are right."""

    number: int
    confidence: float
    right: Proportion


def reliability(evaluation: Evaluation) -> list[Bin]:
    """The 15 bins of the expected calibration error that hold images."""
    top = evaluation.probabilities.max(axis=1)
    right = evaluation.predicted == evaluation.labels
    bins = confidence_bin(top)
    return [
        Bin(int(b), float(top[bins == b].mean()), Proportion.of(int(right[bins == b].sum()), int((bins == b).sum())))
        for b in np.unique(bins)
    ]


def draw_reliability(calibrated: Evaluation, uncalibrated: Evaluation, folder: Path, name: str, title: str) -> Path:
    """Accuracy by confidence with Wilson intervals, after and before temperature scaling, over a histogram."""
    after, before = reliability(calibrated), reliability(uncalibrated)
    drawn = figure(4.6, width=4.4)
    upper, lower = drawn.subplots(2, 1, sharex=True, height_ratios=(3, 1))
    upper.plot([0, 1], [0, 1], color=GREY, linewidth=0.8, linestyle=":", label="perfectly calibrated")
    values = np.array([each.right.value for each in after])
    reach = np.abs(np.array([each.right.interval95 for each in after]).T - values)
    drawn_after = {"color": COLOURS[0], "markersize": 4, "linewidth": 1.2, "elinewidth": 0.8, "capsize": 2}
    label = f"after temperature scaling, ECE {calibrated.calibration_error:.3f}"
    upper.errorbar([each.confidence for each in after], values, yerr=reach, fmt="o-", label=label, **drawn_after)
    drawn_before = {"color": COLOURS[1], "markersize": 4, "linewidth": 0.9, "markerfacecolor": "none"}
    label = f"before, ECE {uncalibrated.calibration_error:.3f}"
    points = [each.confidence for each in before], [each.right.value for each in before]
    upper.plot(*points, "s--", label=label, **drawn_before)
    upper.set_ylabel("Share that is right", fontsize=TEXT)
    upper.set_ylim(-0.02, 1.02)
    upper.legend(fontsize=SMALL, frameon=False, loc="lower right")
    edges = np.linspace(0, 1, BINS + 1).tolist()
    lower.hist(calibrated.probabilities.max(axis=1), edges, color=COLOURS[5], edgecolor="white", linewidth=0.5)
    lower.set_ylabel("Images", fontsize=TEXT)
    lower.set_xlabel("Largest probability", fontsize=TEXT)
    lower.set_xlim(0, 1)
    for axes in (upper, lower):
        tidy(axes)
    upper.set_title(title, fontsize=HEADING)
    rows = [
        (when, each.number / BINS, (each.number + 1) / BINS, each.confidence, each.right.hits, each.right.images)
        for when, bins in (("after", after), ("before", before))
        for each in bins
    ]
    return save(drawn, folder, name, ("scaling", "from", "to", "mean confidence", "right", "images"), rows)
