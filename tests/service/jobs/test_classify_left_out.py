"""``hal classify`` leaves nothing out silently, and nothing of a folder or a console ends it in the middle."""

import subprocess
import sys
from pathlib import Path

import pytest

from contract.bundle import Bundle
from tests.paths import ROOT
from tests.service.jobs.result_files import Classify, class_of, rows
from tests.service.process import environment
from tests.service.tiny_bundle import TinyNetwork, encoded


def test_images_of_other_types_are_named_and_other_files_are_counted(
    classify: Classify, folder: Path, tmp_path: Path
) -> None:
    (folder / "cell.webp").write_bytes(b"RIFF")
    found = classify(folder, "--out", tmp_path / "r.csv")
    assert found.exit_code == 2, found.output
    assert "20 classified, 0 refused, 1 left out" in found.stderr
    assert "Files of other types: 1 .txt" in found.stderr
    assert "cell.webp: Images of this type are not taken; expected files that end in .bmp" in found.stderr


def test_only_images_of_other_types_are_named_too(classify: Classify, tmp_path: Path) -> None:
    (tmp_path / "cell.webp").write_bytes(b"RIFF")
    found = classify(tmp_path)
    assert found.exit_code == 1
    assert "no image in" in found.stderr
    assert "cell.webp: Images of this type are not taken" in found.stderr


@pytest.mark.parametrize("by", ["process", "service"])
def test_a_whole_slide_is_refused_by_its_size_before_it_is_read(
    classify: Classify, folder: Path, tmp_path: Path, live: "object", by: str
) -> None:
    with (folder / "slide.tif").open("wb") as stream:
        stream.truncate(12 * 1024**3)
    there = ["--url", live.url] if by == "service" else []  # type: ignore[attr-defined]
    found = classify(folder, "--out", tmp_path / "r.jsonl", *there)
    assert found.exit_code == 2, found.output
    assert "20 classified, 1 refused" in found.stderr
    (refused,) = [row for row in rows(tmp_path / "r.jsonl") if class_of(row) is None]
    assert refused["error"]["code"] == "image_too_large"
    assert "12884901888 bytes" in refused["error"]["message"]


def test_a_console_that_cannot_write_a_name_shows_the_table(
    bundle: Bundle, tmp_path: Path, network: TinyNetwork
) -> None:
    (tmp_path / "zelle-髪.png").write_bytes(encoded(network.cell(11)))
    variables = environment(HAL_BUNDLE=str(bundle.root), PYTHONIOENCODING="cp1252", PYTHONUTF8="1")
    command = [sys.executable, "-m", "hal", "classify", str(tmp_path)]
    told = subprocess.run(command, cwd=ROOT, env=variables, capture_output=True, check=True)
    assert rb"zelle-\u9aea.png" in told.stdout
    assert b"Hairy cell: 1" in told.stdout


def test_out_may_be_a_link(classify: Classify, folder: Path, tmp_path: Path) -> None:
    (tmp_path / "there").mkdir()
    link = tmp_path / "link.csv"
    link.symlink_to(tmp_path / "there" / "r.csv")
    for part in ("slide 0", "slide 1"):
        assert classify(folder / part, "--out", link).exit_code == 0
    assert link.is_symlink()
    assert len(rows(tmp_path / "there" / "r.csv")) == 20
