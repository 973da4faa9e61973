"""The golden sample of a bundle: images and the logits of each file, in the form that was agreed, or a refusal."""

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from contract.bundle import BundleInvalidError, load, sha256_of
from tests.contract.examples import GOLDEN_IMAGES, Description, describe_in, lay_golden


@pytest.mark.usefixtures("described")
def test_the_golden_sample_has_images_and_the_logits_of_each_file(tmp_path: Path) -> None:
    golden = load(tmp_path).golden()
    assert {name: (array.shape, str(array.dtype)) for name, array in golden.items()} == {
        "images": ((GOLDEN_IMAGES, 256, 256, 3), "uint8"),
        "logits_float32": ((GOLDEN_IMAGES, 20), "float32"),
        "logits_int8": ((GOLDEN_IMAGES, 20), "float32"),
    }


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
