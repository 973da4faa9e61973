"""The bench on the small encoder: what it times and what it compares."""

import signal
import sys
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import keras
import numpy as np
import pytest
import tensorflow as tf
from numpy.typing import NDArray

from bench import training as bench
from bench.memory import Peak, peak
from bench.processes import apart
from tests.processes import command
from tests.training import small
from training.data.manifest import LabelledImage, ManifestError


@pytest.fixture(autouse=True)
def _float32() -> None:
    keras.mixed_precision.set_global_policy("float32")


@pytest.fixture
def small_encoder() -> keras.Model:
    return small.encoder()


@pytest.fixture
def cells(tmp_path: Path) -> list[LabelledImage]:
    return small.cells(tmp_path / "cells")


@dataclass
class Clock:
    now: float = 0.0

    def pass_by(self, seconds: float) -> None:
        self.now += seconds


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    moved = Clock()
    monkeypatch.setattr(bench, "time", SimpleNamespace(perf_counter=lambda: moved.now))
    return moved


@pytest.mark.parametrize("trains_encoder", [False, True])
def test_the_same_step_is_timed_from_the_pipeline_and_from_memory(
    cells: list[LabelledImage], small_encoder: keras.Model, trains_encoder: bool
) -> None:
    before = [weight.copy() for weight in small_encoder.get_weights()]
    cost = bench.pipeline_cost(small_encoder, cells, 4, 3, trains_encoder)
    assert (cost.encoder, cost.batch_size, cost.batches) == ("unfrozen" if trains_encoder else "frozen", 4, 3)
    assert min(cost.from_pipeline, cost.from_memory, cost.ratio) > 0
    changed = any((one != other).any() for one, other in zip(before, small_encoder.get_weights(), strict=True))
    assert changed == trains_encoder


def test_the_pipelines_cost_is_the_median_over_pairs_of_steps_timed_one_after_the_other(
    cells: list[LabelledImage], small_encoder: keras.Model, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    fed, held = (2.0, 4.0, 10.0), (1.0, 3.0, 4.0)
    reading = 0.5
    steps = iter([9.0, *(seconds for pair in zip(fed, held, strict=True) for seconds in (pair[0] - reading, pair[1]))])

    def batches(_: Sequence[Path], indices: Sequence[NDArray[np.int64]]) -> Iterator[tuple[Any, Any]]:
        for chosen in indices:
            clock.now += reading
            yield np.zeros((len(chosen), 256, 256, 3), np.float32), tf.constant(chosen)

    def update(pixels: Any, labels: NDArray[np.int64]) -> None:
        assert len(pixels) == len(labels) == 4
        clock.now += next(steps)

    monkeypatch.setattr(bench, "image_batches", batches)
    monkeypatch.setattr(bench, "_classifier_update", lambda *_: update)
    cost = bench.pipeline_cost(small_encoder, cells, 4, 3, trains_encoder=True)
    assert (cost.from_pipeline, cost.from_memory) == (4 / 4, 4 / 3)
    assert cost.ratio == 0.5  # of 0.5, 0.75 and 0.4
    assert next(steps, None) is None


def test_feature_views_and_online_augmentation_are_measured_on_the_same_images(
    cells: list[LabelledImage], small_encoder: keras.Model, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(bench, "EPOCHS", 2)
    train, validation = cells[: small.IMAGES - 12], cells[-12:]
    online, cached = bench.views_cost(small_encoder, train, validation, 2)
    assert (online.how, cached.how) == ("online", "2 views")
    for each in (online, cached):
        assert (each.images, each.epochs, each.validation_images) == (24, 2, 12)
        assert each.seconds > 0
        assert 0 <= each.accuracy <= 1


def test_folded_and_plain_steps_are_timed_on_the_same_encoder(
    small_encoder: keras.Model, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each takes as long as it is made to take, in the graph."""

    def taking(seconds: float, forward: Callable[..., Any]) -> Callable[..., Any]:
        def slow(*arguments: Any, **options: Any) -> Any:
            tf.py_function(lambda: clock.pass_by(seconds), [], [])
            return forward(*arguments, **options)

        return slow

    monkeypatch.setattr(bench.networks, "build_encoder", lambda _: small_encoder)
    monkeypatch.setattr(bench, "folded", taking(2.0, bench.folded))
    monkeypatch.setattr(small_encoder, "call", taking(3.0, small_encoder.call))
    cost = bench.folding_cost(None, "float32", 4, 3)
    assert (cost.precision, cost.batch_size, cost.steps) == ("float32", 4, 3)
    assert (cost.folded, cost.keras, cost.ratio) == (4 / 2, 4 / 3, 1.5)
    assert keras.mixed_precision.global_policy().name == "float32"


def test_too_few_images_are_refused(cells: list[LabelledImage]) -> None:
    with pytest.raises(ManifestError, match="5 of split val"):
        bench._some(cells[:5], "val")


def wide_encoder(_: object) -> keras.Model:
    """One layer whose activations are large, in the place of Xception, which takes half a minute to trace."""
    pixels = keras.Input((256, 256, 3))
    x = keras.layers.Conv2D(16, 3, padding="same", name="block1_conv")(pixels)
    x = keras.layers.BatchNormalization(name="block1_conv_bn")(x)
    x = keras.layers.Conv2D(2048, 1, name="block2_conv")(keras.layers.AveragePooling2D(32)(x))
    return keras.Model(pixels, keras.layers.GlobalAveragePooling2D()(x), name="encoder")


def peaks_of_wide_encoder(*batch_sizes: int, micro_batch: int) -> list[Peak]:
    """Of one process: each is at least that of the smaller batch before it."""
    bench.networks.build_encoder = wide_encoder  # type: ignore[assignment] # of this process alone
    return [peak(size, micro_batch) for size in batch_sizes]


def test_a_batch_in_micro_batches_needs_little_more_memory_than_one_micro_batch() -> None:
    """If all 32 were embedded at once it would be 1.45 times as much. Of Xception see docs/train.md."""
    small, large = apart(peaks_of_wide_encoder, 4, 32, micro_batch=4)
    assert (small.batch_size, large.batch_size, large.micro_batch) == (4, 32, 4)
    assert large.bytes <= 1.3 * small.bytes


@pytest.mark.skipif(sys.platform != "linux", reason="processes are looked up in /proc")
@pytest.mark.parametrize("sent", [signal.SIGTERM, signal.SIGINT])
def test_the_measurement_of_memory_is_stopped_with_the_process_that_it_measures(sent: signal.Signals) -> None:
    with command("-m", "hal", "bench", "memory", "--batch", "2", "--micro-batch", "2") as measuring:
        assert measuring.has_come_to(lambda: measuring.running() == 2)
        said = measuring.stop(sent)
    assert measuring.process.returncode == 130, said
    assert "Traceback" not in said
    assert measuring.running() == 0
