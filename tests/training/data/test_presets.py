"""Presets on made folders of the public layouts, and on the real images where they are at hand."""

import csv
import os
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from training.data import presets
from training.data.images import read_pixels
from training.data.platelets import equivalent_diameter, size_class
from training.data.prepare import prepare
from training.data.presets import PRESETS, Skipped

SHARED = os.environ.get("HAL_SHARED")
needs_shared = pytest.mark.skipif(not SHARED, reason="HAL_SHARED is not set: the real images are not at hand")


def platelet(path: Path, diameter_um: float) -> None:
    rows, columns = np.mgrid[:363, :360]
    disc = np.hypot(rows - 181, columns - 180) < diameter_um * 5
    pixels = np.where(disc[..., None], [150, 90, 170], [235, 215, 200]).astype(np.uint8)
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(pixels).save(path)


def plain(path: Path, shade: int) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(np.full((363, 360, 3), shade, np.uint8)).save(path)


def test_the_barcelona_layout(tmp_path: Path) -> None:
    plain(tmp_path / "basophil" / "BA_1.jpg", 10)
    plain(tmp_path / "ig" / "MMY_2.jpg", 20)
    plain(tmp_path / "ig" / "IG_3.jpg", 30)
    plain(tmp_path / "neutrophil" / "SNE_4.jpg", 40)
    for name, diameter in (("5", 5.0), ("6", 8.0), ("7", 3.0)):
        platelet(tmp_path / "platelet" / f"PLATELET_{name}.png", diameter)
    rows = list(PRESETS["pbc"].rows(tmp_path))
    labels = {row.path.stem: row.reason if isinstance(row, Skipped) else row.label for row in rows}
    assert labels == {
        "BA_1": "Basophil",
        "MMY_2": "Metamyelocyte",
        "IG_3": "class 'IG' has no counterpart among the 20",
        "SNE_4": "Segmented neutrophil",
        "PLATELET_5": "Large thrombocyte",
        "PLATELET_6": "Giant thrombocyte",
        "PLATELET_7": "platelet of 3.0 um is neither large nor giant",
    }
    assert {row.extra["evidence"] for row in rows if not isinstance(row, Skipped)} == {"real", "size-derived"}


def test_the_marrow_layout(tmp_path: Path) -> None:
    plain(tmp_path / "BLA" / "0001-1000" / "BLA_00001.jpg", 10)
    plain(tmp_path / "HAC" / "HAC_00001.jpg", 20)
    plain(tmp_path / "NIF" / "NIF_00001.jpg", 30)
    rows = list(PRESETS["matek-marrow"].rows(tmp_path))
    assert [row.label for row in rows if not isinstance(row, Skipped)] == ["Blast (no lineage spec)", "Hairy cell"]
    assert {row.source for row in rows if not isinstance(row, Skipped)} == {"matek-marrow"}


def test_a_folder_without_images_is_refused(tmp_path: Path) -> None:
    with pytest.raises(presets.SourceError, match="no images below"):
        list(PRESETS["pbc"].rows(tmp_path))


@pytest.mark.parametrize("source", ["pbc", "unknown=x", "pbc=nowhere"])
def test_sources_that_cannot_be_used_are_refused(tmp_path: Path, source: str) -> None:
    with pytest.raises(presets.SourceError):
        prepare([source], tmp_path / "out.csv", 0.2, 1)
    assert not (tmp_path / "out.csv").exists()


@pytest.mark.parametrize(("um", "expected"), [(3.9, None), (4.0, "Large thrombocyte"), (7.0, "Giant thrombocyte")])
def test_size_classes(um: float, expected: str | None) -> None:
    assert size_class(um) == expected


@pytest.mark.parametrize("um", [3.0, 5.0, 9.0])
def test_the_diameter_of_a_disc(tmp_path: Path, um: float) -> None:
    platelet(tmp_path / "disc.png", um)
    assert equivalent_diameter(read_pixels(tmp_path / "disc.png")) == pytest.approx(um, abs=0.15)


def test_an_empty_field_has_no_platelet() -> None:
    assert equivalent_diameter(np.full((300, 300, 3), 220, np.uint8)) == 0.0


@needs_shared
def test_diameters_agree_with_an_independent_measurement() -> None:
    root = Path(SHARED or "") / "data" / "real"
    with (root / "pbc_platelet_size.csv").open() as stream:
        rows = list(csv.DictReader(stream))[::6]
    found = np.array([equivalent_diameter(read_pixels(root / row["path"])) for row in rows])
    expected = np.array([float(row["eq_diameter_um"]) for row in rows])
    assert np.corrcoef(found, expected)[0, 1] > 0.85
    assert np.median(found / expected) == pytest.approx(1, abs=0.05)


@needs_shared
def test_the_shared_images_give_the_manifest_that_the_shipped_bundle_was_trained_on(tmp_path: Path) -> None:
    from contract import bundle
    from contract.bundle import sha256_of
    from training.data import manifest
    from training.train import enough_images

    root = Path(SHARED or "") / "data" / "real" / "images"
    sources = [f"pbc={root / 'pbc_barcelona'}", f"matek-marrow={root / 'bm_cytomorphology_mll'}"]
    prepare(sources, tmp_path / "open.csv", 0.2, 2022)
    shipped = bundle.read_manifest(Path(__file__).parents[3] / "models" / "hal-c" / "1").provenance
    images = enough_images(manifest.read(tmp_path / "open.csv"), shipped.recipe["fewest_images"])
    assert manifest.fingerprint(images, sha256_of) == shipped.manifest_sha256
