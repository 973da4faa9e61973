"""An image is hashed once: what a manifest states is not read again."""

import hashlib
from pathlib import Path

from tests.training import small
from training.data import manifest
from training.data.check import check
from training.data.contents import COLUMN, recorded_hashes


def test_a_check_states_the_hash_of_every_image_and_a_manifest_keeps_it(tmp_path: Path) -> None:
    found = check(small.cells(tmp_path / "cells"))
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
