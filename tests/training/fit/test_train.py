"""``hal train``: what is refused before anything is written, shared encoders, the final retraining, resuming."""

import json
import os
import re
import shutil
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest
import tensorflow as tf
from PIL import Image

from contract import bundle
from contract.bundle import sha256_of
from contract.classes import HAIRY_CELL
from service.settings import Settings
from tests.paths import ROOT
from tests.training import small
from training import recipe
from training.data import image_list, images, manifest
from training.data.manifest import LabelledImage, ManifestError
from training.errors import MemoryShortError
from training.export.bundle import export
from training.fit import origin
from training.fit import start as train
from training.fit.run import Progress, Run, RunError
from training.fit.update import Update
from training.networks import xception as networks
from training.networks.xception import WeightsError
from training.overrides import override
from training.recipe import Recipe, RecipeError

HAIRY, LYMPHOCYTE = HAIRY_CELL.name, "Lymphocyte"
SHIPPED = ROOT / Settings.model_fields["bundle"].default


@pytest.fixture(autouse=True, scope="module")
def _small() -> Iterator[None]:
    """The small network and recipe under the names of the large ones."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(networks, "build_encoder", lambda _: small.encoder())
        patch.setattr(networks, "imagenet_weights", lambda given: given)
        patch.setattr(recipe, "find", lambda name: {"small": small.RECIPE, "transfer": small.TRANSFER}[name])
        yield


@pytest.fixture
def data(tmp_path: Path, cells: list[LabelledImage]) -> Path:
    path = tmp_path / "data.csv"
    manifest.write(path, cells)
    return path


@pytest.fixture(scope="module")
def first(tmp_path_factory: pytest.TempPathFactory, _small: None) -> Path:
    """A finished run on ``first.csv`` beside it, cells of the same bytes as ``cells``, which tests only read."""
    root = tmp_path_factory.mktemp("trained")
    seen, *others = small.cells(root / "cells")
    assert seen.split == "train"
    manifest.write(root / "first.csv", [replace(seen, slide_id="7", extra={"patient_id": "p"}), *others])
    keras.mixed_precision.set_global_policy("float32")
    train.start("small", root / "first.csv", root / "first", None)
    return root / "first"


def finish(run: Run, encoder: keras.Model) -> None:
    """Bring a run to its end at once, with the encoder that it began with."""
    (run.root / "initial_weights.sha256").write_text(networks.fingerprint(encoder) + "\n")
    run.save(Progress(len(run.recipe.stages)), {"encoder": encoder.get_weights()})


@pytest.fixture
def untrained(monkeypatch: pytest.MonkeyPatch) -> None:
    """Runs are not trained."""
    monkeypatch.setattr(train, "_train", finish)


def image(label: str, source: str, split: str = "train", **extra: str) -> LabelledImage:
    return LabelledImage(Path("x.png"), label, "", source, split, extra)


def test_only_the_sets_of_the_recipe_are_trained_on() -> None:
    cells = [
        *[image(HAIRY, "hairy_db", split) for split in ("train", "val", "test")],
        *[image(LYMPHOCYTE, "WBCTrain", split) for split in ("train", "val", "test")],
        *[image(LYMPHOCYTE, "hairy_db", split) for split in ("train", "val")],
        image(HAIRY, "WBCTrain", look_alike="yes"),
    ]
    every = small.TRANSFER.model_copy(update={"fewest_images": 1})
    ab = train.trainable(cells, every.model_copy(update={"sets": ("A", "B")}))
    assert [(each.source, each.split) for each in ab] == [
        (source, split) for source in ("hairy_db", "WBCTrain") for split in ("train", "val")
    ]
    assert len(train.trainable(cells, every)) == 6


def test_a_class_with_too_few_images_is_left_out_and_nothing_left_is_an_error() -> None:
    cells = [image(LYMPHOCYTE, "a") for _ in range(9)] + [image(LYMPHOCYTE, "a", "val")]
    enough = [image("Monocyte", "a") for _ in range(10)] + [image("Monocyte", "a", "val")]
    chosen = small.TRANSFER.model_copy(update={"fewest_images": 10})
    assert {each.label for each in train.trainable(cells + enough, chosen)} == {"Monocyte"}
    with pytest.raises(ManifestError, match=r"(?s)no train image.*no val image.*10 images, 9 of them to train on"):
        train.trainable(cells, chosen)


def test_more_classes_a_batch_than_there_are_is_refused_for_all_stages_at_once_with_what_works(
    cells: list[LabelledImage],
) -> None:
    choices = ["encoder.batch_size=8", "encoder.classes_per_batch=4", "classifier.classes_per_batch=8"]
    seven = override(small.RECIPE, [*choices, "projection.batch_size=7", "projection.classes_per_batch=7"])
    with pytest.raises(ManifestError) as refused:
        train.trainable(cells, seven)
    few, encoder, classifier = refused.value.problems
    assert few.endswith("7 of 3 classes equally often; --set projection.classes_per_batch=null (shuffled)")
    assert "stage encoder: a batch of 8 cannot hold 4 of 3 classes" in encoder
    assert "--set encoder.classes_per_batch=2 (the most that works)" in encoder
    assert "--set classifier.classes_per_batch=2 (the most that works)" in classifier


def test_a_new_run_is_trained_and_stores_the_recipe_as_it_was_resolved(tmp_path: Path, data: Path) -> None:
    train.start("transfer", data, tmp_path / "run", None, ["fine_tuning.epochs=1", "seed=5"])
    run = Run.open(tmp_path / "run")
    assert run.recipe == override(small.TRANSFER, ["fine_tuning.epochs=1", "seed=5"])
    assert run.restore()[0].stage == 2
    assert "hal export" in (run.root / "log.txt").read_text()


@pytest.mark.parametrize("mistake", ["weights", "choice", "slide", "label", "classes"])
def test_what_is_wrong_is_found_before_the_runs_folder_is_made(
    tmp_path: Path, data: Path, cells: list[LabelledImage], mistake: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    choices, expected = ([], ManifestError)
    if mistake == "weights":

        def missing(_: object) -> None:
            raise WeightsError("no weights")

        monkeypatch.setattr(networks, "imagenet_weights", missing)
        expected = WeightsError
    elif mistake == "choice":
        choices, expected = ["encoder.epochs=0", "nonsense=1"], RecipeError
    elif mistake == "classes":
        choices = ["encoder.batch_size=8", "encoder.classes_per_batch=4"]
    elif mistake == "slide":
        manifest.write(data, [replace(cell, slide_id="7") for cell in cells])
    else:
        manifest.write(data, [replace(cell, label="Lymphocite") for cell in cells])
    with pytest.raises(expected):
        train.start("small", data, tmp_path / "run", None, choices)
    assert not (tmp_path / "run").exists()


def test_every_image_that_cannot_be_read_is_found_before_the_runs_folder_is_made(
    tmp_path: Path, data: Path, cells: list[LabelledImage]
) -> None:
    broken = [next(cell.path for cell in cells if cell.split == split) for split in ("train", "val")]
    for path in broken:
        path.write_bytes(path.read_bytes()[:200])
    with pytest.raises(ManifestError, match="decoded") as refused:
        train.start("small", data, tmp_path / "run", None)
    assert all(str(path) in str(refused.value) for path in broken)
    assert not (tmp_path / "run").exists()


@pytest.mark.usefixtures("untrained")
def test_images_in_use_are_decoded_once_each_before_training_and_the_others_need_not_be_readable(
    data: Path, cells: list[LabelledImage], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    unused = tmp_path / "unused.png"
    unused.write_bytes(b"no image")
    manifest.write(data, [*cells, replace(cells[0], path=unused, split="test")])
    decoded: list[Path] = []
    read = images.read_image
    monkeypatch.setattr("training.data.images.read_image", lambda path: decoded.append(path) or read(path))
    train.start("small", data, tmp_path / "run", None)
    used = sorted(cell.path.resolve() for cell in cells)
    assert sorted(path.resolve() for path in decoded) == used
    assert sorted(image.path.resolve() for image in Run.open(tmp_path / "run").images) == used


def test_the_encoder_of_a_run_of_the_same_choices_is_taken_and_not_trained_again(tmp_path: Path, first: Path) -> None:
    second = tmp_path / "second"
    train.start("small", first.with_suffix(".csv"), second, None, ["classifier_head.dropout=0.1"], first)
    before, now = (Run.open(root).restore()[1] for root in (first, second))
    for one, other in zip(before["encoder"], now["encoder"], strict=True):
        np.testing.assert_array_equal(one, other)
    assert np.abs(before["classifier_head"][0] - now["classifier_head"][0]).max() > 0
    assert {row["stage"] for row in small.history(second)} == {"classifier"}
    initial = [(root / "initial_weights.sha256").read_text() for root in (first, second)]
    assert initial[0] == initial[1]


def test_an_encoder_that_does_not_fit_is_refused_with_every_reason(
    tmp_path: Path, data: Path, cells: list[LabelledImage]
) -> None:
    Run.start(tmp_path / "unfinished", small.RECIPE, cells[:-1])
    with pytest.raises(RunError, match="other choices; its encoder is not finished; its images differ"):
        train.start("small", data, tmp_path / "run", None, ["encoder.epochs=5"], tmp_path / "unfinished")
    assert not (tmp_path / "run").exists()


def test_an_encoder_is_trained_further_by_another_recipe_and_the_run_says_what_it_began_with(
    tmp_path: Path, data: Path, first: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    train.start("transfer", data, tmp_path / "second", None, ["fine_tuning.epochs=1"], start_from=first)
    monkeypatch.setattr(train, "_train", finish)
    train.start("transfer", data, tmp_path / "third", None, start_from=tmp_path / "second")
    one, second, third = (Run.open(root) for root in (first, tmp_path / "second", tmp_path / "third"))
    for before, further in ((one, second), (second, third)):
        encoder = small.encoder()
        encoder.set_weights(before.restore()[1]["encoder"])
        began_with = (further.root / "initial_weights.sha256").read_text().strip()
        assert began_with == networks.fingerprint(encoder)
        assert further.started_from == before.as_origin()
    weights = (run.restore()[1]["encoder"] for run in (one, second))
    assert any(np.any(a != b) for a, b in zip(*weights, strict=True))
    assert one.started_from is None
    told = third.started_from
    assert told is not None
    assert told.run == "second"
    assert told.started_from is not None
    assert told.started_from.run == "first"
    assert {row["stage"] for row in small.history(second.root)} == {stage.name for stage in small.TRANSFER.stages}


@pytest.mark.usefixtures("untrained")
def test_a_bundle_is_trained_further_where_none_of_its_training_images_is_held_out(
    tmp_path: Path, data: Path, cells: list[LabelledImage], monkeypatch: pytest.MonkeyPatch
) -> None:
    read: list[str] = []
    monkeypatch.setattr(origin, "read_encoder", lambda path, _: read.append(path.name))
    seen = next(digest for digest, split in image_list.splits(SHIPPED / "images.csv").items() if split == "train")
    train.start("small", data, tmp_path / "run", None, start_from=SHIPPED)
    assert read == ["model.float16.onnx"]
    shipped = bundle.load(SHIPPED)
    told = Run.open(tmp_path / "run").started_from
    assert told is not None
    assert (told.run, told.weights_sha256) == (shipped.description.provenance.run, shipped.file("float16").sha256)
    assert seen in Run.open(tmp_path / "run").seen_before()

    held_out = next(cell for cell in cells if cell.split == "val")
    manifest.write(data, [replace(held_out, extra={"parent_sha256": seen}), *(c for c in cells if c is not held_out)])
    with pytest.raises(RunError, match=rf": 1 images that validate or test here.*{re.escape(held_out.path.name)}"):
        train.start("small", data, tmp_path / "again", None, start_from=SHIPPED)


@pytest.mark.usefixtures("untrained")
def test_a_bundle_that_lacks_what_training_needs_is_not_trained_further(tmp_path: Path, data: Path) -> None:
    shutil.copytree(SHIPPED, tmp_path / "bundle", copy_function=os.symlink)
    (tmp_path / "bundle" / "images.csv").unlink()
    with pytest.raises(RunError, match=r"images.csv, which says what it was trained on, is missing"):
        train.start("small", data, tmp_path / "run", None, start_from=tmp_path / "bundle")
    described = json.loads((SHIPPED / "bundle.json").read_text())
    described["files"] = [file for file in described["files"] if file["precision"] == "int8"]
    (tmp_path / "bundle" / "bundle.json").unlink()
    (tmp_path / "bundle" / "bundle.json").write_text(json.dumps(described))
    with pytest.raises(RunError, match="its weights are quantised; export it with --precision float16, too"):
        train.start("small", data, tmp_path / "run", None, start_from=tmp_path / "bundle")


@pytest.mark.parametrize("through", ["bytes", "written anew", "parent", "donor", "of a test image", "slide", "patient"])
def test_an_encoder_that_saw_what_validates_or_tests_now_is_refused_by_name(
    tmp_path: Path, data: Path, cells: list[LabelledImage], first: Path, through: str
) -> None:
    seen = next(cell for cell in cells if cell.split == "train")
    held_out = next(cell for cell in cells if cell.split == "val")
    digest = sha256_of(seen.path)
    Image.open(seen.path).save(tmp_path / "anew.bmp")
    leaked = {
        "bytes": replace(seen, split="val"),
        "written anew": replace(held_out, path=tmp_path / "anew.bmp", split="test"),
        "parent": replace(held_out, extra={"parent_sha256": digest}),
        "donor": replace(held_out, extra={"donors_sha256": f"{'0' * 64}|{digest}"}),
        "of a test image": replace(seen, split="test"),
        "slide": replace(held_out, source=seen.source, slide_id="7"),
        "patient": replace(held_out, source=seen.source, extra={"patient_id": "p"}),
    }[through]
    manifest.write(data, [leaked, *(cell for cell in cells if cell.path not in (leaked.path, seen.path))])
    with pytest.raises(RunError, match=rf": 1 images that validate or test here.*{re.escape(leaked.path.name)}.*split"):
        train.start("small", data, tmp_path / "run", None, start_from=first)
    assert not (tmp_path / "run").exists()


@pytest.mark.usefixtures("untrained")
def test_what_the_first_of_a_chain_of_runs_saw_is_not_forgotten(
    tmp_path: Path, data: Path, cells: list[LabelledImage], first: Path
) -> None:
    seen = next(cell for cell in cells if cell.split == "train")
    others = [cell for cell in cells if cell is not seen]
    manifest.write(data, others)
    train.start("small", data, tmp_path / "second", None, start_from=first)
    manifest.write(data, [replace(seen, split="val"), *others])
    with pytest.raises(RunError, match=rf"second cannot be started from: 1 images.*{re.escape(seen.path.name)}"):
        train.start("small", data, tmp_path / "third", None, start_from=tmp_path / "second")


@pytest.mark.usefixtures("untrained")
def test_slides_may_be_shared_with_an_earlier_run_only_where_that_is_allowed(
    tmp_path: Path, data: Path, cells: list[LabelledImage]
) -> None:
    shared = [replace(cell, slide_id="7") for cell in cells]
    manifest.write(data, shared)
    train.start("small", data, tmp_path / "first", None, shared_slides=True)
    train.start("small", data, tmp_path / "second", None, start_from=tmp_path / "first", shared_slides=True)
    assert Run.open(tmp_path / "second").started_from is not None


def test_only_a_finished_encoder_is_begun_with_and_only_in_one_way(
    tmp_path: Path, data: Path, cells: list[LabelledImage]
) -> None:
    begun = Run.start(tmp_path / "unfinished", small.RECIPE, cells)
    with pytest.raises(RunError, match="its encoder is not finished; go on with: hal train --resume"):
        train.start("small", data, tmp_path / "run", None, start_from=begun.root)
    with pytest.raises(RunError, match="give one of the two"):
        train.start("small", data, tmp_path / "run", None, encoder_from=begun.root, start_from=begun.root)
    assert not (tmp_path / "run").exists()


def test_a_run_killed_before_it_had_its_origins_encoder_does_not_go_on_with_another(
    tmp_path: Path, cells: list[LabelledImage]
) -> None:
    begun = Run.start(tmp_path / "origin", small.RECIPE, cells)
    (begun.root / "initial_weights.sha256").write_text("0" * 64 + "\n")
    Run.start(tmp_path / "killed", small.RECIPE, cells, begun.as_origin(), begun.seen())
    with pytest.raises(RunError, match="before it had taken over the encoder of origin: delete it and begin again"):
        train.resume(tmp_path / "killed", None)


def test_the_final_retraining_learns_from_validation_images_and_cannot_be_calibrated(
    tmp_path: Path, data: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    train.start("transfer", data, tmp_path / "final", None, ['train_splits=["train","val"]', "fine_tuning.epochs=1"])
    assert "36 training" in capsys.readouterr().out
    assert all(row["val_accuracy"] == "" for row in small.history(tmp_path / "final"))
    with pytest.raises(RunError, match="trained on its validation images"):
        export(tmp_path / "final", tmp_path / "bundle", "hal", "1.0.0", ["float32"])


def test_a_run_killed_before_its_first_checkpoint_begins_again(tmp_path: Path, cells: list[LabelledImage]) -> None:
    Run.start(tmp_path / "killed", small.only(small.TRANSFER, 0), cells)
    train.resume(tmp_path / "killed", None)
    assert Run.open(tmp_path / "killed").restore()[0].stage == 1


def test_a_run_that_met_too_little_memory_goes_on_with_a_smaller_micro_batch_and_tells_so(
    tmp_path: Path, cells: list[LabelledImage], monkeypatch: pytest.MonkeyPatch
) -> None:
    short = override(small.RECIPE, ["encoder.epochs=1", "classifier.epochs=1"])
    run = Run.start(tmp_path / "run", short, cells)
    asked: list[int | None] = []
    make = Update.__init__

    def made(self: Update, model: Any, variables: Any, optimizer: Any, objective: Any, micro_batch: int | None) -> None:
        make(self, model, variables, optimizer, objective, micro_batch)
        asked.append(micro_batch)
        if len(asked) == 2:
            raise tf.errors.ResourceExhaustedError(None, None, "OOM")

    monkeypatch.setattr(Update, "__init__", made)
    with pytest.raises(MemoryShortError, match=r"--set encoder\.micro_batch=8"):
        train.resume(run.root, None)
    train.resume(run.root, None, choices=["encoder.micro_batch=2", "classifier.micro_batch=4"])
    assert asked == [None, None, 2, 4]
    resumed = Run.open(run.root)
    assert resumed.recipe == override(short, ["encoder.micro_batch=2", "classifier.micro_batch=4"])
    assert resumed.restore()[0].stage == 3
    (earlier,) = json.loads((run.root / "recipe.json").read_text())["earlier"]
    assert Recipe.model_validate_json(json.dumps(earlier["recipe"])) == short
    assert earlier["until"] == {"stage": 1, "epoch": 0, "batch": 0}
    assert "changed on resuming: encoder.micro_batch=2, classifier.micro_batch=4" in (run.root / "log.txt").read_text()


def test_a_run_that_has_begun_keeps_every_other_choice(run: Run) -> None:
    before = (run.root / "recipe.json").read_bytes()
    choices = ["encoder.micro_batch=2", "encoder.epochs=3", "seed=1"]
    with pytest.raises(
        RecipeError, match=r"^encoder\.epochs, seed cannot be set .*only projection\.micro_batch, .*gradient stays"
    ):
        train.resume(run.root, None, choices=choices)
    assert (run.root / "recipe.json").read_bytes() == before
