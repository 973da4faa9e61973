"""The bundle that is shipped, on real cells, through the real service."""

import csv
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from contract import bundle
from contract.bundle import Bundle, sha256_of
from contract.classes import BY_ID
from contract.description import AS_PHOTOGRAPHED, Evidence, Metric
from service.settings import Settings
from tests.conftest import SHARED
from tests.paths import CELLS, ROOT
from tests.service.live_server import LiveServer, serving
from training.data import image_list, manifest
from training.data.prepare import Choices, prepare
from training.evaluation.onnx_inference import onnx_outputs
from training.evaluation.results import Evaluation


@pytest.fixture(scope="module")
def shipped() -> Bundle:
    return bundle.load(ROOT / Settings.model_fields["bundle"].default)


@pytest.fixture(scope="module")
def live(shipped: Bundle) -> Iterator[LiveServer]:
    with serving(shipped) as server:
        yield server


@pytest.fixture(scope="module")
def open_images(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Manifest of the images under HAL_SHARED that the shipped bundle was made of, split as for it.

    To read its 14,000 files takes longer than the tests of it, which is why they are in one file. They are not decoded,
    as if each could be and had pixels of its own: the splits would differ from those of the bundle if it were not so.
    """
    if not SHARED:
        pytest.skip("HAL_SHARED is not set: the real images are not at hand")
    data, path = Path(SHARED) / "data", tmp_path_factory.mktemp("open") / "open.csv"
    folders = {
        "pbc": ("real/images/pbc_barcelona", "more/pbc/images"),
        "matek-marrow": ("real/images/bm_cytomorphology_mll", "more/matek/images"),
    }
    sources = [f"{preset}={data / folder}" for preset, both in folders.items() for folder in both]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("training.data.prepare.decode_all", lambda _: ({}, {}))
        prepare(sources, path, Choices(test_share=0.17, validation_share=0.08))
    return path


def samples() -> list[dict[str, str]]:
    with (CELLS / "labels.csv").open() as stream:
        return list(csv.DictReader(stream))


def stated(shipped: Bundle, name: str, split: str = "test", data: str = "matek-marrow+pbc") -> Metric:
    """A figure that the bundle states for the file that it serves, of images as they are."""
    (found,) = [
        m
        for m in shipped.description.metrics
        if (m.name, m.split, m.data, m.precision) == (name, split, data, shipped.file().precision)
        and m.condition == AS_PHOTOGRAPHED
    ]
    return found


def test_most_of_the_blindly_chosen_sample_cells_are_classified_as_experts_did(live: LiveServer) -> None:
    """24 cells that were not trained on; at the bundle's stated accuracy fewer than 18 hits are a 1 in 80 chance."""
    blind = [row for row in samples() if row["chosen"] == "blindly"]
    files = [("file", (row["file"], (CELLS / row["file"]).read_bytes())) for row in blind]
    results = live.http.post("/classify", files=files).raise_for_status().json()["results"]
    answers = {row["file"]: (result["class_name"], row["label"]) for result, row in zip(results, blind, strict=True)}
    misses = {file: found for file, (found, expected) in answers.items() if found != expected}
    assert len(answers) == 24
    assert len(misses) <= 6, misses


def test_a_miss_of_the_bundle_asks_for_review(live: LiveServer) -> None:
    """This neutrophil passes for a band: where the bundle is wrong, it must not be sure."""
    data = (CELLS / "segmented-neutrophil-2.jpg").read_bytes()
    (result,) = live.http.post("/classify", content=data, headers={"Content-Type": "image/jpeg"}).json()["results"]
    assert result["class_name"] == "Segmented neutrophil" or result["review"]


def test_a_lymphocyte_raises_no_flag_and_the_answer_says_that_hairy_cells_were_composites(
    live: LiveServer, shipped: Bundle
) -> None:
    data = (CELLS / "lymphocyte-1.jpg").read_bytes()
    answer = live.http.post("/classify", content=data, headers={"Content-Type": "image/jpeg"}).json()
    (result,) = answer["results"]
    assert list(result["probabilities"]) == list(BY_ID)
    assert sum(result["probabilities"].values()) == pytest.approx(1, abs=2e-5)
    assert result["hairy_cell"]["flag"] is False
    assert answer["hairy_cell"]["threshold"] == shipped.description.policy.hairy_threshold
    assert "composites" in answer["hairy_cell"]["advice"]
    assert "MLL23" in answer["hairy_cell"]["advice"]
    model = live.http.get("/model").json()
    assert {entry["name"] for entry in model["classes"] if entry["evidence"] == "composite"} >= {"Hairy cell"}
    assert any("composites" in limit and "Hairy cell" in limit for limit in model["limits"])


def test_no_slide_gets_advice_that_composites_cannot_support(live: LiveServer) -> None:
    files = [("file", (row["file"], (CELLS / row["file"]).read_bytes())) for row in samples()]
    summary = live.http.post("/slides/classify", files=files).raise_for_status().json()["summary"]
    assert summary["advice"] == "not supported by this bundle"
    assert "never from a real one" in summary["reason"]


def test_every_class_has_images_and_says_which(shipped: Bundle) -> None:
    evidence = {entry.name: entry.evidence for entry in shipped.description.classes}
    assert Evidence.NONE not in evidence.values()
    assert evidence["Large thrombocyte"] is Evidence.SIZE_DERIVED
    assert evidence["Segmented neutrophil"] is Evidence.REAL
    assert evidence["Hairy cell"] is Evidence.COMPOSITE
    assert {entry.licence for entry in shipped.description.attributions} == {"CC BY 4.0"}


def test_the_figures_that_a_user_relies_on_are_stated_and_good_enough(shipped: Bundle) -> None:
    """Limits a little below what was measured, so that a later bundle cannot be much worse unnoticed."""
    assert stated(shipped, "accuracy, ten expert-labelled classes", data="pbc").value >= 0.90
    assert stated(shipped, "accuracy, real images", data="matek-marrow").value >= 0.86
    assert stated(shipped, "expected calibration error").value <= 0.03
    false_flags = stated(shipped, "false hairy flags, real images")
    assert false_flags.value <= 0.002
    assert false_flags.images > 2000
    assert false_flags.method == "Clopper-Pearson"
    assert stated(shipped, "unfamiliar images", data="pbc").value <= 0.04
    assert stated(shipped, "unfamiliar images", "never trained on", "raabin").value >= 0.95
    assert stated(shipped, "unfamiliar images", "never trained on", "chula").value >= 0.80
    assert shipped.path(shipped.file()).stat().st_size < 25_000_000


def test_the_shared_images_and_splits_are_those_that_the_shipped_bundle_was_made_of(
    shipped: Bundle, open_images: Path
) -> None:
    """Its composites and edited controls are made of these; making them takes minutes. It never saw the test images."""
    with (shipped.root / image_list.FILE_NAME).open(newline="") as stream:
        rows = [row for row in csv.DictReader(stream) if row["kind"] == "real" and row["split"] != "test"]
    images = [image for image in manifest.read(open_images) if image.split != "test"]
    assert {row["parent_sha256"]: (row["label"], row["split"]) for row in rows} == {
        sha256_of(image.path): (image.label, image.split) for image in images
    }


@pytest.mark.slow
def test_the_stated_accuracy_is_found_again_on_the_downloaded_test_images(shipped: Bundle, open_images: Path) -> None:
    """The bundle's own test images went through JPEG once more, as its composites did; these are as downloaded."""
    images = [image for image in manifest.read(open_images) if image.split == "test"][::5]
    labels = np.array([image.class_index for image in images])
    logits = onnx_outputs(shipped.path(shipped.file()), [image.path for image in images], "test images").logits
    found, expected = (
        Evaluation.of(logits, labels, shipped.description).accuracy,
        stated(shipped, "accuracy, real images"),
    )
    assert len(images) == pytest.approx(expected.images / 5, rel=0.02)
    deviation = (expected.value * (1 - expected.value) / len(images)) ** 0.5
    assert found.value == pytest.approx(expected.value, abs=3 * deviation)
