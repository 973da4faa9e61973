"""Cells that were confirmed on the review page, from its archives to a manifest."""

import csv
import functools
import hashlib
import io
import re
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from typer.testing import CliRunner, Result

from training.data import manifest
from training.data.cli import app
from training.data.presets import review

COLUMNS = ["image", "label", "predicted", "confidence", "reviewer", "slide_id", "sha256", "source", "model"]
Row = dict[str, str]


@functools.cache
def picture(number: int) -> bytes:
    pixels = np.random.default_rng(number).integers(0, 255, (256, 256, 3)).astype(np.uint8)
    stream = io.BytesIO()
    Image.fromarray(pixels).save(stream, "PNG")
    return stream.getvalue()


def row(number: int, label: str = "monocyte", slide: str = "", **other: str) -> Row:
    digest = hashlib.sha256(picture(number)).hexdigest()
    told = {"image": f"images/{digest}.png", "label": label, "predicted": "lymphocyte", "confidence": "0.61"}
    return told | {
        "reviewer": "A. Han",
        "slide_id": slide or f"slide {number % 4}",
        "sha256": digest,
        "source": "review",
        "model": "hal-c 2.0.0 abc",
        **other,
    }


def export(path: Path, rows: list[Row], day: int = 1, columns: list[str] = COLUMNS, **files: bytes) -> Path:
    """An archive as the review page writes it; ``files`` are put beside."""
    text = io.StringIO()
    writer = csv.DictWriter(text, columns, extrasaction="ignore")
    writer.writeheader()
    writer.writerows(rows)
    content = {row(number)["image"]: picture(number) for number in range(12)} | files
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for name in {each["image"] for each in rows} & {*content} | {*files}:
            archive.writestr(name, content[name])
        archive.writestr(zipfile.ZipInfo("manifest.csv", (2026, 11, day, 12, 0, 0)), text.getvalue())
    return path


def prepare(out: Path, *archives: Path, options: tuple[str, ...] = ()) -> Result:
    presets = [part for path in archives for part in ("--preset", f"review={path}")]
    return CliRunner().invoke(app, ["prepare", *presets, "--out", str(out), *options])


def test_confirmed_cells_become_a_manifest_that_keeps_slides_together_and_says_who_confirmed(tmp_path: Path) -> None:
    archive = export(tmp_path / "corrections.zip", [row(number) for number in range(12)])
    done = prepare(tmp_path / "site.csv", archive, options=("--validation-share", "0.25"))
    assert done.exit_code == 0, done.output
    images = manifest.read(tmp_path / "site.csv")
    assert len(images) == 12
    assert {(image.label, image.source, image.extra["reviewer"]) for image in images} == {
        ("Monocyte", "review", "A. Han")
    }
    assert images[0].extra["predicted"] == "lymphocyte"
    sides = {(image.slide_id, image.split) for image in images}
    assert len(sides) == 4
    assert {split for _, split in sides} == {"train", "val"}
    assert {hashlib.sha256(image.path.read_bytes()).hexdigest() for image in images} == {
        row(number)["sha256"] for number in range(12)
    }


def test_of_a_cell_that_was_corrected_twice_the_later_archive_counts_whatever_their_order(tmp_path: Path) -> None:
    monday = export(tmp_path / "monday.zip", [row(0), row(1), row(4)], day=2)
    friday = export(tmp_path / "friday.zip", [row(0, "promyelocyte", reviewer="R. S."), row(1)], day=6)
    for archives in ((monday, friday), (friday, monday)):
        done = prepare(tmp_path / "site.csv", *archives)
        assert done.exit_code == 0, done.output
        labels = {image.path.stem: image.label for image in manifest.read(tmp_path / "site.csv")}
        assert labels == {
            row(0)["sha256"]: "Promyelocyte",
            row(1)["sha256"]: "Monocyte",
            row(4)["sha256"]: "Monocyte",
        }
        told = " ".join(done.output.split())
        conflict = "is 'monocyte' by A. Han in monday.zip, later 'promyelocyte' by R. S. in friday.zip"
        assert f"left out 1: conflict: cell {row(0)['sha256'][:12]} {conflict}" in told
        assert "left out 1: confirmed again later with the same class" in told


def test_one_slide_alone_can_be_prepared_and_is_said_to_be_split(tmp_path: Path) -> None:
    archive = export(tmp_path / "corrections.zip", [row(number, slide="7") for number in range(8)])
    done = prepare(tmp_path / "site.csv", archive)
    assert done.exit_code == 0, done.output
    assert "split by image" in done.output


def test_everything_that_is_wrong_with_all_archives_is_said_at_once_and_nothing_is_unpacked(tmp_path: Path) -> None:
    wrong = [
        row(0, label="Monocyte"),
        row(1, image="../../outside.png"),
        row(2, image="images/absent.png"),
        row(3, image="images/script.svg"),
        row(4, sha256="0" * 64),
        row(5, sha256="not a hash"),
    ]
    many = export(tmp_path / "many.zip", wrong)
    without = export(tmp_path / "without.zip", [row(0)], columns=COLUMNS[:5])
    empty = export(tmp_path / "empty.zip", [])
    (torn := tmp_path / "torn.zip").write_bytes(many.read_bytes()[:700])
    done = prepare(tmp_path / "site.csv", many, without, empty, torn)
    assert done.exit_code == 1
    told = " ".join(done.output.split())
    for problem in (
        "many.zip: manifest.csv, line 2: label 'Monocyte' is no class id",
        "many.zip: manifest.csv, line 3: image '../../outside.png' leaves the archive",
        "many.zip: manifest.csv, line 4: image 'images/absent.png' is not in the archive",
        "many.zip: manifest.csv, line 5: image 'images/script.svg': expected files that end in",
        f"many.zip: manifest.csv, line 6: image '{row(4)['image']}' has SHA-256 {row(4)['sha256']}, the row says 0000",
        "many.zip: manifest.csv, line 7: sha256 'not a hash'",
        "without.zip: manifest.csv has no column slide_id, sha256, source, model",
        "empty.zip: manifest.csv has no row",
        "torn.zip: cannot be read as a ZIP archive",
    ):
        assert problem in told
    assert [path.name for path in tmp_path.iterdir() if path.suffix != ".zip"] == []


@pytest.mark.parametrize("limit", ["MOST_FILES", "MOST_BYTES", "MOST_BYTES_OF_IMAGE"])
def test_an_archive_that_unpacks_to_more_than_the_limits_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, limit: str
) -> None:
    archive = export(tmp_path / "bomb.zip", [row(0)], bomb=bytes(1 << 20))
    assert archive.stat().st_size < 1 << 19
    monkeypatch.setattr(review, limit, 2 if limit == "MOST_FILES" else 1 << 19)
    done = prepare(tmp_path / "site.csv", archive)
    assert done.exit_code == 1
    assert re.search(r"bomb.zip: 3 files of \d+ bytes", " ".join(done.output.split()))


@pytest.mark.parametrize(
    "spoil",
    [
        lambda content: content.replace(b"IDAT", b"IDAX", 1),  # the checksum of a member is wrong
        lambda content: content[: len(content) // 2],
        lambda content: content[:0],
        lambda content: content.replace(b"manifest.csv", b"manifold.csv"),
    ],
)
def test_a_damaged_archive_is_an_error_in_words(tmp_path: Path, spoil: Callable[[bytes], Any]) -> None:
    stored = tmp_path / "stored.zip"
    with zipfile.ZipFile(stored, "w") as archive:
        archive.writestr(row(0)["image"], picture(0))
        archive.writestr("manifest.csv", ",".join(COLUMNS) + "\n" + ",".join(row(0)[name] for name in COLUMNS) + "\n")
    stored.write_bytes(spoil(stored.read_bytes()))
    done = prepare(tmp_path / "site.csv", stored)
    assert done.exit_code == 1
    assert "stored.zip: " in done.output
    assert not (tmp_path / "site.csv").exists()


@pytest.mark.parametrize("backslashes", [False, True])
def test_an_archive_that_was_unpacked_and_packed_again_is_the_same(tmp_path: Path, backslashes: bool) -> None:
    """Safari unpacks downloads; Finder and PowerShell pack the folder, with their own files beside."""
    page = export(tmp_path / "page.zip", [row(number) for number in range(8)])
    again = tmp_path / "again.zip"
    with zipfile.ZipFile(page) as given, zipfile.ZipFile(again, "w") as packed:
        packed.writestr("corrections/", b"")
        for name in given.namelist():
            packed.writestr(f"corrections/{name}", given.read(name))
            packed.writestr(f"__MACOSX/corrections/._{name.split('/')[-1]}", b"a resource fork")
    if backslashes:
        again.write_bytes(again.read_bytes().replace(b"corrections/images/", b"corrections\\images\\"))
    done = prepare(tmp_path / "site.csv", again)
    assert done.exit_code == 0, done.output
    assert {image.path.read_bytes() for image in manifest.read(tmp_path / "site.csv")} == {picture(n) for n in range(8)}


def test_a_folder_or_a_missing_file_is_no_archive(tmp_path: Path) -> None:
    done = prepare(tmp_path / "site.csv", tmp_path, tmp_path / "absent.zip")
    assert done.exit_code == 1
    assert done.output.count("names no file; expected a corrections.zip") == 2
