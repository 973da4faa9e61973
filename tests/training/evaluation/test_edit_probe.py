"""The probes for traces of editing, on embeddings whose truth is known."""

import numpy as np
import pytest

from contract.description import Metric
from tests.training.evaluation.made import image
from training.evaluation.edit_probe import edit_probe
from training.evaluation.metrics import About

ABOUT = About("test", "int8", "hal evidence made")
KINDS = ["real"] * 60 + ["sham"] * 60 + ["composite"] * 60


def probed(trace_of_sham: float) -> list[Metric]:
    """Axis 0 tells composites by their class; axis 1 by the edit, which shams share as far as is said."""
    generator = np.random.default_rng(1)
    embeddings = generator.normal(0, 0.3, (len(KINDS), 8))
    edited = {"real": 0.0, "sham": trace_of_sham, "composite": 1.0 if trace_of_sham else 0.0}
    embeddings[:, 0] += [2.0 * (kind == "composite") for kind in KINDS]
    embeddings[:, 1] += [3.0 * edited[kind] for kind in KINDS]
    rows = [image("Basophil" if kind != "composite" else "Hairy cell", kind=kind) for kind in KINDS]
    return list(edit_probe(embeddings.astype(np.float32), rows, ABOUT))


def test_an_edit_without_a_trace_is_seen_by_neither_probe() -> None:
    within, composites, shams = probed(0.0)
    assert within.value == pytest.approx(0.5, abs=0.12)
    assert composites.value > 0.99
    assert shams.value == pytest.approx(0.5, abs=0.12)
    assert (within.images, composites.images, shams.images) == (120, 120, 120)


def test_an_edit_that_shows_is_seen_by_both() -> None:
    within, _, shams = probed(1.0)
    assert within.value > 0.95
    assert shams.value > 0.95


def test_without_shams_or_composites_there_is_nothing_to_say() -> None:
    rows = [image("Basophil") for _ in range(10)]
    assert list(edit_probe(np.zeros((10, 8), np.float32), rows, ABOUT)) == []
