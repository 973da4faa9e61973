"""``hal data`` as a user meets it."""

import json
import os
import subprocess
import sys
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from typer.testing import CliRunner, Result

from tests.paths import ROOT
from tests.unprivileged import heed_permissions
from training.data import manifest
from training.data.cli import app
from training.data.manifest import LabelledImage


def cell(path: Path, shade: int) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(np.full((256, 256, 3), shade, np.uint8)).save(path)
    return path


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Thirty images of two classes, one folder a class."""
    for index in range(30):
        cell(tmp_path / "cells" / ("Lymphocyte" if index % 2 else "monocyte") / f"{index}.png", index)
    return tmp_path / "cells"


@pytest.fixture
def slides(tmp_path: Path) -> Path:
    """A manifest of forty images on ten slides without splits."""
    images = [
        LabelledImage(cell(tmp_path / f"{i}.png", i), ("Lymphocyte", "Monocyte")[i % 2], f"{i // 4}", "s", "")
        for i in range(40)
    ]
    manifest.write(tmp_path / "slides.csv", images)
    return tmp_path / "slides.csv"


def run(*arguments: object) -> Result:
    return CliRunner().invoke(app, [str(argument) for argument in arguments])


def test_own_folders_become_a_manifest_that_passes_the_check(folder: Path, tmp_path: Path) -> None:
    prepared = run("prepare", "--preset", f"folder={folder}", "--out", tmp_path / "out.csv", "--test-share", 0.2)
    assert prepared.exit_code == 0, prepared.output
    images = manifest.read(tmp_path / "out.csv")
    assert Counter((i.label, i.split) for i in images) == {
        (label, split): count
        for label in ("Lymphocyte", "Monocyte")
        for split, count in (("train", 9), ("val", 3), ("test", 3))
    }
    checked = run("check", tmp_path / "out.csv", "--json", tmp_path / "sub" / "findings.json")
    assert checked.exit_code == 0, checked.output
    assert json.loads((tmp_path / "sub" / "findings.json").read_text())["ok"] is True


@pytest.fixture
def damaged(tmp_path: Path) -> Path:
    """Forty-two images and four files that are none: two empty ones, a text, and a JPEG whose end is missing."""
    root = tmp_path / "pbc"
    for index in range(42):
        cell(root / f"{('LY', 'MO')[index % 2]}_{index}.png", index)
    noise = np.random.default_rng(1).integers(0, 256, (256, 256, 3), np.uint8)
    Image.fromarray(noise).save(root / "LY_cut.jpg")
    whole = (root / "LY_cut.jpg").read_bytes()
    (root / "LY_cut.jpg").write_bytes(whole[: len(whole) // 2])
    (root / "LY_text.jpg").write_text("a letter to the editor")
    (root / "MO_empty.jpg").touch()
    (root / "PLATELET_empty.jpg").touch()
    return root


DAMAGED = ("LY_cut.jpg", "LY_text.jpg", "MO_empty.jpg", "PLATELET_empty.jpg")


def test_files_that_are_no_images_are_all_named_and_no_manifest_is_written(damaged: Path, tmp_path: Path) -> None:
    result = run("prepare", "--preset", f"pbc={damaged}", "--out", tmp_path / "out.csv")
    assert result.exit_code == 1
    assert "4 of 46 images cannot be used" in result.output
    assert "--exclude" in result.output
    assert "--leave-out-unreadable" in result.output
    named = {name: [line for line in result.output.splitlines() if name in line] for name in DAMAGED}
    assert all(len(lines) == 1 for lines in named.values())
    assert "is cut" in named["LY_cut.jpg"][0]
    assert "_1.png" not in result.output
    assert not (tmp_path / "out.csv").exists()


def test_files_that_are_no_images_are_left_out_when_told_to_and_named(damaged: Path, tmp_path: Path) -> None:
    arguments = ["--preset", f"pbc={damaged}", "--out", tmp_path / "out.csv", "--leave-out-unreadable"]
    result = run("prepare", *arguments)
    assert result.exit_code == 0, result.output
    assert "left out 4: cannot be used" in result.output
    assert all(result.output.count(f"- {damaged / name}") == 1 for name in DAMAGED)
    assert Counter(image.label for image in manifest.read(tmp_path / "out.csv")) == {"Lymphocyte": 21, "Monocyte": 21}
    assert run("check", tmp_path / "out.csv").exit_code == 0


def test_files_that_are_excluded_need_not_be_images(damaged: Path, tmp_path: Path) -> None:
    (tmp_path / "bad.txt").write_text("\n".join(DAMAGED))
    arguments = ["--preset", f"pbc={damaged}", "--out", tmp_path / "out.csv", "--exclude", tmp_path / "bad.txt"]
    result = run("prepare", *arguments)
    assert result.exit_code == 0, result.output
    assert len(manifest.read(tmp_path / "out.csv")) == 42


def test_a_check_with_errors_ends_with_1_after_it_has_written_them(slides: Path, tmp_path: Path) -> None:
    rows = slides.read_text().splitlines()
    rows[1] = rows[1].replace("Lymphocyte", "Lymphozyt")
    (tmp_path / "5.png").write_bytes(b"broken")
    slides.write_text("\n".join(rows) + "\n")
    result = run("check", slides, "--json", tmp_path / "findings.json")
    assert result.exit_code == 1
    assert "did you mean 'Lymphocyte'?" in result.output
    assert "5.png" in result.output
    kinds = [error["kind"] for error in json.loads((tmp_path / "findings.json").read_text())["errors"]]
    assert kinds == ["manifest", "unreadable"]
    assert "5.png" not in run("check", slides, "--fast").output


def test_a_split_is_by_slide_where_slides_are_known(slides: Path, tmp_path: Path) -> None:
    assert run("split", slides, "--out", tmp_path / "out.csv", "--test-share", 0.2).exit_code == 0
    images = manifest.read(tmp_path / "out.csv")
    assert {i.split for i in images} == {"train", "val", "test"}
    assert len({(i.slide_id, i.split) for i in images}) == 10
    assert run("check", tmp_path / "out.csv").exit_code == 0


def test_a_split_by_image_is_made_when_asked_for_and_the_check_says_what_it_tore(slides: Path, tmp_path: Path) -> None:
    assert run("split", slides, "--out", tmp_path / "out.csv", "--by", "image").exit_code == 0
    torn = run("check", tmp_path / "out.csv")
    assert torn.exit_code == 1
    assert "slides or patients in several splits" in torn.output
    assert run("check", tmp_path / "out.csv", "--allow-shared-slides").exit_code == 0
    assert run("split", tmp_path / "out.csv", "--out", tmp_path / "again.csv", "--by", "slide").exit_code == 1
    assert run("split", tmp_path / "out.csv", "--out", tmp_path / "again.csv", "--afresh").exit_code == 0
    assert run("check", tmp_path / "again.csv").exit_code == 0


def test_validation_images_are_released_for_training_further_and_test_images_stay(slides: Path, tmp_path: Path) -> None:
    shares = ["--test-share", 0.2, "--validation-share", 0.3]
    assert run("split", slides, "--out", tmp_path / "out.csv", *shares).exit_code == 0
    further = run("split", tmp_path / "out.csv", "--release-validation", 0.5, "--out", tmp_path / "further.csv")
    assert further.exit_code == 0, further.output
    before, after = ({i.path: i.split for i in manifest.read(tmp_path / f"{name}.csv")} for name in ("out", "further"))
    assert {(before[path], split) for path, split in after.items() if before[path] != split} == {("val", "train")}
    assert "val" in after.values()
    assert run("check", tmp_path / "further.csv").exit_code == 0


def test_a_cap_and_an_exclusion_list_are_obeyed(slides: Path, tmp_path: Path) -> None:
    (tmp_path / "bad.txt").write_text("0.png\nnobody.png\n")
    arguments = ["--cap", 8, "--exclude", tmp_path / "bad.txt"]
    result = run("split", slides, "--out", tmp_path / "out.csv", *arguments)
    assert result.exit_code == 0
    assert "'nobody.png'" in result.output
    images = manifest.read(tmp_path / "out.csv")
    assert Counter(i.label for i in images) == {"Lymphocyte": 8, "Monocyte": 8}
    assert "0.png" not in {i.path.name for i in images}


def test_images_of_a_manifest_that_is_split_can_be_left_out_and_the_others_stay(slides: Path, tmp_path: Path) -> None:
    assert run("split", slides, "--out", tmp_path / "out.csv").exit_code == 0
    (tmp_path / "bad.txt").write_text("0.png\n")
    fewer = run("split", tmp_path / "out.csv", "--out", tmp_path / "fewer.csv", "--exclude", tmp_path / "bad.txt")
    assert fewer.exit_code == 0, fewer.output
    before, after = ({i.path: i.split for i in manifest.read(tmp_path / f"{name}.csv")} for name in ("out", "fewer"))
    assert after == {path: split for path, split in before.items() if path.name != "0.png"}


def test_test_images_of_one_expert_are_left_out_once_the_split_is_known(slides: Path, tmp_path: Path) -> None:
    rows = slides.read_text().splitlines()
    experts = [row.split(",")[1] for row in rows[1:]]
    twice = [f"{label}|{label}" if index % 3 else label for index, label in enumerate(experts)]
    slides.write_text("\n".join([rows[0] + ",expert_labels", *map(",".join, zip(rows[1:], twice, strict=True))]) + "\n")
    result = run("split", slides, "--out", tmp_path / "out.csv", "--test-share", 0.2)
    assert result.exit_code == 0
    images = manifest.read(tmp_path / "out.csv")
    assert all("|" in i.extra["expert_labels"] for i in images if i.split == "test")
    assert any("|" not in i.extra["expert_labels"] for i in images if i.split == "train")
    assert "a test image needs 2" in result.output
    assert run("split", tmp_path / "out.csv", "--afresh", "--out", tmp_path / "all.csv").exit_code == 0


@pytest.mark.parametrize(
    ("arguments", "code", "expected"),
    [
        (["prepare", "--preset", "pbc=nowhere", "--out", "x.csv"], 1, "does not exist"),
        (["prepare", "--preset", "pbc=.", "--out", "x.csv", "--mapping", "m"], 2, "--mapping"),
        (["prepare", "--preset", "pbc=.", "--out", "x.csv", "--like", "m", "--cap", "9"], 2, "--like"),
        (["split", "m.csv", "--out", "x.csv", "--release-validation", "0.5", "--afresh"], 2, "--release-validation"),
        (["check", "none.csv"], 1, "there is no manifest none.csv"),
        (["split", "none.csv", "--out", "x.csv"], 1, "there is no manifest none.csv"),
        (["split", "none.csv", "--out", "x.csv", "--by", "cell"], 2, "image"),
    ],
)
def test_mistakes_end_with_a_message(
    arguments: list[str], code: int, expected: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    result = run(*arguments)
    assert result.exit_code == code
    assert expected in " ".join(result.output.split())
    assert "Traceback" not in result.output
    assert list(tmp_path.iterdir()) == []


def test_a_damaged_image_and_a_link_to_nothing_are_named_and_a_large_profile_is_ignored(
    folder: Path, tmp_path: Path
) -> None:
    (folder / "monocyte" / "gone.png").symlink_to("nowhere.png")
    (folder / "monocyte" / "torn.tif").write_bytes(b"II*\0" + bytes(40))
    Image.new("RGB", (256, 256), "red").save(folder / "monocyte" / "icc.png", icc_profile=bytes(2_000_000))
    arguments = ("prepare", "--preset", f"folder={folder}", "--out", tmp_path / "out.csv")
    refused = run(*arguments)
    assert refused.exit_code == 1
    said = " ".join(refused.output.split())
    assert "2 of 33 images cannot be used" in said
    assert "gone.png (a link to nowhere.png) cannot be read: No such file or directory" in said
    assert "torn.tif cannot be decoded" in said
    assert "icc.png" not in said
    taken = run(*arguments, "--leave-out-unreadable")
    assert taken.exit_code == 0, taken.output
    assert len(manifest.read(tmp_path / "out.csv")) == 31


def test_a_pipe_named_like_an_image_is_refused_and_not_waited_for(folder: Path, tmp_path: Path) -> None:
    os.mkfifo(folder / "monocyte" / "pipe.png")
    refused = run("prepare", "--preset", f"folder={folder}", "--out", tmp_path / "out.csv")
    assert refused.exit_code == 1
    assert "pipe.png: It is a pipe" in refused.output


def test_a_folder_that_cannot_be_listed_is_named(folder: Path, tmp_path: Path) -> None:
    (folder / "monocyte").chmod(0)
    arguments = ["data", "prepare", "--preset", f"folder={folder}", "--out", tmp_path / "out.csv"]
    try:
        done = subprocess.run(
            [sys.executable, "hal.py", *arguments],
            cwd=ROOT,
            capture_output=True,
            text=True,
            check=False,
            preexec_fn=heed_permissions,
        )
    finally:
        (folder / "monocyte").chmod(0o755)
    assert done.returncode == 1, done.stdout
    assert "monocyte: The folder cannot be listed: Permission denied" in done.stderr
    assert not (tmp_path / "out.csv").exists()


def test_a_folder_that_is_linked_into_itself_gives_each_image_once(folder: Path, tmp_path: Path) -> None:
    (folder / "monocyte" / "again").symlink_to(folder)
    done = run("prepare", "--preset", f"folder={folder}", "--out", tmp_path / "out.csv")
    assert done.exit_code == 0, done.output
    assert len(manifest.read(tmp_path / "out.csv")) == 30


def test_names_that_are_not_utf_8_survive(folder: Path, tmp_path: Path) -> None:
    odd = os.fsencode(folder / "monocyte") + b"/zelle-\xe4.png"
    (folder / "monocyte" / "2.png").rename(os.fsdecode(odd))
    done = run("prepare", "--preset", f"folder={folder}", "--out", tmp_path / "out.csv")
    assert done.exit_code == 0, done.output
    assert os.fsdecode(odd) in {str(image.path.resolve()) for image in manifest.read(tmp_path / "out.csv")}
    checked = run("check", tmp_path / "out.csv", "--json", tmp_path / "found.json")
    assert checked.exit_code == 0, checked.output
    Path(os.fsdecode(odd)).write_bytes(b"torn")
    checked = run("check", tmp_path / "out.csv", "--json", tmp_path / "found.json")
    assert checked.exit_code == 1
    assert "zelle-\\udce4.png cannot be decoded" in checked.output
    assert "zelle-" in json.loads((tmp_path / "found.json").read_text())["errors"][0]["message"]


def test_one_misspelt_label_is_one_problem(slides: Path) -> None:
    slides.write_text(slides.read_text().replace("Monocyte", "Monozyte"))
    refused = run("check", slides)
    assert refused.exit_code == 1
    assert refused.output.count("unknown label 'Monozyte'") == 1
    assert "20 lines (3, 5, 7 ...)" in refused.output
