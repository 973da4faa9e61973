"""``hal evidence``: the figures of images that had no part in making a bundle, written into the bundle."""

from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from typer.testing import CliRunner

from contract import bundle as bundles
from contract.classes import CLASS_NAMES, HAIRY_CELL
from contract.description import BundleDescription, Metric
from tests.service.tiny_bundle import TinyNetwork, with_novelty
from tests.training.export.made import tiny_bundle, write_manifest
from training.data import image_list, manifest
from training.data.contents import with_pixels
from training.evaluation.conditions import CONDITIONS
from training.export.cli import app
from training.export.evidence import EvidenceError, add_evidence

LYMPHOCYTE = CLASS_NAMES.index("Lymphocyte")


@dataclass
class Made:
    """A bundle around the tiny network, which names a class by the colour of the centre pixel, and cells for it."""

    folder: Path
    root: Path
    network: TinyNetwork

    def cell(self, shown: int, name: str, side: int = 256) -> Path:
        path = self.root / name
        path.parent.mkdir(exist_ok=True)
        Image.fromarray(np.full((side, side, 3), self.network.colours[shown], np.uint8)).save(path)
        return path

    def write(self, rows: list[tuple[Path, str, str, str, str]], name: str = "made.csv") -> Path:
        listed = [(cell, label, "", source, split, kind) for cell, label, source, split, kind in rows]
        return write_manifest(self.root / name, listed, "kind")


def make(root: Path) -> Made:
    network = TinyNetwork()
    folder = tiny_bundle(root, network)
    described = bundles.load(folder).description
    policy = described.policy.model_copy(update={"hairy_threshold": 0.5, "false_flags": None})
    bundles.write(folder, described.model_copy(update={"policy": policy}))
    return Made(folder, root, network)


def draw(made: Made) -> Path:
    """A manifest of the cells."""
    hairy, other = HAIRY_CELL.index, LYMPHOCYTE
    rows = [(made.cell(other, f"real{i}.png"), "Lymphocyte", "pbc", "test", "real") for i in range(8)]
    rows += [(made.cell(hairy, f"wrong{i}.png"), "Lymphocyte", "pbc", "test", "real") for i in range(2)]
    rows += [(made.cell(other, f"sham{i}.png"), "Lymphocyte", "pbc", "test", "sham") for i in range(4)]
    rows += [(made.cell(hairy, f"hairy{i}.png"), HAIRY_CELL.name, "pbc", "test", "composite") for i in range(5)]
    rows += [(made.cell(hairy, "trained.png"), "Lymphocyte", "pbc", "train", "real")]
    return made.write(rows)


@pytest.fixture
def made(tmp_path: Path) -> Made:
    return make(tmp_path)


@pytest.fixture
def data(made: Made) -> Path:
    return draw(made)


@dataclass
class Stated:
    """What a bundle said before it was given evidence and says now."""

    made: Made
    data: Path
    before: BundleDescription
    after: BundleDescription


@pytest.fixture(scope="module")
def stated(tmp_path_factory: pytest.TempPathFactory) -> Stated:
    made = make(tmp_path_factory.mktemp("stated"))
    data, before = draw(made), bundles.load(made.folder).description
    return Stated(made, data, before, add_evidence(made.folder, data))


def found(metrics: tuple[Metric, ...], name: str, condition: str = "as photographed") -> Metric:
    (metric,) = [m for m in metrics if m.name == name and m.condition == condition and m.command.startswith("hal e")]
    return metric


def test_real_cells_composites_and_shams_of_the_test_split_are_measured_apart(stated: Stated) -> None:
    metrics = stated.after.metrics
    accuracy = found(metrics, "accuracy, composites")
    assert (accuracy.value, accuracy.images, accuracy.split) == (1, 5, "test")
    assert found(metrics, "accuracy, edited controls").value == 1
    assert found(metrics, "false hairy flags, real images").value == pytest.approx(0.2)
    assert found(metrics, "hairy cells flagged, composites").value == 1
    assert found(metrics, "recall, Lymphocyte").value == pytest.approx(0.8)
    assert found(metrics, "expected calibration error").images == 10
    assert any(metric.name.startswith("probe") for metric in metrics)


def test_every_condition_is_measured_on_the_same_images(stated: Stated) -> None:
    metrics = stated.after.metrics
    for condition in CONDITIONS:
        assert found(metrics, "false hairy flags, edited controls", condition).images == 4
    assert found(metrics, "hairy cells flagged, composites", "rotated by 90 degrees").value == 1
    changed = [m.value for m in metrics if m.name == "accuracy, composites" and m.condition == "15 % darker"]
    assert changed == [0 if _darker_is_another(stated.made.network) else 1]


def _darker_is_another(network: TinyNetwork) -> bool:
    darker = np.rint(network.colours[HAIRY_CELL.index] * 0.85)
    return int(((network.colours.astype(float) - darker) ** 2).sum(axis=1).argmin()) != HAIRY_CELL.index


def test_false_flags_of_the_test_images_are_what_the_advice_on_slides_is_tested_against(stated: Stated) -> None:
    rate = stated.after.policy.false_flags
    assert rate is not None
    assert (rate.flagged, rate.cells, rate.data) == (2, 10, "real images of split test")


def test_the_bundle_and_its_card_are_written_and_still_verify(stated: Stated) -> None:
    made, before, again = stated.made, stated.before, stated.after
    written = (made.folder / "bundle.json").read_bytes()
    add_evidence(made.folder, stated.data)
    assert (made.folder / "bundle.json").read_bytes() == written, "figures of an earlier call are replaced, not doubled"
    assert bundles.load(made.folder).description.model_dump() == again.model_dump()
    assert again.metrics[: len(before.metrics)] == before.metrics
    card = (made.folder / "MODEL_CARD.md").read_text()
    worst = min(
        (m for m in again.metrics if m.condition != "as photographed" and m.name == "accuracy, real images"),
        key=lambda metric: metric.value,
    )
    assert f"named least well when\n{worst.condition}: {worst.value:.3f}" in card
    assert (made.folder.parent / "config.pbtxt").is_file()


def test_other_data_sets_are_measured_by_class_and_kept_out_of_the_other_tables(made: Made, data: Path) -> None:
    rows = [(made.cell(LYMPHOCYTE, f"there{i}.png"), "Lymphocyte", "raabin", "", "") for i in range(3)]
    rows += [(made.cell(HAIRY_CELL.index, "there.png"), "Lymphocyte", "raabin", "", "")]
    manifest_ = add_evidence(made.folder, data, [made.write(rows, "raabin.csv")])
    there = [metric for metric in manifest_.metrics if metric.split == "never trained on"]
    assert {metric.name: metric.value for metric in there} == {
        "accuracy, real images": 0.75,
        "cross-entropy": pytest.approx(-np.log(1e-12) / 4, rel=1e-3),
        "expected calibration error": pytest.approx(0.25, abs=1e-3),
        "expected calibration error under perfect calibration": pytest.approx(0, abs=1e-3),
        "false hairy flags, real images": 0.25,
        "recall, Lymphocyte": 0.75,
    }
    again = add_evidence(made.folder, data)
    assert [metric for metric in again.metrics if metric.split == "never trained on"] == there, "and none is taken away"
    card = (made.folder / "MODEL_CARD.md").read_text()
    assert "| raabin | 4 | 0.750 | 0.250 | 0.001 |  |  | 0.250 |" in card
    assert "| 0.800 | 0.490 to 0.943 | 10 |" in card, "the table of classes shows the test images"


def test_unfamiliar_images_are_counted_by_source_and_familiar_ones_measured_apart(made: Made, data: Path) -> None:
    colours = made.network.colours.sum(axis=1, dtype=float)
    dark, bright = (colours[index] for index in sorted((LYMPHOCYTE, HAIRY_CELL.index), key=colours.__getitem__))
    with_novelty(bundles.load(made.folder), (dark + bright) / 2)
    rows = [(made.cell(LYMPHOCYTE, f"there{i}.png"), "Lymphocyte", "raabin", "", "") for i in range(3)]
    rows += [(made.cell(HAIRY_CELL.index, "there.png"), "Lymphocyte", "raabin", "", "")]
    elsewhere = made.write(rows, "raabin.csv")
    metrics = add_evidence(made.folder, data, [elsewhere]).metrics
    plain = [metric for metric in metrics if metric.condition == "as photographed"]
    shares = {(metric.data, metric.images): metric.value for metric in plain if metric.name == "unfamiliar images"}
    lymphocytes = float(colours[LYMPHOCYTE] == bright)
    assert shares == {
        ("pbc", 10): pytest.approx(0.8 if lymphocytes else 0.2),
        ("raabin", 4): pytest.approx(0.75 if lymphocytes else 0.25),
    }
    assert found(metrics, "accuracy, familiar images").value == (0 if lymphocytes else 1)
    assert found(metrics, "expected calibration error, one temperature").images == 4
    with_novelty(bundles.load(made.folder), 1)
    again = {metric.name: metric.value for metric in add_evidence(made.folder, data, [elsewhere]).metrics}
    assert again["unfamiliar images"] == 1
    assert "accuracy, familiar images" not in again, "it was of the bundle as it was before"


def test_real_hairy_cells_are_shown_at_their_own_scale_and_at_the_analyser_s(made: Made, data: Path) -> None:
    for number in range(3):
        made.cell(HAIRY_CELL.index, f"hcl/{number}.png", side=200)
    made.cell(LYMPHOCYTE, "hcl/other.png", side=200)
    metrics = add_evidence(made.folder, data, hairy=made.root / "hcl", hairy_scale=7.5).metrics
    for name in ("as they are", "scaled to 10 pixels a micrometre"):
        metric = found(metrics, f"real hairy cells flagged, {name}")
        assert (metric.value, metric.images, metric.data) == (0.75, 4, f"{made.root.name}/hcl")


def test_images_that_made_the_bundle_are_refused_by_their_content(made: Made, data: Path) -> None:
    rows = [image for image in manifest.read(data) if image.path.name in ("real0.png", "trained.png")]
    trained = [row for row in rows if row.split == "train"]
    image_list.write(made.folder / image_list.FILE_NAME, trained, bundles.sha256_of)
    before = (made.folder / "bundle.json").read_bytes()
    with pytest.raises(EvidenceError, match=r"had a part in making the bundle: .* of its split 'train'"):
        add_evidence(made.folder, data)
    assert (made.folder / "bundle.json").read_bytes() == before


def test_images_that_made_the_bundle_are_refused_when_they_were_written_anew(made: Made, data: Path) -> None:
    noise = np.random.default_rng(2).integers(0, 256, (256, 256, 3), np.uint8)
    for name in ("trained.png", "anew.bmp"):
        Image.fromarray(noise).save(made.root / name)
    images = manifest.read(data)
    trained = with_pixels([image for image in images if image.split == "train"])
    image_list.write(made.folder / image_list.FILE_NAME, trained, bundles.sha256_of)
    anew = replace(images[0], path=made.root / "anew.bmp")
    manifest.write(data, [image for image in images if image.split == "test"])
    add_evidence(made.folder, data)
    manifest.write(data, [*(image for image in images if image.split == "test"), anew])
    with pytest.raises(EvidenceError, match=r"had a part in making the bundle: 1 of its split 'train'"):
        add_evidence(made.folder, data)


def test_a_manifest_without_test_images_says_how_to_get_some(made: Made) -> None:
    data = made.write([(made.cell(0, "a.png"), CLASS_NAMES[0], "pbc", "val", "real")])
    answer = CliRunner().invoke(app, ["evidence", str(made.folder), "--data", str(data)])
    assert answer.exit_code != 0
    assert "--test-share" in answer.output.replace("\n", " ")
