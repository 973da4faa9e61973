"""A bundle is read whole or refused with every reason; what was written comes back unchanged."""

import hashlib
import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from pydantic import ValidationError

from contract.bundle import (
    MANIFEST_NAME,
    Bundle,
    BundleCorruptError,
    BundleError,
    BundleInvalidError,
    BundleNotFoundError,
    load,
    read_manifest,
    sha256_of,
    write,
)
from contract.classes import BY_SLUG, CLASS_NAMES
from contract.manifest import Evidence, Manifest
from tests.contract.examples import GOLDEN_IMAGES, describe_in, description, lay_files, lay_golden, manifest

Description = dict[str, Any]


def breaches(root: Path, described: Any) -> tuple[str, ...]:
    """The breaches that are reported for ``described``, which must not be accepted."""
    describe_in(root, described)
    with pytest.raises(BundleInvalidError) as refusal:
        read_manifest(root)
    assert all(problem in str(refusal.value) for problem in refusal.value.problems)
    return refusal.value.problems


def test_a_written_bundle_loads_as_it_was_described(tmp_path: Path) -> None:
    described = Manifest.model_validate(lay_files(tmp_path, description()))
    written = write(tmp_path, described)
    assert written == load(tmp_path) == Bundle(tmp_path, described)


def test_bundle_json_is_readable_text_that_keeps_letters_beyond_ascii(tmp_path: Path) -> None:
    write(tmp_path, Manifest.model_validate(lay_files(tmp_path, description())))
    text = (tmp_path / MANIFEST_NAME).read_text(encoding="utf-8")
    assert "Hospital Clínic, Barcelona" in text
    assert text.endswith("}\n")
    assert json.loads(text)["classes"][11]["name"] == "Hairy cell"


def test_writing_beside_files_that_do_not_match_is_refused(tmp_path: Path) -> None:
    described = Manifest.model_validate(lay_files(tmp_path, description()))
    (tmp_path / "model.int8.onnx").unlink()
    with pytest.raises(BundleCorruptError, match=r"model\.int8\.onnx is missing"):
        write(tmp_path, described)


@pytest.mark.usefixtures("described")
def test_the_first_file_is_the_default_and_others_are_chosen_by_precision(tmp_path: Path) -> None:
    bundle = load(tmp_path)
    assert bundle.file().precision == "float32"
    assert bundle.file("int8").precision == "int8"
    assert bundle.path(bundle.file("int8")) == tmp_path / "model.int8.onnx"


@pytest.mark.usefixtures("described")
def test_asking_for_a_precision_that_is_not_there_names_those_that_are(tmp_path: Path) -> None:
    with pytest.raises(BundleError, match=r"no float16 file, only float32, int8; .* --precision float16"):
        load(tmp_path).file("float16")


@pytest.mark.usefixtures("described")
def test_the_golden_sample_has_images_and_the_logits_of_each_file(tmp_path: Path) -> None:
    golden = load(tmp_path).golden()
    assert {name: (array.shape, str(array.dtype)) for name, array in golden.items()} == {
        "images": ((GOLDEN_IMAGES, 256, 256, 3), "uint8"),
        "logits_float32": ((GOLDEN_IMAGES, 20), "float32"),
        "logits_int8": ((GOLDEN_IMAGES, 20), "float32"),
    }


def test_a_description_cannot_be_changed_after_it_was_read() -> None:
    with pytest.raises(ValidationError, match="frozen"):
        manifest().policy.hairy_threshold = 0.0  # type: ignore[misc]


def test_classes_without_evidence_are_the_suppressed_ones() -> None:
    suppressed = manifest(evidence={"hairy-cell": "none", "artefact": "none", "blast": "composite"}).suppressed
    assert suppressed.dtype == bool
    assert {CLASS_NAMES[index] for index in np.flatnonzero(suppressed)} == {"Hairy cell", "Artefact"}


@pytest.mark.parametrize("place", ["", "nowhere", "a file"])
def test_a_missing_bundle_says_where_to_point(tmp_path: Path, place: str) -> None:
    (tmp_path / "a file").touch()
    with pytest.raises(BundleNotFoundError, match=r"no bundle\.json in .*HAL_BUNDLE.*models/hal-c/2"):
        load(tmp_path / place)


@pytest.mark.parametrize("content", [b"", b"{", b"weights", b'{"name": "hal-c",}'], ids=repr)
def test_what_is_not_json_is_refused(tmp_path: Path, content: bytes) -> None:
    (tmp_path / MANIFEST_NAME).write_bytes(content)
    with pytest.raises(BundleInvalidError, match="Invalid JSON"):
        load(tmp_path)


def test_json_that_is_not_an_object_is_refused(tmp_path: Path) -> None:
    (problem,) = breaches(tmp_path, [1, 2, 3])
    assert problem.startswith("bundle.json: ")


def test_text_that_is_not_utf8_is_refused(tmp_path: Path) -> None:
    (tmp_path / MANIFEST_NAME).write_bytes(b'{"name": "h\xe4l"}')
    with pytest.raises(BundleInvalidError, match="cannot be read: 'utf-8' codec"):
        load(tmp_path)


def test_a_folder_in_the_place_of_bundle_json_is_refused(tmp_path: Path) -> None:
    (tmp_path / MANIFEST_NAME).mkdir()
    with pytest.raises(BundleInvalidError, match="cannot be read"):
        load(tmp_path)


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
    described["input"] = manifest().input.model_dump(mode="json")
    *parents, field = place.split(".")
    part: Any = described
    for parent in parents:
        part = part[int(parent)] if isinstance(part, list) else part[parent]
    part[field] = value
    assert all(problem.startswith(place) for problem in breaches(tmp_path, described))


def test_classes_in_alphabetical_order_are_refused(tmp_path: Path, described: Description) -> None:
    described["classes"].sort(key=lambda entry: entry["name"])
    (problem,) = breaches(tmp_path, described)
    assert "class 0 is 'Abnormal lymphocyte', expected 'Segmented neutrophil': Table 4.1's order" in problem


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
    described = manifest(evidence={"hairy-cell": "none"})
    assert described.classes[BY_SLUG["hairy-cell"].index].evidence is Evidence.NONE
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


def test_every_missing_or_altered_file_is_reported(tmp_path: Path, described: Description) -> None:
    (tmp_path / "model.float32.onnx").unlink()
    altered = bytearray((tmp_path / "model.int8.onnx").read_bytes())
    altered[0] ^= 1
    (tmp_path / "model.int8.onnx").write_bytes(altered)
    (tmp_path / "golden.npz").unlink()
    with pytest.raises(BundleCorruptError, match="Copy the bundle again") as refusal:
        load(tmp_path)
    assert refusal.value.problems == (
        "model.float32.onnx is missing",
        f"model.int8.onnx has SHA-256 {hashlib.sha256(altered).hexdigest()}, "
        f"expected {described['files'][1]['sha256']}",
        "golden.npz is missing",
    )


def test_a_copy_that_was_cut_short_is_reported_by_its_size(tmp_path: Path, described: Description) -> None:
    path = tmp_path / "model.int8.onnx"
    path.write_bytes(path.read_bytes()[:-3])
    size = described["files"][1]["bytes"]
    with pytest.raises(BundleCorruptError, match=rf"model\.int8\.onnx has {size - 3} bytes, expected {size}"):
        load(tmp_path)


@pytest.mark.usefixtures("described")
def test_a_folder_in_the_place_of_a_model_file_counts_as_missing(tmp_path: Path) -> None:
    (tmp_path / "model.int8.onnx").unlink()
    (tmp_path / "model.int8.onnx").mkdir()
    with pytest.raises(BundleCorruptError, match=r"model\.int8\.onnx is missing"):
        load(tmp_path)


@pytest.mark.usefixtures("described")
def test_the_description_alone_can_be_read_when_the_files_are_elsewhere(tmp_path: Path) -> None:
    (tmp_path / "golden.npz").unlink()
    assert read_manifest(tmp_path).name == "hal-c"


@pytest.mark.parametrize(
    ("name", "array", "found"),
    [
        ("images", np.zeros((GOLDEN_IMAGES, 255, 256, 3), np.uint8), r"uint8 \(2, 255, 256, 3\)"),
        ("images", np.zeros((GOLDEN_IMAGES + 1, 256, 256, 3), np.uint8), r"uint8 \(3, 256, 256, 3\)"),
        ("images", np.zeros((GOLDEN_IMAGES, 256, 256, 3), np.float32), r"float32 \(2, 256, 256, 3\)"),
        ("logits_int8", np.zeros((GOLDEN_IMAGES, 19), np.float32), r"float32 \(2, 19\)"),
        ("logits_int8", np.zeros((GOLDEN_IMAGES, 20), np.float64), r"float64 \(2, 20\)"),
        ("logits_int8", None, "missing"),
    ],
)
def test_a_golden_sample_of_the_wrong_form_is_refused(
    tmp_path: Path, described: Description, name: str, array: Any, found: str
) -> None:
    arrays = load(tmp_path).golden() | {name: array}
    described["golden"] = lay_golden(tmp_path, {name: array for name, array in arrays.items() if array is not None})
    describe_in(tmp_path, described)
    with pytest.raises(BundleInvalidError, match=f"array '{name}' is {found}, expected"):
        load(tmp_path)


def test_all_wrong_arrays_of_a_golden_sample_are_reported(tmp_path: Path, described: Description) -> None:
    described["golden"] = lay_golden(tmp_path, {"pictures": np.zeros(3)})
    describe_in(tmp_path, described)
    with pytest.raises(BundleInvalidError) as refusal:
        load(tmp_path)
    assert [re.findall("'(.*?)'", problem)[0] for problem in refusal.value.problems] == [
        "images",
        "logits_float32",
        "logits_int8",
    ]


def as_text(path: Path) -> None:
    path.write_text("not an archive")


def as_nothing(path: Path) -> None:
    path.write_bytes(b"")


def as_bare_array(path: Path) -> None:
    with path.open("wb") as stream:
        np.save(stream, np.zeros(3))


def as_cut_archive(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:1000])


def as_pickled_objects(path: Path) -> None:
    np.savez(path, images=np.array([{"a": "pickle"}], dtype=object))


@pytest.mark.parametrize("spoil", [as_text, as_nothing, as_bare_array, as_cut_archive, as_pickled_objects])
def test_a_golden_sample_that_is_no_archive_of_plain_arrays_is_refused(
    tmp_path: Path, described: Description, spoil: Callable[[Path], None]
) -> None:
    """The exporter's own fault: the hash is right, the content is not."""
    spoil(tmp_path / "golden.npz")
    described["golden"]["sha256"] = sha256_of(tmp_path / "golden.npz")
    describe_in(tmp_path, described)
    with pytest.raises(
        BundleInvalidError, match=r"golden\.npz is not .*\n.*cannot be read as an \.npz of plain arrays"
    ):
        load(tmp_path)


@pytest.mark.parametrize(
    ("content", "digest"),
    [
        (b"", "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"),
        (b"abc", "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"),
    ],
    ids=repr,
)
def test_sha256_of_agrees_with_the_vectors_of_fips_180(tmp_path: Path, content: bytes, digest: str) -> None:
    (tmp_path / "content").write_bytes(content)
    assert sha256_of(tmp_path / "content") == digest
