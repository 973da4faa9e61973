"""The optional reference of embeddings in a bundle."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from contract.bundle import BundleCorruptError, BundleInvalidError, load, sha256_of
from contract.description import BundleDescription
from tests.contract.examples import describe_in, description


def lay_reference(folder: Path, **arrays: Any) -> dict[str, Any]:
    """Write ``reference.npz`` and describe it."""
    whole = {"mean": np.zeros(2048, np.float32), "class_means": np.zeros((20, 2048), np.float32)} | arrays
    np.savez(folder / "reference.npz", **{name: array for name, array in whole.items() if array is not None})
    return {
        "path": "reference.npz",
        "sha256": sha256_of(folder / "reference.npz"),
        "precision": "int8",
        "images": 5,
        "data": "validation images",
        "spread": 0.5,
        "spread_within": 0.4,
    }


@pytest.mark.usefixtures("described")
def test_a_bundle_without_a_reference_is_whole(tmp_path: Path) -> None:
    assert load(tmp_path).reference() is None


def test_a_reference_is_loaded_and_verified(tmp_path: Path, described: dict[str, Any]) -> None:
    described["reference"] = lay_reference(tmp_path, mean=np.ones(2048, np.float32))
    describe_in(tmp_path, described)
    reference = load(tmp_path).reference()
    assert reference is not None
    assert reference["mean"].sum() == 2048
    (tmp_path / "reference.npz").write_bytes(b"changed")
    with pytest.raises(BundleCorruptError, match=r"reference\.npz has SHA-256"):
        load(tmp_path)


@pytest.mark.parametrize("arrays", [{"mean": None}, {"mean": np.zeros(7, np.float32)}, {"class_means": np.zeros(3)}])
def test_a_reference_of_the_wrong_form_is_refused(
    tmp_path: Path, described: dict[str, Any], arrays: dict[str, Any]
) -> None:
    described["reference"] = lay_reference(tmp_path, **arrays)
    describe_in(tmp_path, described)
    with pytest.raises(BundleInvalidError, match="array '"):
        load(tmp_path)


def test_a_reference_stays_in_the_bundle_s_folder(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="leaves the bundle's folder"):
        BundleDescription.model_validate(
            description() | {"reference": lay_reference(tmp_path) | {"path": "../reference.npz"}}
        )


def test_a_reference_may_have_labelled_cells(tmp_path: Path, described: dict[str, Any]) -> None:
    described["reference"] = lay_reference(tmp_path)
    describe_in(tmp_path, described)
    assert load(tmp_path).reference_cells() is None
    cells = np.full((3, 2048), 0.5, np.float16)
    described["reference"] = lay_reference(tmp_path, cells=cells, cell_labels=np.array([4, 4, 7]))
    describe_in(tmp_path, described)
    found = load(tmp_path).reference_cells()
    assert found is not None
    assert (found[0].dtype, found[0].shape, found[1].tolist()) == (np.float32, (3, 2048), [4, 4, 7])


def test_cells_that_do_not_fit_their_labels_are_refused(tmp_path: Path, described: dict[str, Any]) -> None:
    cells = np.zeros((2, 2048), np.float16)
    described["reference"] = lay_reference(tmp_path, cells=cells, cell_labels=np.array([4, 4, 7]))
    describe_in(tmp_path, described)
    with pytest.raises(BundleInvalidError, match="array 'cells'"):
        load(tmp_path)
