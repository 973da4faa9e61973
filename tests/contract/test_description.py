"""``bundle.json`` is held to its description: every breach is reported at once, with its place."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from pydantic import ValidationError

from contract.bundle import BundleInvalidError, read_description
from contract.classes import BY_ID, CLASS_NAMES
from contract.description import Evidence
from tests.contract.examples import Description, describe, describe_in, description


def breaches(root: Path, described: Any) -> tuple[str, ...]:
    """The breaches that are reported for ``described``, which must not be accepted."""
    describe_in(root, described)
    with pytest.raises(BundleInvalidError) as refusal:
        read_description(root)
    assert all(problem in str(refusal.value) for problem in refusal.value.problems)
    return refusal.value.problems


def test_a_description_cannot_be_changed_after_it_was_read() -> None:
    with pytest.raises(ValidationError, match="frozen"):
        describe().policy.hairy_threshold = 0.0  # type: ignore[misc]


def test_classes_without_evidence_are_the_suppressed_ones() -> None:
    suppressed = describe(evidence={"hairy-cell": "none", "artefact": "none", "blast": "composite"}).suppressed
    assert suppressed.dtype == bool
    assert {CLASS_NAMES[index] for index in np.flatnonzero(suppressed)} == {"Hairy cell", "Artefact"}


def test_json_that_is_not_an_object_is_refused(tmp_path: Path) -> None:
    (problem,) = breaches(tmp_path, [1, 2, 3])
    assert problem.startswith("bundle.json: ")


def test_every_broken_field_is_reported_at_once_with_its_place(tmp_path: Path, described: Description) -> None:
    described["version"] = "one"
    described["files"][1]["sha256"] = "F" * 64
    described["calibration"]["temperature"] = 0
    described["colour_space"] = "BGR"
    del described["provenance"]["seed"]
    places = {problem.partition(":")[0] for problem in breaches(tmp_path, described)}
    assert places == {"version", "files.1.sha256", "calibration.temperature", "colour_space", "provenance.seed"}


def test_parts_that_do_not_fit_each_other_are_reported_together(tmp_path: Path, described: Description) -> None:
    described["classes"][0]["name"] = "Neutrophil"
    described["files"][1]["precision"] = "float32"
    described["golden"]["path"] = "../golden.npz"
    (together,) = breaches(tmp_path, described)
    assert "class 0 is 'Neutrophil', expected 'Segmented neutrophil'" in together
    assert "two files of one precision" in together
    assert "'../golden.npz' leaves the bundle's folder" in together


@pytest.mark.parametrize(
    ("place", "value"),
    [
        ("format", 2),
        ("name", "HAL C"),
        ("name", "../hal-c"),
        ("version", "1.0"),
        ("version", "1.0.0\n"),
        ("files", []),
        ("files.0.precision", "bfloat16"),
        ("files.0.bytes", 0),
        ("files.0.sha256", "0" * 63),
        ("files.0.golden_tolerance", 1),
        ("files.0.parity.max_abs_logit_difference", -1e-9),
        ("golden.images", 0),
        ("classes.3.evidence", "rumour"),
        ("classes.3.training_images", -1),
        ("calibration.temperature", float("inf")),
        ("calibration.temperature", float("nan")),
        ("calibration.ece_after", 1.5),
        ("policy.hairy_threshold", 1.01),
        ("policy.review_below_margin", float("nan")),
        ("metrics.0.value", float("nan")),
        ("provenance.created", "2026-01-02T03:04:05"),
        ("input.layout", "NCHW"),
        ("input.shape", [299, 299, 3]),
        ("input.colour", "BGR"),
        ("input.value_range", [-1, 1]),
        ("outputs", [{"name": "logits", "size": 20}]),
    ],
)
def test_a_value_out_of_its_range_is_reported_with_its_place(
    tmp_path: Path, described: Description, place: str, value: Any
) -> None:
    described["input"] = describe().input.model_dump(mode="json")
    *parents, field = place.split(".")
    part: Any = described
    for parent in parents:
        part = part[int(parent)] if isinstance(part, list) else part[parent]
    part[field] = value
    assert all(problem.startswith(place) for problem in breaches(tmp_path, described))


def test_two_classes_in_each_others_places_are_refused(tmp_path: Path, described: Description) -> None:
    classes = described["classes"]
    classes[18], classes[19] = classes[19], classes[18]
    (problem,) = breaches(tmp_path, described)
    assert "class 18 is 'Large thrombocyte', expected 'Abnormal lymphocyte'" in problem


@pytest.mark.parametrize("count", [0, 19, 21])
def test_another_number_of_classes_is_refused(tmp_path: Path, described: Description, count: int) -> None:
    described["classes"] = (described["classes"] * 2)[:count]
    (problem,) = breaches(tmp_path, described)
    assert f"{count} classes, expected 20" in problem


@pytest.mark.parametrize(
    ("evidence", "images"), [("none", 5), ("real", 0), ("size-derived", 0), ("composite", 0)], ids=repr
)
def test_evidence_must_fit_the_number_of_training_images(
    tmp_path: Path, described: Description, evidence: str, images: int
) -> None:
    described["classes"][4] |= {"evidence": evidence, "training_images": images}
    (problem,) = breaches(tmp_path, described)
    assert problem.startswith("classes.4: ")
    assert f"'Monocyte' is '{evidence}' with {images} training images" in problem


@pytest.mark.parametrize(("hairy_evidence", "threshold"), [("none", 0.5), ("real", None)])
def test_a_hairy_threshold_goes_with_evidence_and_only_with_it(
    tmp_path: Path, hairy_evidence: str, threshold: float | None
) -> None:
    described = description(evidence={"hairy-cell": hairy_evidence}, hairy_threshold=threshold)
    (problem,) = breaches(tmp_path, described)
    assert "a hairy threshold goes with evidence for the hairy class, and only with it" in problem


def test_a_bundle_without_hairy_cells_and_without_a_threshold_is_valid() -> None:
    described = describe(evidence={"hairy-cell": "none"})
    assert described.classes[BY_ID["hairy-cell"].index].evidence is Evidence.NONE
    assert described.policy.hairy_threshold is None


def test_a_policy_that_names_an_unknown_class_is_refused(tmp_path: Path, described: Description) -> None:
    described["policy"]["always_review"] = ["blast", "Hairy cell"]
    (problem,) = breaches(tmp_path, described)
    assert "always_review names unknown classes ['Hairy cell']" in problem
    assert "'hairy-cell'" in problem


@pytest.mark.parametrize(
    ("outputs", "message"),
    [
        ([("embedding", 2048), ("logits", 20)], "first output is"),
        ([("logits", 19), ("embedding", 2048)], "expected logits of size 20"),
        ([("logits", 20), ("logits", 20)], "second output is 'logits', expected 'embedding'"),
        ([("logits", 20), ("embedding", 2048), ("middle_flow", 727)], "expected name='middle_flow' size=728 or none"),
    ],
)
def test_outputs_are_logits_then_embedding(
    tmp_path: Path, described: Description, outputs: list[tuple[str, int]], message: str
) -> None:
    described["outputs"] = [{"name": name, "size": size} for name, size in outputs]
    assert message in breaches(tmp_path, described)[0]


@pytest.mark.parametrize("part", ["files", "golden"])
@pytest.mark.parametrize(
    "name", ["../model.onnx", "/etc/passwd", "sub/model.onnx", "a/../../model.onnx", "..", "/", ".", "", "//host/share"]
)
def test_a_file_name_that_leaves_the_folder_is_refused_before_any_file_is_opened(
    tmp_path: Path, described: Description, part: str, name: str
) -> None:
    entry = described["golden"] if part == "golden" else described["files"][0]
    entry["path"] = name
    (problem,) = breaches(tmp_path, described)
    assert f"file name {name!r} leaves the bundle's folder; expected a plain name" in problem
