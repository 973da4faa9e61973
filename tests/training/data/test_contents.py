"""An image is hashed once, as a file and as pixels: what a manifest states is not read again."""

import hashlib
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from typer.testing import CliRunner

from tests.training import small
from training.data import manifest
from training.data.check import Kind, check
from training.data.cli import app
from training.data.contents import COLUMN, PIXELS_COLUMN, recorded_hashes, with_pixels
from training.data.manifest import LabelledImage
from training.data.splits import by_image


def test_a_check_states_the_hash_of_every_image_and_a_manifest_keeps_it(tmp_path: Path) -> None:
    manifest.write(tmp_path / "cells.csv", small.cells(tmp_path / "cells"))
    found = check(tmp_path / "cells.csv")
    manifest.write(tmp_path / "manifest.csv", found.images)
    for image in manifest.read(tmp_path / "manifest.csv"):
        assert image.extra[COLUMN] == hashlib.sha256(image.path.read_bytes()).hexdigest()


def test_only_files_without_a_stated_hash_are_read(tmp_path: Path) -> None:
    stated, *rest = small.cells(tmp_path / "cells")
    stated.extra[COLUMN] = "stated"
    stated.path.unlink()
    found = recorded_hashes([stated, rest[0]])
    assert found(stated.path) == "stated"
    assert found(rest[0].path) == hashlib.sha256(rest[0].path.read_bytes()).hexdigest()


ANEW = {"bmp": {}, "png": {"compress_level": 1}, "tiff": {"compression": "tiff_deflate"}}


def written_anew(image: LabelledImage, suffix: str, **changes: str) -> LabelledImage:
    """The same photograph in another file."""
    path = image.path.with_name(f"anew-{image.path.stem}.{suffix}")
    with Image.open(image.path) as opened:
        opened.save(path, **ANEW[suffix])
    return replace(image, path=path, extra={}, **changes)


@pytest.mark.parametrize("suffix", ANEW)
def test_a_photograph_written_anew_may_not_test_what_it_trained(tmp_path: Path, suffix: str) -> None:
    cells = small.cells(tmp_path / "cells")
    manifest.write(tmp_path / "cells.csv", [*cells, written_anew(cells[0], suffix, split="test")])
    found = check(tmp_path / "cells.csv", list)
    (error,) = found.errors
    assert error.kind is Kind.CONTENT_IN_SPLITS
    assert "written anew" in error.message
    assert cells[0].path.name in error.message
    manifest.write(tmp_path / "cells.csv", found.images)
    stated = check(tmp_path / "cells.csv")
    assert [each.message for each in stated.errors] == [error.message], "what is stated is not decoded again"


def test_equal_files_in_two_splits_are_told_once(tmp_path: Path) -> None:
    cells = small.cells(tmp_path / "cells")
    (tmp_path / "copy.png").write_bytes(cells[0].path.read_bytes())
    manifest.write(tmp_path / "cells.csv", [*cells, replace(cells[0], path=tmp_path / "copy.png", split="test")])
    (error,) = check(tmp_path / "cells.csv", list).errors
    assert "written anew" not in error.message


def test_a_crop_to_what_the_network_sees_is_the_same_image(tmp_path: Path) -> None:
    field = np.random.default_rng(1).integers(0, 256, (300, 280, 3), np.uint8)
    Image.fromarray(field).save(tmp_path / "field.png")
    Image.fromarray(field[22:278, 12:268]).save(tmp_path / "crop.bmp")
    images = [LabelledImage(tmp_path / name, "Monocyte", "", "s", "") for name in ("field.png", "crop.bmp")]
    field_, crop = (image.extra[PIXELS_COLUMN] for image in with_pixels(images))
    assert field_ == crop


@pytest.mark.parametrize("suffix", ANEW)
def test_of_photographs_written_anew_one_is_prepared_and_none_with_two_labels(tmp_path: Path, suffix: str) -> None:
    cells = small.cells(tmp_path / "made")
    folder = tmp_path / "cells"
    for index, image in enumerate(cells):
        name = f"{image.label}/{index}.png"
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        image.path.rename(folder / name)
    again, other = LabelledImage(folder / "Lymphocyte/1.png", "", "", "", ""), folder / "Lymphocyte/4.png"
    written_anew(again, suffix)
    written_anew(replace(again, path=other), suffix).path.rename(folder / f"Large thrombocyte/x.{suffix}")
    done = CliRunner().invoke(
        app, ["prepare", "--preset", f"folder={folder}", "--out", str(tmp_path / "out.csv"), "--test-share", "0.2"]
    )
    assert done.exit_code == 0, done.output
    assert "left out 1: the same image as another" in done.output
    assert "left out 2: the same image as one with another label" in done.output
    images = manifest.read(tmp_path / "out.csv")
    assert len(images) == small.IMAGES - 1
    assert len({image.extra[PIXELS_COLUMN] for image in images}) == len(images)


def test_a_split_keeps_photographs_written_anew_together(tmp_path: Path) -> None:
    cells = [replace(image, split="") for image in small.cells(tmp_path / "cells")]
    images = with_pixels([*cells, *(written_anew(image, "bmp") for image in cells)])
    done = by_image(images, 0.3, 1, recorded_hashes(images), 0.2)
    by_pixels: dict[str, set[str]] = {}
    for image in done:
        by_pixels.setdefault(image.extra[PIXELS_COLUMN], set()).add(image.split)
    assert {len(splits) for splits in by_pixels.values()} == {1}
