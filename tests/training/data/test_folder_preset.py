"""A laboratory's own folders, one a class."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from contract.classes import CELL_CLASSES
from training.data.manifest import LabelledImage
from training.data.presets import Skipped, SourceError, find, read
from training.data.presets.folder import preset, read_mapping


def cell(path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(np.zeros((256, 256, 3), np.uint8)).save(path)


def rows(root: Path, mapping: Path | None = None) -> list[LabelledImage | Skipped]:
    return list(preset(root, mapping).rows(root))


@pytest.mark.parametrize("style", ["name", "slug", "snake", "shout"])
def test_folders_are_matched_by_name_and_slug_in_any_style(tmp_path: Path, style: str) -> None:
    styles = {
        "name": lambda c: c.name,
        "slug": lambda c: c.id,
        "snake": lambda c: c.id.replace("-", "_"),
        "shout": lambda c: c.name.upper(),
    }
    for index, known in enumerate(CELL_CLASSES):
        cell(tmp_path / styles[style](known) / f"{index}.png")
    found = {row.path.stem: row.label for row in rows(tmp_path) if isinstance(row, LabelledImage)}
    assert found == {str(c.index): c.name for c in CELL_CLASSES}


def test_the_source_is_the_name_of_the_folder_and_deeper_folders_belong_to_the_class(tmp_path: Path) -> None:
    cell(tmp_path / "our lab" / "Hairy cell" / "slide 3" / "1.bmp")
    (row,) = rows(tmp_path / "our lab")
    assert isinstance(row, LabelledImage)
    assert (row.label, row.source) == ("Hairy cell", "our lab")


def test_everything_that_is_no_class_is_named_at_once(tmp_path: Path) -> None:
    for name in ("Lymfocyte/1.png", "HCL/1.png", "HCL/2.png", "monocyte/1.png", "stray.png"):
        cell(tmp_path / name)
    with pytest.raises(SourceError) as caught:
        preset(tmp_path)
    text = str(caught.value)
    assert "folder 'Lymfocyte' (1 images) is not a class; did you mean 'Lymphocyte'?" in text
    assert "folder 'HCL' (2 images) is not a class" in text
    assert "1 images lie in" in text
    assert "monocyte" not in text
    assert "--mapping" in text


def test_a_mapping_names_folders_and_leaves_some_out(tmp_path: Path) -> None:
    for name in ("HCL", "blasts", "rubbish", "monocyte"):
        cell(tmp_path / "cells" / name / "1.png")
    (tmp_path / "mapping").write_text("# our names\nHCL = Hairy cell\nblasts=blast\nrubbish=\n")
    found = {row.path.parent.name: row for row in rows(tmp_path / "cells", tmp_path / "mapping")}
    labels = {name: row.label for name, row in found.items() if isinstance(row, LabelledImage)}
    assert labels == {"HCL": "Hairy cell", "blasts": "Blast (no lineage spec)", "monocyte": "Monocyte"}
    assert isinstance(found["rubbish"], Skipped)


def test_every_line_of_a_mapping_that_cannot_be_used_is_named(tmp_path: Path) -> None:
    (tmp_path / "mapping").write_text("a=Hary cell\nb\n=Monocyte\nc=Monocyte\nc=Basophil\n")
    with pytest.raises(SourceError) as caught:
        read_mapping(tmp_path / "mapping")
    text = str(caught.value)
    assert "line 1: 'Hary cell' is not a class; did you mean 'Hairy cell'?" in text
    assert "line 2: 'b' is not folder=label" in text
    assert "line 3" in text
    assert "line 5: folder 'c' is mapped twice" in text
    assert "line 4" not in text


@pytest.mark.parametrize("content", [b"", b"# nothing\n", b"\xff\xfe\x00"])
def test_an_empty_or_unreadable_mapping_is_refused(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "mapping").write_bytes(content)
    with pytest.raises(SourceError, match="mapping"):
        read_mapping(tmp_path / "mapping")


def test_a_mapping_of_a_folder_that_is_not_there_is_a_problem(tmp_path: Path) -> None:
    cell(tmp_path / "cells" / "monocyte" / "1.png")
    (tmp_path / "mapping").write_text("HCL=Hairy cell\n")
    with pytest.raises(SourceError, match="'HCL', which holds no image"):
        preset(tmp_path / "cells", tmp_path / "mapping")


def test_own_folders_stand_beside_public_sets(tmp_path: Path) -> None:
    cell(tmp_path / "mine" / "hairy_cell" / "1.png")
    cell(tmp_path / "raabin" / "Train" / "Basophil" / "1_2.png")
    images, _ = read(find([f"folder={tmp_path / 'mine'}", f"raabin={tmp_path / 'raabin'}"]))
    assert [(i.source, i.label) for i in images] == [("mine", "Hairy cell"), ("raabin", "Basophil")]
