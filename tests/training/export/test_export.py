"""Export: the graph of the contract, parity with Keras, int8, and a bundle that verifies."""

from pathlib import Path

import keras
import numpy as np
import onnx
import onnxruntime as ort
import pytest
from onnx import TensorProto

from contract import bundle
from contract.description import Evidence, StartedFrom
from contract.parts import Precision
from tests.paths import ROOT
from tests.training import small
from training.data.images import read_image
from training.export import onnx_graph, triton
from training.export.bundle import export, write_bundle
from training.export.model_card import FILE_NAME, render
from training.export.model_files import LARGEST_DIFFERENCE, ExportError
from training.fit.run import Run, RunError
from training.fit.trainer import Trainer
from training.networks import xception as networks

TRAINING_ONLY = {"Dropout", "RandomUniform", "RandomNormal", "RandomUniformLike", "Bernoulli"}
PRECISIONS: tuple[Precision, ...] = ("int8", "float32", "float16")
SHIPPED = ROOT / "models" / "hal-c" / "3"


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> tuple[Run, Trainer]:
    """A finished run and the trainer that finished it, which tests only read."""
    root = tmp_path_factory.mktemp("trained")
    keras.mixed_precision.set_global_policy("float32")
    run = Run.start(root / "run", small.RECIPE, small.cells(root / "cells"))
    return run, small.train(run)


@pytest.fixture(scope="module")
def exported(tmp_path_factory: pytest.TempPathFactory, trained: tuple[Run, Trainer]) -> Path:
    """``models/small/1``: the run's bundle with a file of every precision, which tests only read."""
    out = tmp_path_factory.mktemp("exported") / "models" / "small" / "1"
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(networks, "build_encoder", lambda _: small.encoder())
        written = export(trained[0].root, out, "small", "1.0.0", PRECISIONS)
    assert bundle.load(out).description == written
    return out


@pytest.fixture
def head() -> keras.Model:
    return networks.build_classifier_head(0.3, 1, normalised=True)


def test_the_graph_has_the_contracts_inputs_and_outputs_and_nothing_of_training(
    small_encoder: keras.Model, head: keras.Model, tmp_path: Path
) -> None:
    model = onnx_graph.to_onnx(small_encoder, head)
    assert {entry.domain: entry.version for entry in model.opset_import}[""] == 17
    assert not {node.op_type for node in model.graph.node} & TRAINING_ONLY
    shapes = {value.name: value.type.tensor_type for value in (*model.graph.input, *model.graph.output)}
    assert {name: [d.dim_param or d.dim_value for d in of.shape.dim] for name, of in shapes.items()} == {
        "image": ["n", 256, 256, 3],
        "logits": ["n", 20],
        "embedding": ["n", 2048],
    }
    kinds = {name: TensorProto.DataType.Name(of.elem_type) for name, of in shapes.items()}
    assert kinds == {"image": "UINT8", "logits": "FLOAT", "embedding": "FLOAT"}
    onnx.save(model, tmp_path / "model.onnx")
    session = ort.InferenceSession(tmp_path / "model.onnx", providers=["CPUExecutionProvider"])
    images = np.random.default_rng(0).integers(0, 256, (7, 256, 256, 3), dtype=np.uint8)
    for batch in (1, 7):
        logits, embedding = session.run(["logits", "embedding"], {"image": images[:batch]})
        expected = onnx_graph.keras_logits(small_encoder, head, images[:batch])
        np.testing.assert_allclose(logits, expected, atol=1e-3)
        np.testing.assert_allclose(np.linalg.norm(embedding, axis=1), 1, atol=1e-5)


def test_rescaling_is_in_the_graph(small_encoder: keras.Model, head: keras.Model) -> None:
    """Pixels go in as they come from the decoder: 0 and 255 become -1 and 1 before the first convolution."""
    white = np.full((1, 256, 256, 3), 255, np.uint8)
    ones = keras.Model(small_encoder.layers[1].output, small_encoder.output)(np.ones((1, 256, 256, 3), np.float32))
    expected = np.asarray(head(ones))
    np.testing.assert_allclose(onnx_graph.keras_logits(small_encoder, head, white), expected, atol=1e-4)


def test_a_finished_run_becomes_a_bundle_that_verifies_and_declares_its_evidence(
    exported: Path, trained: tuple[Run, Trainer]
) -> None:
    run, _ = trained
    out = exported
    loaded = bundle.load(out)
    manifest = loaded.description
    assert sorted(path.name for path in out.iterdir()) == sorted(
        [
            "bundle.json",
            "golden.npz",
            "images.csv",
            FILE_NAME,
            "model.float16.onnx",
            "model.float32.onnx",
            "model.int8.onnx",
            "novelty.npz",
            "reference.npz",
        ]
    )
    assert sorted(path.name for path in out.parent.iterdir()) == ["1", "config.pbtxt"], "and nothing temporary"
    assert (out.parent / "config.pbtxt").read_text() == triton.config(manifest)

    evidence = {entry.name: (entry.evidence, entry.training_images) for entry in manifest.classes}
    assert evidence["Lymphocyte"] == (Evidence.REAL, 8)
    assert evidence["Large thrombocyte"] == (Evidence.SIZE_DERIVED, 8)
    assert evidence["Hairy cell"] == (Evidence.NONE, 0)
    assert manifest.policy.hairy_threshold is None
    assert int(manifest.suppressed.sum()) == 17

    parity = {file.precision: file.parity for file in manifest.files}
    assert parity["float32"].batch_sizes == (1, 7, 32)
    assert parity["float32"].max_abs_logit_difference <= 1e-3
    assert 1e-6 < parity["float16"].max_abs_logit_difference <= LARGEST_DIFFERENCE["float16"]
    assert loaded.file("float16").bytes < 0.6 * loaded.file("float32").bytes
    assert {metric.precision for metric in manifest.metrics if metric.name == "accuracy"} == set(PRECISIONS)
    assert any(metric.name == "accuracy, int8 minus float32" for metric in manifest.metrics)
    assert manifest.provenance.recipe["name"] == "small"
    assert (out / FILE_NAME).read_text() == render(manifest)
    assert f"hal train small --data datasets/open.csv --run runs/{run.root.name}\n" in render(manifest)

    validation = np.stack([read_image(image.path) for image in run.images if image.split == "val"])
    session = ort.InferenceSession(loaded.path(loaded.file()), providers=["CPUExecutionProvider"])
    embeddings = session.run(["embedding"], {"image": validation})[0]
    reference, arrays = manifest.reference, loaded.reference()
    assert reference is not None
    assert arrays is not None
    assert (reference.images, reference.precision) == (len(validation), "int8")
    np.testing.assert_allclose(arrays["mean"], embeddings.mean(axis=0), atol=1e-5)
    distances = np.linalg.norm(embeddings - embeddings.mean(axis=0), axis=1)
    assert reference.spread == pytest.approx(np.sqrt((distances**2).mean()), rel=1e-3)
    assert reference.spread_within <= reference.spread

    novelty, basis = manifest.novelty, loaded.novelty()
    assert novelty is not None
    assert basis is not None
    assert (novelty.images, novelty.validation_images, novelty.precision) == (24, len(validation), "int8")
    assert np.mean(basis.scores(embeddings) > 1) <= novelty.familiar_rate
    calibration = manifest.calibration
    assert (calibration.unfamiliar_temperature or 0) >= calibration.temperature
    assert calibration.shifted_images == len(validation)
    assert f"{calibration.shifted_ece_after:.3f} with it" in render(manifest)

    golden = loaded.golden()
    for precision in ("float32", "float16"):
        session = ort.InferenceSession(loaded.path(loaded.file(precision)), providers=["CPUExecutionProvider"])
        logits = session.run(["logits"], {"image": golden["images"]})[0]
        np.testing.assert_allclose(logits, golden[f"logits_{precision}"], atol=1e-4 if precision == "float32" else 5e-3)


def test_int8_quantises_the_convolutions_and_keeps_the_answers(exported: Path, trained: tuple[Run, Trainer]) -> None:
    run, _ = trained
    nodes = onnx.load(exported / "model.int8.onnx").graph.node
    dequantised = {name for node in nodes if node.op_type == "DequantizeLinear" for name in node.output}
    in_int8 = [dequantised.issuperset(node.input[:2]) for node in nodes if node.op_type == "Conv"]
    assert in_int8 == [False, False, True], "all but the first two"
    images = np.stack([read_image(image.path) for image in run.images[:12]])
    logits = {
        precision: ort.InferenceSession(exported / f"model.{precision}.onnx", providers=["CPUExecutionProvider"]).run(
            ["logits"], {"image": images}
        )[0]
        for precision in ("float32", "int8")
    }
    assert np.abs(logits["int8"] - logits["float32"]).max() < 0.15


def test_a_float16_file_too_far_from_keras_is_refused_and_nothing_is_left(
    tmp_path: Path, trained: tuple[Run, Trainer], monkeypatch: pytest.MonkeyPatch
) -> None:
    run, trainer = trained
    monkeypatch.setitem(LARGEST_DIFFERENCE, "float16", 1e-7)
    with pytest.raises(ExportError, match=r"float16 logits differ from Keras by .*, allowed is 1e-07"):
        write_bundle(
            run, trainer.encoder, trainer.heads["classifier"], tmp_path / "out" / "1", "small", "1.0.0", ("float16",)
        )
    assert list((tmp_path / "out").iterdir()) == []


def test_a_finished_run_is_exported_from_its_last_checkpoint(exported: Path, trained: tuple[Run, Trainer]) -> None:
    _, trainer = trained
    golden = bundle.load(exported).golden()
    expected = onnx_graph.keras_logits(trainer.encoder, trainer.heads["classifier"], golden["images"])
    np.testing.assert_allclose(golden["logits_float32"], expected, atol=1e-4)


def test_a_bundle_is_never_overwritten(tmp_path: Path, run: Run, small_encoder: keras.Model, head: keras.Model) -> None:
    out = tmp_path / "1"
    out.mkdir()
    (out / "bundle.json").write_text("{}")
    with pytest.raises(RunError, match="holds a bundle already"):
        write_bundle(run, small_encoder, head, out, "small", "1.0.0", ("float32",))


def test_an_unfinished_run_is_not_exported(tmp_path: Path, run: Run) -> None:
    with pytest.raises(RunError, match="--resume"):
        export(run.root, tmp_path / "out", "small", "1.0.0", ("float32",))


def test_the_card_gives_the_commands_of_every_run_that_the_weights_went_through() -> None:
    shipped = bundle.load(SHIPPED).description
    provenance = shipped.provenance
    first, second = (
        StartedFrom(run=name, recipe={"name": recipe}, manifest_sha256=c * 64, initial_weights_sha256=c * 64)
        for name, recipe, c in [("first", "large", "a"), ("second", "larger", "b")]
    )
    chain = second.model_copy(update={"started_from": first})
    card = render(shipped.model_copy(update={"provenance": provenance.model_copy(update={"started_from": chain})}))
    run, recipe = provenance.run, provenance.recipe["name"]
    assert (
        "hal train large --data datasets/first/manifest.csv --run runs/first\n"
        "hal train larger --start-from runs/first --data datasets/second/manifest.csv --run runs/second\n"
        f"hal train {recipe} --start-from runs/second --data datasets/{run}/manifest.csv --run runs/{run}\n"
    ) in card
