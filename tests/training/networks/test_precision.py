"""Half precisions: a machine that would only imitate one is told what to choose, and a run in one learns in float32."""

import re
from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest
import tensorflow as tf

from tests.training import small
from training.data.manifest import LabelledImage
from training.fit import trainer
from training.fit.run import Run
from training.fit.start import resume
from training.fit.trainer import Trainer
from training.fit.update import Update
from training.networks import precision
from training.overrides import override

HALVES = ["mixed_bfloat16", "mixed_float16"]


@pytest.fixture
def no_gpu(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(precision, "gpu_capabilities", dict)


@pytest.mark.usefixtures("no_gpu")
@pytest.mark.parametrize(
    ("asked", "cpu", "expected"),
    [
        ("float32", "flags\t\t: fpu sse2\n", None),
        ("mixed_bfloat16", "flags\t\t: fpu avx512f\n", "no instructions for it.*--set precision=float32 "),
        ("mixed_bfloat16", "flags\t\t: fpu avx512f avx512_bf16\n", None),
        ("mixed_bfloat16", "flags\t\t: fpu amx_bf16\n", None),
        ("mixed_bfloat16", "Features\t: fp asimd\n", "no instructions for it.*--set precision=float32 "),
        ("mixed_bfloat16", "Features\t: fp asimd bf16\n", None),
        ("mixed_bfloat16", "processor : 0\n", None),
        ("mixed_bfloat16", None, None),
        ("mixed_float16", "flags\t\t: fpu avx512_fp16\n", "slow on any CPU.*--set precision=float32 "),
        ("mixed_float16", "flags\t\t: fpu avx512_bf16\n", "slow on any CPU.*--set precision=mixed_bfloat16 "),
        ("mixed_float16", None, "slow on any CPU.*--set precision=float32 "),
    ],
)
def test_a_cpu_is_asked_what_it_computes_in(
    asked: str, cpu: str | None, expected: str | None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(precision, "CPU_INFO", tmp_path / "cpuinfo")
    if cpu is not None:
        (tmp_path / "cpuinfo").write_text(f"processor\t: 0\n{cpu}bugs\t\t: none\n")
    _expect(precision.slowness(asked), expected)


@pytest.mark.parametrize(
    ("asked", "capabilities", "expected"),
    [
        ("mixed_bfloat16", [(8, 0)], None),
        ("mixed_bfloat16", [(8, 6), (7, 5)], r"below 8\.0 \(GPU:1 has 7\.5\).*--set precision=mixed_float16 "),
        ("mixed_bfloat16", [(6, 1)], r"below 8\.0 \(GPU:0 has 6\.1\).*--set precision=float32 "),
        ("mixed_float16", [(7, 0)], None),
        ("mixed_float16", [(6, 1)], r"below 7\.0 \(GPU:0 has 6\.1\).*--set precision=float32 "),
        ("mixed_float16", [None], None),
        ("float32", [(3, 5)], None),
    ],
)
def test_gpus_are_asked_for_their_compute_capability(
    asked: str, capabilities: list[tuple[int, int] | None], expected: str | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    gpus = [tf.config.PhysicalDevice(f"GPU:{number}", "GPU") for number in range(len(capabilities))]
    told = {f"GPU:{n}": {} if has is None else {"compute_capability": has} for n, has in enumerate(capabilities)}
    monkeypatch.setattr(tf.config, "list_physical_devices", lambda _: gpus)
    monkeypatch.setattr(tf.config.experimental, "get_device_details", lambda gpu: told[gpu.name])
    _expect(precision.slowness(asked), expected)


def _expect(told: str | None, expected: str | None) -> None:
    if expected is None:
        assert told is None
    else:
        assert re.search(expected, told or "")


@pytest.mark.usefixtures("no_gpu")
@pytest.mark.parametrize("half", HALVES)
def test_a_contrastive_run_in_half_precision_keeps_loss_and_weights_in_float32(
    half: str,
    tmp_path: Path,
    cells: list[LabelledImage],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Trained by ``hal train --resume``, which sets the precision and says what is slow here."""
    monkeypatch.setattr("training.networks.xception.build_encoder", lambda _: small.encoder())
    monkeypatch.setattr("training.networks.xception.imagenet_weights", lambda given: given)
    monkeypatch.setattr(precision, "cpu_flags", frozenset)
    adam, optimizers, learners, losses = trainer.adam, [], [], []

    def kept(*arguments: Any, **named: Any) -> keras.optimizers.Optimizer:
        optimizers.append(adam(*arguments, **named))
        return optimizers[-1]

    derivative, begin = Update._derivative, Trainer.__init__

    def watched(self: Update, outputs: Any, labels: Any) -> Any:
        loss, by_outputs = derivative(self, outputs, labels)
        losses.append(loss.dtype)
        return loss, by_outputs

    def made(self: Trainer, *arguments: Any) -> None:
        begin(self, *arguments)
        learners.append(self)

    monkeypatch.setattr(trainer, "adam", kept)
    monkeypatch.setattr(Update, "_derivative", watched)
    monkeypatch.setattr(Trainer, "__init__", made)
    stages, choices = {"stages": small.RECIPE.stages[1:]}, ("encoder.epochs=1", "classifier.epochs=1")
    recipe = override(small.RECIPE.model_copy(update=stages), [f"precision={half}", *choices])
    run = Run.start(tmp_path / "run", recipe, cells)
    resume(run.root, None)

    (learner,) = learners
    convolution = learner.encoder.get_layer("block2_conv")
    assert convolution.compute_dtype == half.removeprefix("mixed_")
    before = small.encoder().get_layer("block2_conv").get_weights()[0]
    assert np.abs(convolution.get_weights()[0] - before).max() > 0, "nothing was learned"
    weights = [*learner.encoder.weights, *learner.heads["projection"].weights, *learner.heads["classifier"].weights]
    assert {keras.backend.standardize_dtype(weight.dtype) for weight in weights} == {"float32"}
    assert all(np.isfinite(weight.numpy()).all() for weight in weights)
    assert set(losses) == {tf.float32}
    assert all(np.isfinite(float(row["loss"])) for row in small.history(run.root))
    for optimizer in optimizers:
        assert isinstance(optimizer, keras.optimizers.LossScaleOptimizer) == (half == "mixed_float16")
        assert int(getattr(optimizer, "inner_optimizer", optimizer).iterations.numpy()) > 0, "every update was skipped"
    assert f"warning, precision: {precision.slowness(half)}" in (run.root / "log.txt").read_text()
