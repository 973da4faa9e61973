"""``check`` finds everything at once and tells errors from warnings."""

import json
from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from rich.console import Console

from training.data import manifest
from training.data.check import Findings, Kind, check, show, write_json
from training.data.manifest import LabelledImage, ManifestError


def cell(
    folder: Path, name: str, shade: int, label: str = "Lymphocyte", split: str = "train", **known: str
) -> LabelledImage:
    path = folder / name
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(np.full((256, 256, 3), shade, np.uint8)).save(path)
    source = known.pop("source", "s")
    return LabelledImage(path, label, known.pop("slide", ""), source, split, known)


def clean(folder: Path) -> list[LabelledImage]:
    """Twelve training and three validation images of each of two classes, on fifteen slides."""
    splits = ["train"] * 12 + ["val"] * 3
    return [
        cell(folder, f"{label}-{index}.png", 2 * index + shade, label, split, slide=f"{index}")
        for shade, label in enumerate(("Lymphocyte", "Monocyte"))
        for index, split in enumerate(splits)
    ]


def checked(folder: Path, images: Sequence[LabelledImage], **options: Any) -> Findings:
    """What is found in a manifest of the images, none of them decoded unless told to."""
    manifest.write(folder / "cells.csv", images)
    return check(folder / "cells.csv", **options)


def as_json(found: Findings, folder: Path) -> dict[str, Any]:
    write_json(found, folder / "sub" / "findings.json")
    told: dict[str, Any] = json.loads((folder / "sub" / "findings.json").read_text())
    return told


def kinds(found: Findings) -> tuple[Counter[Kind], Counter[Kind]]:
    return Counter(f.kind for f in found.errors), Counter(f.kind for f in found.warnings)


def test_clean_images_have_no_errors_and_only_the_absent_classes_are_said(tmp_path: Path) -> None:
    found = checked(tmp_path, clean(tmp_path), decode=list)
    assert kinds(found) == ({}, {Kind.ABSENT_CLASS: 1})
    assert len(found.images) == 30
    found.require()


def test_everything_that_is_wrong_is_found_at_once(tmp_path: Path) -> None:
    images = clean(tmp_path)
    (tmp_path / "broken.jpg").write_bytes(b"no image")
    images += [
        replace(images[0], split="val", slide_id=""),
        replace(images[2], label="Monocyte", slide_id=""),
        cell(tmp_path, "torn.png", 251, split="val", slide="0"),
        cell(tmp_path, "only.png", 252, "Basophil", "val", slide="b"),
        cell(tmp_path, "p1.png", 253, slide="p1", patient_id="7"),
        cell(tmp_path, "p2.png", 254, split="val", slide="p2", patient_id="7"),
        LabelledImage(tmp_path / "broken.jpg", "Lymphocyte", "c", "s", "train"),
        LabelledImage(tmp_path / "gone.png", "Lymphocyte", "d", "s", "train"),
    ]
    small = tmp_path / "small.png"
    Image.fromarray(np.zeros((90, 90, 3), np.uint8)).save(small)
    images.append(LabelledImage(small, "Lymphocyte", "e", "s", "train"))
    written = [i for i in images if i.path.exists()]
    manifest.write(tmp_path / "cells.csv", written)
    with (tmp_path / "cells.csv").open("a") as rows:
        rows.write("gone.png,Lymphozyte,d,s,trian,\n")

    errors, _ = kinds(found := check(tmp_path / "cells.csv", list))
    assert errors == {
        Kind.MANIFEST: 3,
        Kind.UNREADABLE: 2,
        Kind.CONFLICT: 1,
        Kind.CONTENT_IN_SPLITS: 1,
        Kind.SLIDE_IN_SPLITS: 2,
        Kind.EMPTY_CLASS: 1,
    }
    text = "\n".join(finding.message for finding in found.errors)
    for offender in ("Lymphozyte", "did you mean 'Lymphocyte'", "trian", "gone.png", "broken.jpg", "small.png: 90x90"):
        assert offender in text
    assert "patient '7' of s is in train (1 images) and val (1 images)" in text
    assert "Basophil: no training image (1 held out)" in text
    with pytest.raises(ManifestError) as caught:
        found.require()
    assert len(caught.value.problems) == len(found.errors)


def test_shared_slides_can_be_tolerated_and_equal_images_cannot(tmp_path: Path) -> None:
    images = clean(tmp_path)
    torn = [*images, cell(tmp_path, "torn.png", 251, split="val", slide="0"), replace(images[0], split="val")]
    errors, warned = kinds(checked(tmp_path, torn, shared_slides=True))
    assert errors == {Kind.CONTENT_IN_SPLITS: 1}
    assert warned == {Kind.SLIDE_IN_SPLITS: 1, Kind.ABSENT_CLASS: 1}


def test_warnings(tmp_path: Path) -> None:
    images = [
        *clean(tmp_path),
        cell(tmp_path, "b1.png", 250, "Basophil", slide="b", source="t"),
        cell(tmp_path, "free.png", 251, split=""),
        cell(tmp_path, "l1.png", 252, slide="x"),
        cell(tmp_path, "l1-again.png", 252, slide="x"),
    ]
    found = checked(tmp_path, images)
    assert kinds(found) == (
        {},
        {
            Kind.FEW_IMAGES: 1,
            Kind.ABSENT_CLASS: 1,
            Kind.ONE_SOURCE: 3,
            Kind.NO_SLIDE: 1,
            Kind.NO_SPLIT: 1,
            Kind.REPEATED: 1,
        },
    )


def test_a_description_for_evaluation_alone_has_no_empty_classes(tmp_path: Path) -> None:
    found = checked(tmp_path, [replace(image, split="test") for image in clean(tmp_path)])
    assert kinds(found) == ({}, {Kind.ABSENT_CLASS: 1, Kind.NO_IMAGES: 1})


def test_what_is_dropped_is_reported_and_can_leave_a_class_empty(tmp_path: Path) -> None:
    images = [replace(image, extra={"expert_labels": ""}) for image in clean(tmp_path)]
    disputed = cell(tmp_path, "b.png", 250, "Basophil", slide="b", expert_labels="Basophil|Monocyte")
    found = checked(tmp_path, [*images, disputed])
    assert [item.reason.split(":")[0] for item in found.dropped] == ["the experts disagree"]
    (error,) = found.errors
    assert error.kind is Kind.EMPTY_CLASS
    assert "Basophil: no training image (all 1 images were left out)" in error.message


def test_the_findings_are_printed_with_totals_and_written_for_machines(tmp_path: Path) -> None:
    images = [*clean(tmp_path), cell(tmp_path, "h [1].png", 250, "Hairy cell", "val", slide="h", source="hairy [db]")]
    found = checked(tmp_path, images)
    console = Console(width=160, record=True, quiet=False, file=(tmp_path / "shown.txt").open("w"))
    show(found, console)
    shown = console.export_text()
    rows = {line.split("│")[1].strip(): line.split("│")[2:-1] for line in shown.splitlines() if line.count("│") == 6}
    assert [int(number) for number in rows["Lymphocyte"] if number.strip()] == [
        sum(i.label == "Lymphocyte" and i.split in splits for i in found.images)
        for splits in (("train",), ("val",), ("train", "val"))
    ]
    assert int(rows["Total"][2]) == len(found.images)
    assert "hairy [db]" in shown
    assert "Error: classes with nothing to learn from (1)" in shown
    assert "1 errors" in shown

    written = as_json(found, tmp_path)
    assert written["ok"] is False
    assert [error["kind"] for error in written["errors"]] == ["empty_class"]
    assert sum(sum(splits.values()) for splits in written["classes"].values()) == written["images"] == len(found.images)
    assert written["dropped"] == []
    assert {(row["set"], row["source"]) for row in written["sets"]} == {("A", "hairy [db]"), ("B", "s")}


def test_long_lists_are_cut_on_the_terminal_and_whole_for_machines(tmp_path: Path) -> None:
    images = [LabelledImage(tmp_path / f"gone-{n}.png", "Lymphocyte", "", "s", "train") for n in range(60)]
    found = checked(tmp_path, images)
    console = Console(width=200, record=True, file=(tmp_path / "shown.txt").open("w"))
    show(found, console)
    assert "... and 10 more" in console.export_text()
    assert len([each for each in as_json(found, tmp_path)["errors"] if each["kind"] == "manifest"]) == 60
