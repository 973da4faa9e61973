"""The manifest: everything that is wrong is said at once; the split depends on contents and seed alone."""

from collections import Counter
from dataclasses import replace
from pathlib import Path

import pytest

from contract.bundle import sha256_of
from contract.classes import CLASS_NAMES
from training.data import manifest
from training.data.manifest import LabelledImage, ManifestError


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


def test_missing_columns_are_all_named(tmp_path: Path) -> None:
    (tmp_path / "cells.csv").write_text("path,label\nx,y\n")
    with pytest.raises(ManifestError) as caught:
        manifest.read(tmp_path / "cells.csv")
    assert [problem.split("'")[1] for problem in caught.value.problems] == ["slide_id", "source", "split"]


def test_missing_and_empty_manifests_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ManifestError, match="cannot be read"):
        manifest.read(tmp_path / "none.csv")
    (tmp_path / "empty.csv").write_text("path,label,slide_id,source,split\n")
    with pytest.raises(ManifestError, match="no rows"):
        manifest.read(tmp_path / "empty.csv")


def test_a_split_holds_out_a_fifth_of_every_class_and_source(tmp_path: Path) -> None:
    images = [
        image(tmp_path, f"{label}-{source}-{i}", f"{label}{source}{i}", label, source)
        for label in CLASS_NAMES[:3]
        for source in ("pbc", "matek-marrow")
        for i in range(20)
    ]
    done = manifest.split(images, 0.2, 2022, sha256_of)
    counts = Counter((i.label, i.source, i.split) for i in done)
    assert set(counts.values()) == {16, 4}
    assert {i.path for i in done} == {i.path for i in images}


def test_the_split_does_not_depend_on_names_or_order_and_does_on_the_seed(tmp_path: Path) -> None:
    first = [image(tmp_path / "one", f"{i}.png", f"content {i}") for i in range(50)]
    second = [image(tmp_path / "two", f"{99 - i}.png", f"content {i}") for i in reversed(range(50))]

    def held_out(images: list[LabelledImage], seed: int) -> set[str]:
        return {i.path.read_text() for i in manifest.split(images, 0.2, seed, sha256_of) if i.split == "val"}

    assert held_out(first, 1) == held_out(second, 1)
    assert held_out(first, 1) != held_out(first, 2)


def test_rows_that_have_a_split_keep_it(tmp_path: Path) -> None:
    images = [replace(image(tmp_path, f"{i}", f"{i}"), split="test") for i in range(10)]
    assert {i.split for i in manifest.split(images, 0.2, 1, sha256_of)} == {"test"}


@pytest.mark.parametrize("share", [0.0, 1.0, 1.5])
def test_impossible_shares_are_refused(share: float) -> None:
    with pytest.raises(ValueError, match="between 0 and 1"):
        manifest.split([], share, 1, sha256_of)


def test_byte_identical_images_are_kept_once_and_not_at_all_when_labels_disagree(tmp_path: Path) -> None:
    same = [image(tmp_path, "a", "one"), image(tmp_path, "b", "one")]
    disputed = [image(tmp_path, "c", "two", "Eosinophil"), image(tmp_path, "d", "two", "Band neutrophil")]
    single = image(tmp_path, "e", "three")
    found = manifest.deduplicate([*same, *disputed, single], sha256_of)
    assert found.images == [same[0], single]
    assert found.repeated == [same[1].path]
    assert found.conflicting == [i.path for i in disputed]


def test_the_fingerprint_is_of_contents_and_labels_wherever_they_lie(tmp_path: Path) -> None:
    here = [image(tmp_path / "here", f"{i}", f"{i}") for i in range(3)]
    there = [image(tmp_path / "there", f"x{i}", f"{i}") for i in reversed(range(3))]
    assert manifest.fingerprint(here, sha256_of) == manifest.fingerprint(there, sha256_of)
    relabelled = [replace(here[0], label="Monocyte"), *here[1:]]
    assert manifest.fingerprint(here, sha256_of) != manifest.fingerprint(relabelled, sha256_of)
