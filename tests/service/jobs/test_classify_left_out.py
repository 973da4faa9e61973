"""``hal classify`` leaves nothing out silently, and nothing of a folder or a console ends it in the middle."""

import os
import stat
import subprocess
import sys
from pathlib import Path

import pytest

from contract.bundle import Bundle
from tests.paths import ROOT
from tests.service.jobs.result_files import Classify, class_of, rows
from tests.service.process import environment
from tests.service.tiny_bundle import TinyNetwork, encoded
from tests.unprivileged import heed_permissions


def run(bundle: Bundle, *arguments: object, **variables: str) -> "subprocess.CompletedProcess[bytes]":
    return subprocess.run(
        [sys.executable, "-m", "hal", "classify", *map(str, arguments)],
        cwd=ROOT,
        env=environment(HAL_BUNDLE=str(bundle.root), **variables),
        preexec_fn=heed_permissions,
        capture_output=True,
        check=False,
    )


def test_a_folder_that_cannot_be_listed_is_named_and_the_rest_is_classified(
    bundle: Bundle, folder: Path, tmp_path: Path
) -> None:
    (folder / "slide 1").chmod(0)
    told = run(bundle, folder, "--out", tmp_path / "r.csv")
    (folder / "slide 1").chmod(0o755)
    assert told.returncode == 2
    assert b"10 classified, 0 refused, 1 left out" in told.stderr
    assert b"slide 1: The folder cannot be listed: Permission denied." in told.stderr
    assert len(rows(tmp_path / "r.csv")) == 10


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


def test_links_to_folders_above_give_nothing_twice_and_a_pipe_holds_nothing_up(
    classify: Classify, folder: Path, tmp_path: Path
) -> None:
    (folder / "slide 0" / "above").symlink_to(folder)
    (folder / "all").symlink_to(folder / "slide 1")
    os.mkfifo(folder / "f.jpg")
    found = classify(folder, "--out", tmp_path / "r.jsonl")
    assert found.exit_code == 2, found.output
    assert "f.jpg: It is a pipe, a socket or a device, expected a regular file." in found.stderr
    paths = [row["path"] for row in rows(tmp_path / "r.jsonl")]
    assert len(paths) == 20
    assert not [path for path in paths if "/above/" in path or "/all/" in path]


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
    told = run(bundle, tmp_path, PYTHONIOENCODING="cp1252", PYTHONUTF8="1")
    assert told.returncode == 0, told.stderr
    assert rb"zelle-\u9aea.png" in told.stdout
    assert b"Hairy cell: 1" in told.stdout


def test_out_may_be_a_link_a_pipe_or_a_device(classify: Classify, folder: Path, tmp_path: Path) -> None:
    (tmp_path / "there").mkdir()
    link = tmp_path / "link.csv"
    link.symlink_to(tmp_path / "there" / "r.csv")
    for part in ("slide 0", "slide 1"):
        assert classify(folder / part, "--out", link).exit_code == 0
    assert link.is_symlink()
    assert len(rows(tmp_path / "there" / "r.csv")) == 20
    full = tmp_path / "full.csv"
    try:
        os.mknod(full, 0o600 | stat.S_IFCHR, os.makedev(1, 7))
        full.write_bytes(b"")
    except PermissionError:
        pytest.skip("devices cannot be made or opened here")
    found = classify(folder, "--out", full)
    assert (found.exit_code, full.is_char_device()) == (1, True)
    assert "No space left on device" in found.stderr
