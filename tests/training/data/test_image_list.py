"""A bundle's image list finds the same images and split in another download."""

from dataclasses import replace
from pathlib import Path

import pytest

from contract.bundle import sha256_of
from training.data import image_list, manifest
from training.data.manifest import LabelledImage, ManifestError
from training.data.splits import by_image


def download(folder: Path, count: int) -> list[LabelledImage]:
    folder.mkdir()
    images = []
    for index in range(count):
        path = folder / f"LY_{index}.jpg"
        path.write_text(f"content {index}")
        images.append(LabelledImage(path, "Lymphocyte", "", "pbc", ""))
    return images


def test_the_same_images_and_split_are_found_in_a_larger_download(tmp_path: Path) -> None:
    first = by_image(download(tmp_path / "first", 20), 0.2, 1, sha256_of)
    image_list.write(tmp_path / "images.csv", first, sha256_of)
    found = image_list.select(tmp_path / "images.csv", download(tmp_path / "second", 30), sha256_of)
    assert manifest.fingerprint(found, sha256_of) == manifest.fingerprint(first, sha256_of)


def test_missing_and_relabelled_images_are_all_named(tmp_path: Path) -> None:
    images = download(tmp_path / "first", 5)
    image_list.write(tmp_path / "images.csv", images, sha256_of)
    with pytest.raises(ManifestError) as caught:
        image_list.select(tmp_path / "images.csv", [replace(images[0], label="Monocyte"), *images[1:3]], sha256_of)
    text = str(caught.value)
    assert "LY_3.jpg of pbc is not there" in text
    assert "LY_4.jpg of pbc is not there" in text
    assert "labelled 'Monocyte', the list says 'Lymphocyte'" in text


def test_missing_columns_of_a_list_are_all_named(tmp_path: Path) -> None:
    (tmp_path / "images.csv").write_text("sha256,label,name,source\n")
    with pytest.raises(ManifestError) as caught:
        image_list.select(tmp_path / "images.csv", [], sha256_of)
    assert caught.value.problems == ("no column 'slide_id'", "no column 'split'")


def test_an_unreadable_list_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(ManifestError, match="cannot be read"):
        image_list.select(tmp_path / "none.csv", [], sha256_of)


def test_of_copies_the_photographs_are_found_and_what_was_made_is_passed_over(tmp_path: Path) -> None:
    photographs = by_image(download(tmp_path / "photographs", 10), 0.3, 1, sha256_of)

    def made(kind: str, parent: LabelledImage) -> LabelledImage:
        path = tmp_path / f"{kind}-{parent.path.stem}.png"
        path.write_text(f"{kind} of {parent.path.name}")
        return replace(parent, path=path, extra={"kind": kind, "parent_sha256": sha256_of(parent.path)})

    copies = [made("real", image) for image in photographs]
    edited = [made("sham", photographs[0]), made("composite", photographs[1])]
    image_list.write(tmp_path / "images.csv", [*copies, *edited], sha256_of)
    found = image_list.select(tmp_path / "images.csv", download(tmp_path / "second", 12), sha256_of)
    assert manifest.fingerprint(found, sha256_of) == manifest.fingerprint(photographs, sha256_of)
    assert image_list.splits(tmp_path / "images.csv")[sha256_of(edited[0].path)] == photographs[0].split


def test_a_copy_a_composite_and_their_photograph_are_one_image_to_a_network(tmp_path: Path) -> None:
    made = row("made.png", "train", kind="composite", parent_sha256="photograph")
    held = row("held.png", "test", kind="real", parent_sha256="other")
    image_list.write(tmp_path / "images.csv", [made, held], {made.path: "made", held.path: "held"}.__getitem__)
    known = image_list.splits(tmp_path / "images.csv")
    assert image_list.seen_as(row("x.png", "test"), "made", known) == "train"
    assert image_list.seen_as(row("x.png", "test"), "photograph", known) == "train"
    assert image_list.seen_as(row("x.png", "test", parent_sha256="photograph"), "new", known) == "train"
    assert image_list.seen_as(row("x.png", "test", parent_sha256="held", donors_sha256="a|made"), "", known) == "train"
    assert image_list.seen_as(row("x.png", "test", parent_sha256="other"), "new", known) == "test"
    assert image_list.seen_as(row("x.png", "test"), "new", known) == ""


def row(name: str, split: str, **extra: str) -> LabelledImage:
    return LabelledImage(Path(name), "Lymphocyte", "", "pbc", split, extra)
