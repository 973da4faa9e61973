"""``hal composites make`` as a user meets it, on the sample cells."""

import hashlib
import shutil
import signal
import sys
from collections import Counter, defaultdict
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from typer.testing import CliRunner, Result

from contract.classes import CLASS_NAMES
from tests.processes import comes_true, command
from tests.training.composites.cells import rows
from training.composites.cli import app
from training.composites.generators import GENERATORS
from training.data import manifest
from training.data.check import check
from training.data.manifest import LabelledImage
from training.data.overlap import SplitError, assert_disjoint
from training.data.prepare import Choices, split_manifest
from training.data.sets import set_of
from training.data.splits import By

ARGUMENTS = ["--per-class", "2", "--val-per-class", "1", "--sham-share", "0.34", "--seed", "7", "--processes", "1"]


def invoke(*arguments: str) -> Result:
    return CliRunner().invoke(app, list(arguments), env={"COLUMNS": "200"})


def digests(folder: Path) -> dict[str, str]:
    return {
        path.relative_to(folder).as_posix(): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in sorted(folder.rglob("*.png"))
    }


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("data") / "samples.csv"
    # The second platelet cannot be segmented: the first, with another pixel in its corner, takes its place.
    pixels = np.asarray(Image.open(rows()[-2].path).convert("RGB")).copy()
    pixels[0, 0] = 0
    Image.fromarray(pixels).save(path.with_name("platelet.png"))
    second = LabelledImage(path.with_name("platelet.png"), "Large thrombocyte", "", "pbc", "val")
    Image.new("RGB", (256, 256), (252, 229, 202)).save(path.with_name("blank.png"))
    blank = LabelledImage(path.with_name("blank.png"), "Lymphocyte", "", "pbc", "train")
    manifest.write(path, [*rows()[:-1], second, blank])
    return path


@pytest.fixture(scope="module")
def run(data: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Result]:
    out = tmp_path_factory.mktemp("made") / "set"
    return out, invoke("make", "--data", str(data), "--out", str(out), *ARGUMENTS)


@pytest.fixture(scope="module")
def made(run: tuple[Path, Result]) -> tuple[Path, list[LabelledImage]]:
    out, result = run
    assert result.exit_code == 0, result.output
    return out, manifest.read(out / "manifest.csv")


def test_holds_all_twenty_classes_in_every_kind(made: tuple[Path, list[LabelledImage]]) -> None:
    _, images = made
    assert {image.label for image in images if image.split == "train"} == set(CLASS_NAMES)
    assert {image.label for image in images if image.extra["kind"] == "composite"} == set(GENERATORS)
    shams = Counter(image.label for image in images if image.extra["kind"] == "sham")
    assert not set(shams) & set(GENERATORS)
    assert shams["Lymphocyte"] >= 1
    for image in images:
        assert np.asarray(Image.open(image.path)).shape == (256, 256, 3)
        assert image.path.suffix == ".png"


def test_every_image_names_its_parent_licence_and_attribution(
    made: tuple[Path, list[LabelledImage]], data: Path
) -> None:
    out, images = made
    originals = {hashlib.sha256(row.path.read_bytes()).hexdigest(): row for row in manifest.read(data)}
    for image in images:
        parent = originals[image.extra["parent_sha256"]]
        assert (out / image.extra["parent_path"]).resolve() == parent.path.resolve()
        assert image.extra["licence"] == "CC BY 4.0"
        assert "doi:10." in image.extra["attribution"]
        assert image.source == parent.source
        assert image.extra["evidence"] == ("composite" if image.extra["kind"] == "composite" else "real")
        for donor in filter(None, image.extra["donors_sha256"].split("|")):
            assert originals[donor].split == image.split
    text = (out / "ATTRIBUTION.md").read_text(encoding="utf-8")
    assert "Acevedo" in text
    assert "CC BY 4.0" in text


def test_shams_and_copies_keep_the_label_of_their_parent(made: tuple[Path, list[LabelledImage]], data: Path) -> None:
    labels = {hashlib.sha256(row.path.read_bytes()).hexdigest(): row.label for row in manifest.read(data)}
    for image in made[1]:
        if image.extra["kind"] == "composite":
            assert image.label in GENERATORS
        else:
            assert image.label == labels[image.extra["parent_sha256"]]


def test_children_are_in_the_split_of_their_parents(made: tuple[Path, list[LabelledImage]], data: Path) -> None:
    splits = {hashlib.sha256(row.path.read_bytes()).hexdigest(): row.split for row in manifest.read(data)}
    by_family = defaultdict(set)
    for image in made[1]:
        assert image.split == splits[image.extra["parent_sha256"]]
        by_family[image.extra["family"]].add(image.split)
    assert all(len(found) == 1 for found in by_family.values())
    findings = check(made[0] / "manifest.csv", list)
    assert not findings.errors


def test_a_new_split_by_image_tears_no_family_apart(made: tuple[Path, list[LabelledImage]], tmp_path: Path) -> None:
    out, _ = made
    new = tmp_path / "new.csv"
    split_manifest(out / "manifest.csv", new, Choices(validation_share=0.4, by=By.IMAGE, seed=3), afresh=True)
    by_family = defaultdict(set)
    for image in manifest.read(new):
        by_family[image.extra["family"]].add(image.split)
    assert all(len(found) == 1 for found in by_family.values())


def test_a_family_in_two_splits_is_found() -> None:
    torn = [
        LabelledImage(Path(f"{split}.png"), "Lymphocyte", "", "pbc", split, {"family": "train-001"})
        for split in ("train", "val")
    ]
    with pytest.raises(SplitError, match="family 'train-001' of pbc"):
        assert_disjoint(torn, lambda path: path.name, slides=False)


def test_the_same_seed_makes_the_same_bytes_even_after_an_interruption(
    made: tuple[Path, list[LabelledImage]], data: Path, tmp_path: Path
) -> None:
    out, _ = made
    again = shutil.copytree(out, tmp_path / "again")
    journal = again / "made.jsonl"
    lines = journal.read_text(encoding="utf-8").splitlines()
    journal.write_text("\n".join(lines[: len(lines) // 2]) + '\n{"name": "half a li', encoding="utf-8")
    (again / "manifest.csv").unlink()
    lost = sorted(again.rglob("*.png"))[::3]
    for path in lost:
        path.unlink()
    result = invoke("make", "--data", str(data), "--out", str(again), *ARGUMENTS)
    assert result.exit_code == 0, result.output
    assert digests(again) == digests(out)
    assert (again / "manifest.csv").is_file()


def test_another_seed_in_the_same_folder_is_refused(made: tuple[Path, list[LabelledImage]], data: Path) -> None:
    result = invoke("make", "--data", str(data), "--out", str(made[0]), "--per-class", "2", "--seed", "8")
    assert result.exit_code == 1
    assert "holds another set" in result.output


def test_images_of_unknown_licence_and_without_split_are_not_used(data: Path, tmp_path: Path) -> None:
    images = manifest.read(data)
    foreign = [LabelledImage(i.path, i.label, "", "hospital", i.split) for i in images]
    manifest.write(tmp_path / "foreign.csv", foreign)
    unsplit = [LabelledImage(i.path, i.label, "", i.source, "") for i in images]
    manifest.write(tmp_path / "unsplit.csv", unsplit)
    first = invoke("make", "--data", str(tmp_path / "foreign.csv"), "--out", str(tmp_path / "a"))
    second = invoke("make", "--data", str(tmp_path / "unsplit.csv"), "--out", str(tmp_path / "b"))
    assert (first.exit_code, second.exit_code) == (1, 1)
    assert "licence" in first.output
    assert "hal data split" in second.output


def test_what_could_not_be_segmented_is_counted_and_only_copied(
    run: tuple[Path, Result], made: tuple[Path, list[LabelledImage]], data: Path
) -> None:
    assert "not edited 1: Lymphocyte, nothing stained" in run[1].output
    digest = hashlib.sha256(data.with_name("blank.png").read_bytes()).hexdigest()
    assert {image.extra["kind"] for image in made[1] if image.extra["parent_sha256"] == digest} == {"real"}
    assert all(digest not in image.extra["donors_sha256"] for image in made[1])


def test_a_demonstration_set_has_sets_a_b_and_c_and_its_sources_share_no_cell(data: Path, tmp_path: Path) -> None:
    images = []
    for image in manifest.read(data)[:-1]:
        for copy in range(2):
            pixels = np.asarray(Image.open(image.path).convert("RGB")).copy()
            pixels[0, 0] = copy
            path = tmp_path / "cells" / f"{copy}-{image.path.stem}.png"
            path.parent.mkdir(exist_ok=True)
            Image.fromarray(pixels).save(path)
            images.append(LabelledImage(path, image.label, "", image.source, "train"))
    manifest.write(tmp_path / "data.csv", images)
    arguments = ["--data", str(tmp_path / "data.csv"), "--out", str(tmp_path / "set")]
    result = invoke("make", "--demonstration", *arguments, *ARGUMENTS, "--per-class", "1")
    assert result.exit_code == 0, result.output
    found = manifest.read(tmp_path / "set" / "manifest.csv")
    assert {image.source for image in found} == {"wbc_train", "hairy_db"}
    assert {image.source for image in found if image.label == "Hairy cell"} == {"hairy_db"}
    assert set(set_of(found)) == {"A", "B", "C"}
    parents: dict[str, set[str]] = defaultdict(set)
    for image in found:
        parents[image.extra["parent_sha256"]].add(image.source)
    assert all(len(sources) == 1 for sources in parents.values())


def test_a_sheet_shows_composites_shams_and_real_cells(data: Path, tmp_path: Path) -> None:
    result = invoke(
        "sheet", "--class", "Hairy cell", "--images", str(data), "--out", str(tmp_path / "s.png"), "--count", "2"
    )
    assert result.exit_code == 0, result.output
    assert Image.open(tmp_path / "s.png").size[0] > 600
    wrong = invoke("sheet", "--class", "Hairy sell", "--images", str(data), "--out", str(tmp_path / "s.png"))
    assert wrong.exit_code == 1
    assert "Hairy cell" in wrong.output


@pytest.mark.skipif(sys.platform != "linux", reason="processes are looked up in /proc")
@pytest.mark.parametrize("sent", [signal.SIGTERM, signal.SIGKILL])
def test_no_process_is_left_behind_however_the_command_ends(sent: signal.Signals, data: Path, tmp_path: Path) -> None:
    arguments = ["make", "--data", str(data), "--out", str(tmp_path / "set"), "--per-class", "40", "--processes", "2"]
    with command("-c", "from training.composites.cli import app; app()", *arguments) as making:
        assert making.has_come_to(lambda: bool(list((tmp_path / "set").rglob("*.png"))))
        assert making.running() >= 3, "the command and its two processes"
        said = making.stop(sent)
    assert making.process.returncode != 0
    assert "Traceback" not in said
    assert comes_true(lambda: making.running() == 0), "a process outlived the command"
