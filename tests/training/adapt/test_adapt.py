"""``hal adapt``: from a bundle and a laboratory's cells to a bundle of that laboratory, or a reason why not."""

import csv
import json
import shutil
import subprocess
import sys
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import onnx
import pytest
from numpy.typing import NDArray
from PIL import Image
from typer.testing import CliRunner

from contract import bundle
from contract.bundle import Bundle
from contract.classes import CLASS_COUNT
from contract.novelty import NoveltyBasis
from contract.parts import EMBEDDING_SIZE, Novelty
from tests.paths import CELLS, ROOT
from tests.training.adapt.site import CLASSES, Site, coloured, graph
from training.adapt.adapt import AdaptError, adapt
from training.adapt.cli import app
from training.adapt.graph import LayerError, parity, read_layer, write_layer
from training.adapt.layer import DEFAULT_PENALTY, Cells, Choice, LastLayer
from training.adapt.rules import refit_calibration, refit_novelty
from training.data import image_list
from training.data.images import read_image
from training.data.manifest import ManifestError
from training.evaluation.onnx_inference import onnx_outputs


@pytest.fixture
def site(tmp_path: Path) -> Site:
    return Site(tmp_path)


@pytest.fixture(scope="module")
def made_once(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return Site(tmp_path_factory.mktemp("made")).parent().root


@pytest.fixture
def parent(site: Site, made_once: Path) -> Bundle:
    folder = site.root / "models" / "parent" / "1"
    shutil.copytree(made_once, folder)
    return bundle.load(folder)


def everything_in(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


@dataclass(frozen=True)
class Adapted:
    """What ``hal adapt`` made of the parent and the cells of a laboratory."""

    site: Site
    data: Path
    parent: Bundle
    parent_before: dict[str, bytes]
    said: str
    bundle: Bundle


@pytest.fixture(scope="module")
def lab(tmp_path_factory: pytest.TempPathFactory, made_once: Path) -> Adapted:
    """``models/lab/1``, which tests only read."""
    site = Site(tmp_path_factory.mktemp("lab"))
    folder, out = site.root / "models" / "parent" / "1", site.root / "models" / "lab" / "1"
    shutil.copytree(made_once, folder)
    (folder / "cells").mkdir()
    (folder / "cells" / "labels.csv").write_text("file,label,source,licence\n")
    data, before = site.cells(), everything_in(folder)
    done = CliRunner().invoke(app, [str(folder), "--data", str(data), "--out", str(out)])
    assert done.exit_code == 0, done.output
    return Adapted(site, data, bundle.load(folder), before, done.output, bundle.load(out))


def test_other_slides_of_the_laboratory_are_named_rightly_and_the_parent_stays(lab: Adapted, tmp_path: Path) -> None:
    site, parent, adapted = lab.site, lab.parent, lab.bundle
    assert everything_in(parent.root) == lab.parent_before
    assert (adapted.root / "cells" / "labels.csv").is_file(), "the page's sample cells come along"
    assert (adapted.description.name, adapted.description.version) == ("lab", "1.0.0")
    assert "held-out cells of the site (24): mean recall" in lab.said
    generator = np.random.default_rng(77)
    shown = [coloured(index, generator, site.cast) for index in CLASSES[:3] for _ in range(5)]
    paths = []
    for number, pixels in enumerate(shown):
        paths.append(tmp_path / f"new-{number}.png")
        Image.fromarray(pixels).save(paths[-1])
    labels = np.repeat(CLASSES[:3], 5)
    rates = []
    for each in (parent, adapted):
        logits = np.where(
            each.description.suppressed, -np.inf, onnx_outputs(each.path(each.file()), paths, "new").logits
        )
        rates.append((logits.argmax(axis=1) == labels).mean())
    assert rates[1] > 0.9 > 0.7 > rates[0]


def test_every_file_gives_the_new_layer_and_the_golden_sample_is_theirs(lab: Adapted) -> None:
    parent, adapted = lab.parent, lab.bundle
    golden = adapted.golden()
    layers = [read_layer(adapted.path(file)) for file in adapted.description.files]
    np.testing.assert_array_equal(layers[0].weights, layers[1].weights)
    assert np.abs(layers[0].weights - read_layer(parent.path(parent.file())).weights).max() > 0.01
    for file in adapted.description.files:
        outputs, difference = parity(adapted.path(file), file.precision, layers[0], golden["images"])
        assert difference < 1e-4
        np.testing.assert_allclose(golden[f"logits_{file.precision}"], outputs.logits, atol=1e-5)
        np.testing.assert_allclose(outputs.logits, outputs.embeddings @ layers[0].weights + layers[0].bias, atol=1e-4)
        before, after = (onnx.load(each.path(file)) for each in (parent, adapted))
        changed = [a.name for a, b in zip(before.graph.initializer, after.graph.initializer, strict=True) if a != b]
        assert set(changed) == {"weights", "bias"}
        assert before.graph.node == after.graph.node


def test_the_chain_says_from_what_of_which_cells_and_by_whom(lab: Adapted, tmp_path: Path) -> None:
    site, first = lab.site, lab.bundle.description
    (step,) = first.adaptations
    assert (step.parent, step.parent_sha256) == ("tiny 1.2.3", lab.parent.file().sha256)
    assert (step.cells, step.slides, step.labelled_by) == (
        {"lymphocyte": 8, "monocyte": 8, "band-neutrophil": 8},
        4,
        ("A. Han",),
    )
    card = (lab.bundle.root / "MODEL_CARD.md").read_text()
    assert "Last layer of tiny 1.2.3" in card
    assert "24 cells of 4 slides, confirmed by A. Han: 8 lymphocyte, 8 monocyte, 8 band-neutrophil;" in card
    assert "| mean recall before adapting |" in card
    assert any(limit.startswith("Its last layer was fitted to 24 cells of 4 slides") for limit in first.limits)
    assert {metric.name for metric in first.metrics} >= {
        "mean recall",
        "mean recall before adapting",
        "recall, Monocyte",
    }
    assert (site.root / "models" / "lab" / "config.pbtxt").is_file()
    more = site.cells(name="more.csv", slides=3, of_class=1)
    again = adapt(lab.bundle.root, more, tmp_path / "lab" / "2", force=True).description
    assert again.version == "2.0.0"
    assert [each.parent for each in again.adaptations] == ["tiny 1.2.3", "lab 1.0.0"]
    assert again.policy.version == "p-1.1.2"
    assert sum(limit.startswith("Its last layer") for limit in again.limits) == 1


def test_cells_are_listed_by_content_and_without_the_names_of_slides_and_files(lab: Adapted, tmp_path: Path) -> None:
    out = lab.bundle.root
    listed = (out / image_list.FILE_NAME).read_text()
    assert "site.csv" not in listed
    assert ",s0," not in listed
    assert set(image_list.splits(out / image_list.FILE_NAME).values()) == {"train"}
    with pytest.raises(AdaptError, match=r"24 of 24 cells of .* had a part in making"):
        adapt(out, lab.data, tmp_path / "2")


def test_a_bundle_that_is_not_better_is_refused_and_nothing_is_left_behind(site: Site, parent: Bundle) -> None:
    site.cast = None
    out = site.root / "models" / "lab" / "1"
    command = [str(parent.root), "--data", str(site.cells()), "--out", str(out)]
    refused = CliRunner().invoke(app, command)
    assert refused.exit_code == 1
    assert "no bundle was written: mean recall does not rise on held-out cells of the site (+0.000)" in refused.output
    assert [path.name for path in out.parent.iterdir()] == []
    written = CliRunner().invoke(app, [*command, "--force"])
    assert written.exit_code == 0, written.output
    assert bundle.load(out).description.adaptations


def test_a_bundle_that_forgets_is_refused(site: Site, parent: Bundle) -> None:
    """The laboratory calls every monocyte a lymphocyte, in the light of the parent's own cells."""
    site.cast = None
    data = site.cells(slides=6, of_class=4, monocyte="lymphocyte")
    with pytest.raises(AdaptError, match=r"mean recall falls by more than 0.02 on reference cells of the parent"):
        adapt(parent.root, data, site.root / "1")


def test_cells_of_one_slide_prove_nothing(site: Site, parent: Bundle) -> None:
    data = site.cells(slides=1)
    with pytest.raises(AdaptError, match="all cells are of one slide"):
        adapt(parent.root, data, site.root / "1")
    described = adapt(parent.root, data, site.root / "1", force=True).description
    assert described.adaptations[0].penalty == DEFAULT_PENALTY
    assert (described.calibration, described.policy) == (parent.description.calibration, parent.description.policy)


def test_test_cells_are_measured_only_and_share_no_slide(site: Site, parent: Bundle) -> None:
    data = site.cells(slides=5, test=1)
    adapted = adapt(parent.root, data, site.root / "1")
    assert sum(adapted.description.adaptations[0].cells.values()) == 24
    assert [len(each.before.labels) for each in adapted.comparisons][:2] == [24, 6]
    rows = list(csv.reader(data.open()))
    rows[-1][4] = "test"
    with data.open("w", newline="") as stream:
        csv.writer(stream).writerows(rows)
    with pytest.raises(ManifestError, match="slide 's4' of ours is in"):
        adapt(parent.root, data, site.root / "2")


def test_cells_of_classes_that_are_never_answered_are_left_out(site: Site, parent: Bundle) -> None:
    data = site.cells(band_neutrophil="eosinophil")
    adapted = adapt(parent.root, data, site.root / "1")
    assert adapted.left_out == 8
    assert adapted.description.classes == parent.description.classes


@pytest.mark.parametrize("nodes", [1, 2], ids=["Gemm", "MatMul and Add"])
def test_a_last_layer_is_read_and_replaced(tmp_path: Path, nodes: int) -> None:
    generator = np.random.default_rng(2)
    first, second = (
        LastLayer(generator.normal(size=(EMBEDDING_SIZE, CLASS_COUNT)), generator.normal(size=CLASS_COUNT))
        for _ in range(2)
    )
    model = graph(first)
    if nodes == 2:
        gemm = model.graph.node.pop()
        product = onnx.helper.make_node("MatMul", gemm.input[:2], ["product"])
        model.graph.node.extend([product, onnx.helper.make_node("Add", ["product", gemm.input[2]], ["logits"])])
    onnx.save(model, tmp_path / "first.onnx")
    write_layer(tmp_path / "first.onnx", tmp_path / "second.onnx", second)
    np.testing.assert_allclose(read_layer(tmp_path / "second.onnx").weights, second.weights, rtol=1e-6)
    images = np.stack([coloured(index, generator) for index in CLASSES])
    parity(tmp_path / "second.onnx", "float32", second, images)
    with pytest.raises(LayerError, match="from embedding times last layer"):
        parity(tmp_path / "first.onnx", "float32", second, images)


def test_a_classifier_on_features_that_are_not_normalised_is_refused(site: Site) -> None:
    parent = site.parent(normalised=False)
    with pytest.raises(LayerError, match="only bundles whose classifier stands on the normalised embedding"):
        adapt(parent.root, site.cells(), site.root / "1")
    assert not (site.root / "1").exists()


def test_another_graph_is_refused(site: Site, parent: Bundle) -> None:
    model = onnx.load(parent.path(parent.file()))
    model.graph.node[-1].op_type = "Concat"
    del model.graph.node[-1].input[2:]
    onnx.save(model, site.root / "other.onnx")
    with pytest.raises(LayerError, match=r"other\.onnx does not end in a layer"):
        read_layer(site.root / "other.onnx")


def test_a_dozen_cells_that_are_named_rightly_do_not_bring_certainty(parent: Bundle) -> None:
    labels = np.repeat(CLASSES[:3], 4)
    logits = np.zeros((12, CLASS_COUNT), np.float32)
    logits[np.arange(12), labels] = 3.0
    few = refit_calibration(parent.description, logits, labels)
    many = refit_calibration(parent.description, np.tile(logits, (200, 1)), np.tile(labels, 200))
    was = parent.description.calibration.temperature
    assert was / 4 < few.temperature < was
    assert many.temperature < few.temperature / 2


def test_the_site_s_cells_become_familiar_and_what_was_familiar_stays_so(tmp_path: Path) -> None:
    generator = np.random.default_rng(4)

    def unit(count: int, first: int) -> NDArray[np.float32]:
        found = generator.normal(0, 0.02, (count, EMBEDDING_SIZE))
        found[:, first : first + 5] += generator.uniform(0.5, 1, (count, 5))
        return np.asarray(found / np.linalg.norm(found, axis=1, keepdims=True), np.float32)

    known, there, strange = unit(200, 0), unit(60, 100), unit(60, 300)
    mean, weights = np.zeros(EMBEDDING_SIZE, np.float32), np.ones(EMBEDDING_SIZE, np.float32)
    basis = NoveltyBasis(mean, weights, np.eye(5, EMBEDDING_SIZE, dtype=np.float32), 1.0)
    basis = replace(basis, threshold=float(basis.scores(known).max()))
    described = Novelty(
        path="novelty.npz",
        sha256="0" * 64,
        precision="float32",
        components=5,
        images=200,
        threshold=basis.threshold,
        familiar_rate=0.02,
        validation_images=200,
    )
    cells = Cells(there, np.zeros(60, np.int64), np.arange(60) // 6)
    choice = Choice(1.0, np.zeros((60, 20), np.float32), (np.arange(60) // 12).astype(np.int64))
    novelty, wider, scores = refit_novelty(basis, described, cells, choice, tmp_path)
    assert (basis.scores(there) > 1).all()
    assert (scores > 1).mean() <= 0.02
    assert (wider.scores(known) <= basis.scores(known) + 1e-4).all()
    assert (wider.scores(strange) > 1).mean() > 0.9
    np.testing.assert_allclose(wider.components @ wider.components.T, np.eye(novelty.components), atol=1e-4)


def test_the_command_adapts_the_shipped_bundle_to_real_cells_without_tensorflow(tmp_path: Path) -> None:
    """The sample cells in another light, on two slides."""
    shipped = max((ROOT / "models" / "hal-c").glob("*/bundle.json"), key=lambda path: int(path.parent.name)).parent
    with (CELLS / "labels.csv").open(newline="") as stream:
        labels = {row["file"]: row["label"] for row in csv.DictReader(stream)}
    rows = []
    for name, label in labels.items():
        if label in ("Basophil", "Lymphocyte", "Monocyte", "Segmented neutrophil"):
            pixels = read_image(CELLS / name)[..., ::-1]
            Image.fromarray(pixels).save(tmp_path / f"{name}.png")
            rows.append((f"{name}.png", label, name[-5], "lab", ""))
    with (tmp_path / "site.csv").open("w", newline="") as stream:
        csv.writer(stream).writerows([("path", "label", "slide_id", "source", "split"), *rows])
    out = tmp_path / "models" / "lab" / "1"
    words = ["hal", "adapt", str(shipped), "--data", str(tmp_path / "site.csv"), "--out", str(out), "--force"]
    program = (
        f"import sys, hal; sys.argv = {words!r}\n"
        "try: hal.main()\n"
        "finally: print({'tensorflow', 'keras'} & {*sys.modules}, file=sys.stderr)"
    )
    done = subprocess.run([sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert done.stderr.rstrip().endswith("set()")
    assert f"held-out cells of the site ({len(rows)})" in done.stdout
    written = bundle.load(out).description
    assert written.files[0].parity.max_abs_logit_difference < 1e-3
    assert json.loads((out / "bundle.json").read_text())["adaptations"][0]["cells"]["lymphocyte"] == 2
