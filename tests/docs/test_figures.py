"""Figures on the pages: those of the shipped bundle are its own, intervals are those of the service's code."""

import re

import pytest

from contract import bundle
from contract.binomial import clopper_pearson
from contract.description import AS_PHOTOGRAPHED
from service.settings import Settings
from tests.docs.pages import ROOT, text

BOTH = "matek-marrow+pbc"
HAIRY = "commons_hcl/hairy_cell"
TEST, ELSEWHERE = "test", "never trained on"
ACCURACY, UNFAMILIAR = "accuracy, real images", "unfamiliar images"
ROWS = {
    "Accuracy, real cells of 13 classes, Barcelona and Matek marrow": (ACCURACY, TEST, BOTH),
    "Accuracy, the ten expert-labelled classes of Barcelona": ("accuracy, ten expert-labelled classes", TEST, "pbc"),
    "Accuracy, Matek marrow": (ACCURACY, TEST, "matek-marrow"),
    "Expected calibration error, real cells": ("expected calibration error", TEST, BOTH),
    "**False hairy flags**, real cells": ("false hairy flags, real images", TEST, BOTH),
    "False hairy flags, edited controls": ("false hairy flags, edited controls", TEST, BOTH),
    "Hairy cells flagged, *composites*": ("hairy cells flagged, composites", TEST, "pbc"),
    "Hairy cells flagged, *real*, five of one photograph": ("real hairy cells flagged, as they are", ELSEWHERE, HAIRY),
    "Called unfamiliar, Barcelona": (UNFAMILIAR, TEST, "pbc"),
    "Called unfamiliar, Matek marrow": (UNFAMILIAR, TEST, "matek-marrow"),
    "**Raabin-WBC** (smartphone, larger scale): called unfamiliar": (UNFAMILIAR, ELSEWHERE, "raabin"),
    "Raabin-WBC: accuracy": (ACCURACY, ELSEWHERE, "raabin"),
    "Raabin-WBC: expected calibration error (0.392 with one temperature)": (
        "expected calibration error",
        ELSEWHERE,
        "raabin",
    ),
    "**Chula** (Bangkok): called unfamiliar": (UNFAMILIAR, ELSEWHERE, "chula"),
    "Chula: accuracy": (ACCURACY, ELSEWHERE, "chula"),
    "**AML-LMU** (Munich, leukaemia): called unfamiliar": (UNFAMILIAR, ELSEWHERE, "aml-lmu"),
    "AML-LMU: accuracy": (ACCURACY, ELSEWHERE, "aml-lmu"),
    "AML-LMU: accuracy of the others": ("accuracy, familiar images", ELSEWHERE, "aml-lmu"),
}


@pytest.mark.parametrize("label", ROWS)
def test_a_figure_of_the_readme_is_the_bundle_s(label: str) -> None:
    shipped = bundle.load(ROOT / Settings.model_fields["bundle"].default)
    (metric,) = (
        metric
        for metric in shipped.description.metrics
        if (metric.name, metric.split, metric.data) == ROWS[label]
        and metric.condition == AS_PHOTOGRAPHED
        and metric.precision == shipped.file().precision
    )
    interval = f"{metric.interval95[0]:.3f} to {metric.interval95[1]:.3f}" if metric.interval95 else ""
    assert f"| {label} | {metric.value:.3f} | {interval} | {metric.images} |" in text("README.md").splitlines()


def test_the_calibration_error_with_one_temperature_is_the_bundle_s() -> None:
    metrics = bundle.load(ROOT / Settings.model_fields["bundle"].default).description.metrics
    name = "expected calibration error, one temperature"
    (found,) = (metric.value for metric in metrics if (metric.name, metric.data) == (name, "raabin"))
    assert re.findall(r"\((\S+) with one temperature\)", text("README.md")) == [f"{found:.3f}"]


def test_the_intervals_of_the_risk_notes_are_exact() -> None:
    said = re.findall(r"(\d+) of (\d+) \| ([\d.]+) to ([\d.]+) %", text("docs/risk.md"))
    assert said
    for hits, trials, low, high in said:
        assert (low, high) == tuple(f"{100 * limit:.2f}" for limit in clopper_pearson(int(hits), int(trials)))
