"""Presets on made folders of the public layouts, and on the real images where they are at hand."""

import csv
import os
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from contract.bundle import sha256_of
from contract.classes import CLASS_NAMES
from training.data import image_list, manifest, presets
from training.data.contents import with_pixels
from training.data.images import pixels_sha256, read_image, read_pixels
from training.data.manifest import LabelledImage
from training.data.prepare import Choices, prepare
from training.data.presets import PRESETS, Preset, Skipped
from training.data.presets.pbc import equivalent_diameter, size_class

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


def labels_of(rows: list[LabelledImage | Skipped]) -> dict[str, str]:
    return {row.path.name: row.reason if isinstance(row, Skipped) else row.label for row in rows}


def test_the_mll23_layout(tmp_path: Path) -> None:
    plain(tmp_path / "hairy_cell" / "hairy_cell" / "00001.tif", 10)
    plain(tmp_path / "lymphocyte_neoplastic" / "00002.tif", 20)
    plain(tmp_path / "promyelocyte_atypical" / "00003.tif", 30)
    plain(tmp_path / "lymphocyte_large_granular" / "00004.TIF", 40)
    plain(tmp_path / "dacryocyte" / "00005.tif", 50)
    (tmp_path / "__MACOSX" / "hairy_cell").mkdir(parents=True)
    (tmp_path / "__MACOSX" / "hairy_cell" / "00001.tif").write_bytes(b"a resource fork")
    (tmp_path / "hairy_cell" / "hairy_cell" / "._00001.tif").write_bytes(b"a resource fork")
    assert labels_of(list(PRESETS["mll23"].rows(tmp_path))) == {
        "00001.tif": "Hairy cell",
        "00002.tif": "Abnormal lymphocyte",
        "00003.tif": "atypical promyelocytes are leukaemic; no class of the 20 is theirs alone",
        "00004.TIF": "large granular lymphocytes may be normal or neoplastic, which is not said",
        "00005.tif": "class 'dacryocyte' has no counterpart among the 20",
    }


def test_mll23_is_brought_to_the_analyser_s_scale_once_and_every_image_names_its_photograph(tmp_path: Path) -> None:
    rows, columns = np.mgrid[:288, :288]
    for number in range(10):
        disc = np.hypot(rows - 144, columns - 144) < 57.6 + number / 10  # 10 um across
        path = tmp_path / "MLL23" / ("hairy_cell", "monocyte")[number % 2] / f"{number}.tif"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(np.where(disc[..., None], [60, 60, 200], 235).astype(np.uint8)).save(path)
    prepare([f"mll23={tmp_path / 'MLL23'}"], tmp_path / "out.csv", Choices(seed=1))
    images = manifest.read(tmp_path / "out.csv")
    assert len(images) == 10
    for image in images:
        pixels = read_pixels(image.path)
        assert pixels.shape == (250, 250, 3)
        across = (pixels[125, :, 0] < 150).sum()
        assert across == pytest.approx(100, abs=3), "10 um at 10 pixels per um"
        photograph = next((tmp_path / "MLL23").rglob(f"{image.path.stem.split('-')[0]}.tif"))
        assert image.extra["parent_sha256"] == sha256_of(photograph)
        assert image.extra["resampled_from_pixels_per_um"] == "11.52"
        assert image.extra["pixels_sha256"] == pixels_sha256(read_image(image.path))
    again = manifest.fingerprint(images, sha256_of)
    prepare([f"mll23={tmp_path / 'MLL23'}"], tmp_path / "out.csv", Choices(seed=1))
    assert manifest.fingerprint(manifest.read(tmp_path / "out.csv"), sha256_of) == again
    image_list.write(tmp_path / "images.csv", images, sha256_of)
    prepare([f"mll23={tmp_path / 'MLL23'}"], tmp_path / "like.csv", Choices(), like=tmp_path / "images.csv")
    assert manifest.fingerprint(manifest.read(tmp_path / "like.csv"), sha256_of) == again
    known = image_list.splits(tmp_path / "images.csv")
    Image.open(photograph).save(tmp_path / "anew.bmp")
    (anew,) = with_pixels([LabelledImage(tmp_path / "anew.bmp", "Monocyte", "", "s", "")])
    assert image_list.seen_as(anew, sha256_of(anew.path), known) == images[-1].split, "the photograph, written anew"


def test_every_class_of_mll23_is_mapped_or_left_out_for_a_reason() -> None:
    """The 18 names of ``labels_MLL23.csv``."""
    names = (
        "basophil eosinophil hairy_cell lymphocyte lymphocyte_large_granular lymphocyte_neoplastic lymphocyte_reactive "
        "metamyelocyte monocyte myeloblast myelocyte neutrophil_band neutrophil_segmented normoblast plasma_cell "
        "promyelocyte promyelocyte_atypical smudge_cell"
    )
    assert sorted([*PRESETS["mll23"].labels, *PRESETS["mll23"].left_out]) == names.split()


def test_every_class_of_aml_lmu_is_mapped_or_left_out_for_a_reason() -> None:
    """The 15 codes of ``abbreviations.txt``."""
    codes = ["BAS", "EBO", "EOS", "KSC", "LYA", "LYT", "MMZ", "MOB", "MON", "MYB", "MYO", "NGB", "NGS", "PMB", "PMO"]
    assert sorted([*PRESETS["aml-lmu"].labels, *PRESETS["aml-lmu"].left_out]) == codes


def test_the_aml_lmu_layout_without_annotations_has_one_label_an_image(tmp_path: Path) -> None:
    plain(tmp_path / "NGS" / "NGS_0001.tiff", 10)
    plain(tmp_path / "MOB" / "MOB_0001.tiff", 20)
    plain(tmp_path / "LYA" / "LYA_0001.tiff", 30)
    plain(tmp_path / "MOO" / "MOO_0001.tiff", 40)
    rows = list(PRESETS["aml-lmu"].rows(tmp_path))
    assert labels_of(rows) == {
        "NGS_0001.tiff": "Segmented neutrophil",
        "MOB_0001.tiff": "Blast (no lineage spec)",
        "LYA_0001.tiff": "atypical lymphocytes may be reactive or neoplastic, which is not said",
        "MOO_0001.tiff": "class 'MOO' has no counterpart among the 20",
    }
    assert all("expert_labels" not in row.extra for row in rows if not isinstance(row, Skipped))


def test_the_annotations_of_aml_lmu_become_the_labels_of_experts(tmp_path: Path) -> None:
    for number in range(1, 6):
        plain(tmp_path / "images" / "BAS" / f"BAS_000{number}.tiff", 10 * number)
    lines = ["nan nan", "BAS BAS", "EOS EOS", "UNC BAS", "LYA nan"]
    (tmp_path / "annotations.dat").write_text("".join(f"BAS/BAS_000{n}.tiff BAS {t}\n" for n, t in enumerate(lines, 1)))
    prepare([f"aml-lmu={tmp_path}"], tmp_path / "out.csv", Choices(seed=1))
    reading = manifest.examine(tmp_path / "out.csv")
    kept = {image.path.stem: image.extra["expert_labels"] for image in reading.images}
    assert kept == {"BAS_0001": "Basophil", "BAS_0002": "Basophil|Basophil|Basophil"}
    rows = labels_of(list(PRESETS["aml-lmu"].rows(tmp_path)))
    assert rows["BAS_0004.tiff"] == "an annotator could not decide on a class"
    assert "'LYA'" in rows["BAS_0005.tiff"]


def test_annotations_of_another_form_are_all_named(tmp_path: Path) -> None:
    plain(tmp_path / "BAS" / "BAS_0001.tiff", 10)
    (tmp_path / "annotations.dat").write_text("BAS/BAS_0001.tiff BAS nan nan\n\nBAS_0002\na b c d e\n")
    with pytest.raises(presets.SourceError, match=r"(?s)2 lines.*line 3.*line 4"):
        list(PRESETS["aml-lmu"].rows(tmp_path))


def test_the_raabin_layout_gives_smears(tmp_path: Path) -> None:
    plain(tmp_path / "Train" / "Basophil" / "20190526_163608_1.jpg", 10)
    plain(tmp_path / "TestA" / "Monocyte" / "95-5-10-1_34_2.jpg", 20)
    plain(tmp_path / "TestB" / "Neutrophil" / "95-5-4-1_3_1.jpg", 30)
    plain(tmp_path / "TestB" / "Lymphocyte" / "unnamed.jpg", 40)
    rows = list(PRESETS["raabin"].rows(tmp_path))
    assert labels_of(rows)["95-5-4-1_3_1.jpg"] == "band and segmented neutrophils are not told apart"
    assert {row.label: row.slide_id for row in rows if not isinstance(row, Skipped)} == {
        "Basophil": "20190526",
        "Monocyte": "95-5-10-1",
        "Lymphocyte": "",
    }


@pytest.mark.parametrize("preset", PRESETS.values(), ids=lambda preset: preset.name)
def test_every_preset_names_classes_of_ours_and_its_origin(preset: Preset) -> None:
    assert set(preset.labels.values()) <= set(CLASS_NAMES)
    assert not set(preset.labels) & set(preset.left_out)
    assert all((preset.title, preset.licence, preset.citation, preset.layout))


def test_a_folder_without_images_is_refused(tmp_path: Path) -> None:
    with pytest.raises(presets.SourceError, match="no images below"):
        list(PRESETS["pbc"].rows(tmp_path))


def test_sources_that_cannot_be_used_are_all_named(tmp_path: Path) -> None:
    with pytest.raises(presets.SourceError) as caught:
        presets.find(["pbc", f"pbc={tmp_path}", "unknown=x", "mll23=nowhere"])
    assert [problem.split("'")[1] for problem in caught.value.problems] == ["pbc", "unknown=x", "mll23=nowhere"]


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
