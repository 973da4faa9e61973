"""The figures in the README are the shipped bundle's own."""

import pytest

from contract import bundle
from contract.description import AS_PHOTOGRAPHED, Metric
from service.settings import Settings
from tests.docs.pages import ROOT

BOTH = "matek-marrow+pbc"
TEST, ELSEWHERE = "test", "never trained on"
ROWS = {
    "Accuracy, real cells of 13 classes, Barcelona and Matek marrow": ("accuracy, real images", TEST, BOTH),
    "Accuracy, the ten expert-labelled classes of Barcelona": ("accuracy, ten expert-labelled classes", TEST, "pbc"),
    "Expected calibration error, real cells": ("expected calibration error", TEST, BOTH),
    "What that error would be by chance, were all probabilities true": (
        "expected calibration error, were all probabilities true",
        TEST,
        BOTH,
    ),
    "**False hairy flags**, real cells": ("false hairy flags, real images", TEST, BOTH),
    "False hairy flags, shams (real cells, edited, with their own label)": ("false hairy flags, shams", TEST, BOTH),
    "Hairy cells flagged, *composites*": ("hairy cells flagged, composites", TEST, "pbc"),
    "Hairy cells flagged, *real*, five of one photograph, as they are": (
        "real hairy cells flagged, as they are",
        ELSEWHERE,
        "commons_hcl/hairy_cell",
    ),
    "The same, scaled to 10 pixels a micrometre": (
        "real hairy cells flagged, scaled to 10 pixels a micrometre",
        ELSEWHERE,
        "commons_hcl/hairy_cell",
    ),
    "Accuracy on Raabin-WBC, never trained on (smartphones; a larger scale, so cells are cut)": (
        "accuracy, real images",
        ELSEWHERE,
        "raabin",
    ),
    "Accuracy on AML-LMU, never trained on": ("accuracy, real images", ELSEWHERE, "aml-lmu"),
}


def row(label: str, metric: Metric) -> str:
    """A row of the README's table."""
    interval = f"{metric.interval95[0]:.3f} to {metric.interval95[1]:.3f}" if metric.interval95 else ""
    return f"| {label} | {metric.value:.3f} | {interval} | {metric.images} |"


def rows() -> dict[str, str]:
    """Every row as the shipped bundle says it should be."""
    shipped = bundle.load(ROOT / Settings.model_fields["bundle"].default)
    measured = {
        (m.name, m.split, m.data): m
        for m in shipped.description.metrics
        if m.condition == AS_PHOTOGRAPHED and m.precision == shipped.file().precision
    }
    return {label: row(label, measured[key]) for label, key in ROWS.items()}


@pytest.mark.parametrize("label", ROWS)
def test_a_figure_of_the_readme_is_the_bundle_s(label: str) -> None:
    assert rows()[label] in (ROOT / "README.md").read_text(encoding="utf-8").splitlines()
