"""The figures of a bundle: real cells, composites and shams are never mixed."""

import numpy as np
import pytest

from contract.classes import CLASS_COUNT, CLASS_NAMES, HAIRY_CELL
from contract.description import Metric
from tests.training.evaluation.made import image, logits_for
from training.data.manifest import LabelledImage
from training.evaluation.metrics import bundle_metrics
from training.evaluation.results import Proportion

NOTHING_SUPPRESSED = np.zeros(CLASS_COUNT, bool)


def measured(rows: list[LabelledImage], said: list[str], threshold: float | None = 0.5) -> dict[str, Metric]:
    logits = {"int8": logits_for(said), "float32": logits_for([row.label for row in rows])}
    found = bundle_metrics(rows, logits, 1.0, NOTHING_SUPPRESSED, "int8", threshold, "hal evaluate made")
    return {f"{m.name} | {m.precision} | {m.data}": m for m in found}


def test_of_real_images_only_the_names_are_plain() -> None:
    rows = [image("Basophil", "pbc"), image("Monocyte", "pbc"), image("Monocyte", "elsewhere")]
    found = measured(rows, ["Basophil", "Basophil", "Monocyte"], None)
    assert found["accuracy | int8 | elsewhere+pbc"].value == pytest.approx(2 / 3)
    assert found["accuracy | float32 | elsewhere+pbc"].value == 1
    assert found["accuracy | int8 | elsewhere"].value == 1
    assert found["accuracy, ten expert-labelled classes | int8 | pbc"].value == 0.5
    assert found["accuracy, int8 minus float32 | int8 | elsewhere+pbc"].value == pytest.approx(-1 / 3)
    assert found["recall, Monocyte | int8 | elsewhere+pbc"].value == 0.5
    assert not any("flag" in name for name in found)


def test_composites_and_shams_have_figures_of_their_own_and_touch_no_other() -> None:
    rows = [
        *(image("Lymphocyte", "pbc", kind="real") for _ in range(10)),
        *(image("Lymphocyte", "pbc", kind="sham") for _ in range(4)),
        *(image(HAIRY_CELL.name, "pbc", kind="composite") for _ in range(8)),
    ]
    said = ["Lymphocyte"] * 10 + [HAIRY_CELL.name] * 1 + ["Lymphocyte"] * 3 + [HAIRY_CELL.name] * 6 + ["Lymphocyte"] * 2
    found = measured(rows, said)
    assert found["accuracy, real images | int8 | pbc"].value == 1
    assert found["accuracy, ten expert-labelled classes | int8 | pbc"].images == 10
    assert found["accuracy, edited controls | int8 | pbc"].value == 0.75
    assert found["accuracy, composites | int8 | pbc"].value == 0.75
    assert found["accuracy, int8 minus float32 | int8 | pbc"].value == 0
    assert found["expected calibration error | int8 | pbc"].images == 10
    assert found["recall, Lymphocyte | int8 | pbc"].images == 10
    assert found[f"recall, {HAIRY_CELL.name} | int8 | pbc, composites"].value == 0.75

    flagged = found["hairy cells flagged, composites | int8 | pbc"]
    assert (flagged.value, flagged.images, flagged.method) == (0.75, 8, "Clopper-Pearson")
    none = found["false hairy flags, real images | int8 | pbc"]
    assert (none.value, none.interval95) == (0, Proportion.of(0, 10, "Clopper-Pearson").interval95)
    assert found["false hairy flags, edited controls | int8 | pbc"].value == 0.25
    assert "hairy cells flagged, real images | int8 | pbc" not in found


def test_every_figure_names_its_images_split_and_command() -> None:
    rows = [image(name, "pbc") for name in CLASS_NAMES]
    for metric in measured(rows, [row.label for row in rows]).values():
        assert metric.images > 0
        assert (metric.split, metric.command, metric.condition) == ("val", "hal evaluate made", "as photographed")
