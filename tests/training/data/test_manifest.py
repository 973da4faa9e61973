"""The manifest: everything that is wrong is said at once."""

from dataclasses import replace
from pathlib import Path

import pytest

from contract.bundle import sha256_of
from training.data import manifest
from training.data.manifest import LabelledImage, ManifestError
from training.data.selection import deduplicate


def image(folder: Path, name: str, content: str, label: str = "Lymphocyte", source: str = "pbc") -> LabelledImage:
    path = folder / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(content)
    return LabelledImage(path, label, "", source, "", {"original_label": "LY"})


def test_what_is_written_is_read_again_with_every_column(tmp_path: Path) -> None:
    written = [image(tmp_path, "images/a.png", "a"), replace(image(tmp_path, "b.png", "b"), slide_id="7", split="val")]
    manifest.write(tmp_path / "sets" / "cells.csv", written)
    read = manifest.read(tmp_path / "sets" / "cells.csv")
    assert [replace(i, path=i.path.resolve()) for i in read] == [replace(i, path=i.path.resolve()) for i in written]
    assert "../images/a.png" in (tmp_path / "sets" / "cells.csv").read_text()


def test_every_offending_row_is_reported_at_once(tmp_path: Path) -> None:
    (tmp_path / "ok.png").write_text("x")
    rows = ["ok.png,Lymfocyte,,pbc,train", "missing.png,Basophil,,pbc,val", "ok.png,Basophil,,pbc,dev", "ok.png,Qx,,p,"]
    (tmp_path / "cells.csv").write_text("path,label,slide_id,source,split\n" + "\n".join(rows) + "\n")
    with pytest.raises(ManifestError) as caught:
        manifest.read(tmp_path / "cells.csv")
    text = str(caught.value)
    assert "line 2: unknown label 'Lymfocyte'; did you mean 'Lymphocyte'?" in text
    assert "line 3: no image at" in text
    assert "line 4: unknown split 'dev'" in text
    assert "line 5: unknown label 'Qx'; expected one of Segmented neutrophil" in text
    assert len(caught.value.problems) == 4


def test_missing_columns_and_wrong_rows_are_all_named(tmp_path: Path) -> None:
    (tmp_path / "cells.csv").write_text("path,label\nx,y\n")
    with pytest.raises(ManifestError) as caught:
        manifest.read(tmp_path / "cells.csv")
    assert [problem.split("'")[1] for problem in caught.value.problems[:3]] == ["slide_id", "source", "split"]
    assert [problem.split(";")[0] for problem in caught.value.problems[3:]] == [
        "line 2: unknown label 'y'",
        f"line 2: no image at {tmp_path / 'x'}",
    ]


def test_rows_of_another_length_are_problems_and_not_crashes(tmp_path: Path) -> None:
    (tmp_path / "cells.csv").write_text("path,label,slide_id,source,split\n\nshort\n,,,,\na,Basophil,1,s,train,b,c\n")
    with pytest.raises(ManifestError) as caught:
        manifest.read(tmp_path / "cells.csv")
    text = str(caught.value)
    assert "unknown label ''" in text
    assert "no path" in text
    assert "2 more fields than the header has columns" in text


@pytest.mark.parametrize("content", [b"\xff\xfe", b"path,label\n\x00,\xe4\n"])
def test_a_file_that_is_not_text_is_refused(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "cells.csv").write_bytes(content)
    with pytest.raises(ManifestError, match="cannot be read"):
        manifest.read(tmp_path / "cells.csv")


def test_several_experts_labels_are_made_one_or_the_image_is_dropped(tmp_path: Path) -> None:
    (tmp_path / "x.png").write_text("x")
    rows = [
        "x.png,,,s,train,Basophil|",
        "x.png,Basophil,,s,test,",
        "x.png,Basophil,,s,test,Basophil|Basophil",
        "x.png,Basophil,,s,val,Basophil|Monocyte",
        "x.png,,,s,train,",
        "x.png,Monocyte,,s,,",
    ]
    (tmp_path / "cells.csv").write_text("path,label,slide_id,source,split,expert_labels\n" + "\n".join(rows) + "\n")
    reading = manifest.examine(tmp_path / "cells.csv")
    assert reading.problems == []
    assert [(i.label, i.split) for i in reading.images] == [
        ("Basophil", "train"),
        ("Basophil", "test"),
        ("Monocyte", ""),
    ]
    assert [d.reason.split(":")[0] for d in reading.dropped] == [
        "1 expert labelled it, a test image needs 2",
        "the experts disagree",
        "no expert labelled it, a train image needs 1",
    ]
    assert manifest.read(tmp_path / "cells.csv") == reading.images


def test_a_manifest_without_experts_is_not_subject_to_the_rule(tmp_path: Path) -> None:
    (tmp_path / "x.png").write_text("x")
    (tmp_path / "cells.csv").write_text("path,label,slide_id,source,split\nx.png,Basophil,,s,test\n")
    assert [i.label for i in manifest.read(tmp_path / "cells.csv")] == ["Basophil"]


def test_experts_who_contradict_the_label_or_know_no_class_are_problems(tmp_path: Path) -> None:
    (tmp_path / "x.png").write_text("x")
    rows = ["x.png,Basophil,,s,train,Monocyte|Monocyte", "x.png,Basophil,,s,train,Basophil|Basofil"]
    (tmp_path / "cells.csv").write_text("path,label,slide_id,source,split,expert_labels\n" + "\n".join(rows) + "\n")
    with pytest.raises(ManifestError) as caught:
        manifest.read(tmp_path / "cells.csv")
    assert "line 2: label is 'Basophil' but the experts agree on 'Monocyte'" in str(caught.value)
    assert "line 3: unknown expert label 'Basofil'; did you mean 'Basophil'?" in str(caught.value)
    assert len(caught.value.problems) == 2


def test_a_column_that_occurs_twice_is_a_problem(tmp_path: Path) -> None:
    (tmp_path / "cells.csv").write_text("path,label,slide_id,source,split,label\n")
    assert "column 'label' occurs twice" in manifest.examine(tmp_path / "cells.csv").problems


def test_missing_and_empty_manifests_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ManifestError, match=r"there is no manifest .*none\.csv:\n.*hal data prepare"):
        manifest.read(tmp_path / "none.csv")
    with pytest.raises(ManifestError, match=r"is a folder, not a manifest:\n.*hal data prepare --preset folder="):
        manifest.read(tmp_path)
    (tmp_path / "empty.csv").write_text("path,label,slide_id,source,split\n")
    with pytest.raises(ManifestError, match="no rows"):
        manifest.read(tmp_path / "empty.csv")


def test_byte_identical_images_are_kept_once_and_not_at_all_when_labels_disagree(tmp_path: Path) -> None:
    same = [image(tmp_path, "a", "one"), image(tmp_path, "b", "one")]
    disputed = [image(tmp_path, "c", "two", "Eosinophil"), image(tmp_path, "d", "two", "Band neutrophil")]
    single = image(tmp_path, "e", "three")
    found = deduplicate([*same, *disputed, single], sha256_of)
    assert found.images == [same[0], single]
    assert [(each.image, each.reason) for each in found.dropped] == [
        (same[1], "the same image as another"),
        *((image, "the same image as one with another label") for image in disputed),
    ]


def test_the_fingerprint_is_of_contents_and_labels_wherever_they_lie(tmp_path: Path) -> None:
    here = [image(tmp_path / "here", f"{i}", f"{i}") for i in range(3)]
    there = [image(tmp_path / "there", f"x{i}", f"{i}") for i in reversed(range(3))]
    assert manifest.fingerprint(here, sha256_of) == manifest.fingerprint(there, sha256_of)
    relabelled = [replace(here[0], label="Monocyte"), *here[1:]]
    assert manifest.fingerprint(here, sha256_of) != manifest.fingerprint(relabelled, sha256_of)


def test_a_manifest_that_cannot_be_written_is_an_error_and_leaves_the_old_one(tmp_path: Path) -> None:
    manifest.write(tmp_path / "cells.csv", [image(tmp_path, "a.png", "a")])
    (tmp_path / "cells.csv.tmp").mkdir()
    before = (tmp_path / "cells.csv").read_bytes()
    with pytest.raises(ManifestError, match="cannot be written"):
        manifest.write(tmp_path / "cells.csv", [])
    assert (tmp_path / "cells.csv").read_bytes() == before
