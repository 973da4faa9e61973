"""A bundle is read whole or refused with every reason; what was written comes back unchanged."""

import hashlib
import json
from pathlib import Path

import pytest

from contract.bundle import (
    MANIFEST_NAME,
    Bundle,
    BundleCorruptError,
    BundleError,
    BundleInvalidError,
    BundleNotFoundError,
    load,
    read_description,
    sha256_of,
    write,
)
from contract.description import BundleDescription
from tests.contract.examples import Description, description, lay_files


def test_a_written_bundle_loads_as_it_was_described(tmp_path: Path) -> None:
    described = BundleDescription.model_validate(lay_files(tmp_path, description()))
    written = write(tmp_path, described)
    assert written == load(tmp_path) == Bundle(tmp_path, described)


def test_bundle_json_is_readable_text_that_keeps_letters_beyond_ascii(tmp_path: Path) -> None:
    write(tmp_path, BundleDescription.model_validate(lay_files(tmp_path, description())))
    text = (tmp_path / MANIFEST_NAME).read_text(encoding="utf-8")
    assert "Hospital Clínic, Barcelona" in text
    assert text.endswith("}\n")
    assert json.loads(text)["classes"][11]["name"] == "Hairy cell"


def test_writing_beside_files_that_do_not_match_is_refused(tmp_path: Path) -> None:
    described = BundleDescription.model_validate(lay_files(tmp_path, description()))
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


@pytest.mark.parametrize("place", ["", "nowhere", "a file"])
def test_a_missing_bundle_says_where_to_point(tmp_path: Path, place: str) -> None:
    (tmp_path / "a file").touch()
    with pytest.raises(BundleNotFoundError, match=r"no bundle\.json in .*HAL_BUNDLE.*models/hal-c/3"):
        load(tmp_path / place)


@pytest.mark.parametrize("content", [b"", b"{", b"weights", b'{"name": "hal-c",}'], ids=repr)
def test_what_is_not_json_is_refused(tmp_path: Path, content: bytes) -> None:
    (tmp_path / MANIFEST_NAME).write_bytes(content)
    with pytest.raises(BundleInvalidError, match="Invalid JSON"):
        load(tmp_path)


def test_text_that_is_not_utf8_is_refused(tmp_path: Path) -> None:
    (tmp_path / MANIFEST_NAME).write_bytes(b'{"name": "h\xe4l"}')
    with pytest.raises(BundleInvalidError, match="cannot be read: 'utf-8' codec"):
        load(tmp_path)


def test_a_folder_in_the_place_of_bundle_json_is_refused(tmp_path: Path) -> None:
    (tmp_path / MANIFEST_NAME).mkdir()
    with pytest.raises(BundleInvalidError, match="cannot be read"):
        load(tmp_path)


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
    assert read_description(tmp_path).name == "hal-c"


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
