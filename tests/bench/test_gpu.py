"""``hal bench gpu`` on the CPU: every line of its report, and what makes a verdict bad."""

import copy
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from bench import BenchError, Provider, candidates, gpu, gpu_report
from bench.candidates import CandidateError
from contract.bundle import Bundle


@pytest.fixture(scope="module")
def report(bundle: Bundle, tmp_path_factory: pytest.TempPathFactory) -> tuple[dict[str, Any], str, bool]:
    """What is written about the tiny bundle in a moment, what is said, and whether all was good."""
    out, said = tmp_path_factory.mktemp("gpu"), list[str]()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(candidates, "TRIES", 1)
        patch.setattr(gpu, "_ROUNDS", 3)
        patch.setattr(gpu, "WARMUP_S", 0.1)
        patch.setattr(gpu, "CONNECTIONS", 4)
        patch.setattr(gpu, "BULK", 8)
        good = gpu.bench_gpu(bundle, out, [Provider.CPU], images=None, batches=50, seconds=0.5, say=said.append)
    assert (out / "gpu.md").read_text() == said[-1]
    return json.loads((out / "gpu.json").read_text()), said[-1], good


def test_every_line_is_there(report: tuple[dict[str, Any], str, bool]) -> None:
    figures, text, good = report
    cpu = figures["measured"]["cpu"]
    assert cpu["providers"] == [["CPUExecutionProvider", {}]]
    assert cpu["nodes"]["CPUExecutionProvider"]["nodes"] > 3
    assert [bucket["size"] for bucket in cpu["buckets"]] == [1, 2, 4, 8]
    assert all(bucket["ms"] > 0 and bucket["changed_ms"] > 0 for bucket in cpu["buckets"])
    assert cpu["engine"]["ratio"] == pytest.approx(cpu["engine"]["images_s"] / cpu["engine"]["bare_images_s"], rel=0.5)
    (parity,) = cpu["parity"]
    assert parity["images"] > 20
    assert (parity["other_class"], parity["against"]) == (0, "float32")
    assert parity["difference"] < 1e-6
    assert cpu["memory"]["gpu"] == []
    assert len(cpu["memory"]["host"]) == 50
    for kind in ("single", "bulk"):
        assert set(cpu[kind]["outcomes"]) == {"ok"}
        assert cpu[kind]["batch"] >= 1
    assert len(figures["verdicts"]) == 8
    assert good == all(line.startswith("ok") for line in figures["verdicts"])
    assert all(line in text for line in figures["verdicts"])
    assert "| batch of 8, after a change of shape, ms | " in text


def test_a_machine_without_a_gpu_says_so_at_once(bundle: Bundle, tmp_path: Path) -> None:
    said: list[str] = []
    with pytest.raises(BenchError, match="--device cpu"):
        gpu.bench_gpu(bundle, tmp_path, [Provider.CUDA], images=None, batches=1, seconds=0.1, say=said.append)
    assert "HAL_DEVICE=cuda" in said[-1]


def test_an_engine_that_dies_is_told_with_its_last_words(tmp_path: Path) -> None:
    dies = "import sys; print('{}', flush=True); input(); sys.exit('CUDA error 700')"
    with gpu.looping(("-c", dies), {}, tmp_path / "log") as engine:
        for _ in range(2):
            with pytest.raises(CandidateError, match="CUDA error 700"):
                engine.run([1])


GOOD: dict[str, Any] = {
    "device": "cuda",
    "precision": "float16",
    "providers": [["CUDAExecutionProvider", {}], ["CPUExecutionProvider", {}]],
    "nodes": {"CUDAExecutionProvider": {"nodes": 131, "ms": 5.0}, "CPUExecutionProvider": {"nodes": 3, "ms": 0.1}},
    "start_s": [9.0, 8.0],
    "buckets": [{"size": 1, "ms": 2.0, "changed_ms": 2.1}, {"size": 64, "ms": 10.0, "changed_ms": 11.0}],
    "engine": {"images_s": 6000.0, "bare_images_s": 6100.0, "ratio": 0.98},
    "memory": {"host": [100 << 20] * 50, "gpu": [900] * 50},
    "parity": [{"against": "int8", "tolerance": 0.02, "images": 30, "other_class": 0, "difference": 0.01}],
    **{
        kind: {"images_s": 900.0, "outcomes": {"ok": 9}, "batch": 9.5, "busy": 0.5, "latency_ms": {"p50": None}}
        for kind in ("single", "bulk")
    },
}


def changed(*path: Any, to: Any) -> dict[str, Any]:
    figures = copy.deepcopy(GOOD)
    place: Any = figures
    for key in path[:-1]:
        place = place[key]
    place[path[-1]] = to
    return figures


@pytest.mark.parametrize(
    ("figures", "bad"),
    [
        (GOOD, None),
        (
            changed("nodes", "CPUExecutionProvider", "ms", to=5.0),
            "CUDAExecutionProvider was asked for, 50.0%",
        ),
        (
            changed("nodes", to={"CPUExecutionProvider": {"nodes": 134, "ms": 9.0}}),
            "CUDAExecutionProvider was asked for, 0.0%",
        ),
        (changed("parity", 0, "other_class", to=1), "float16 beside int8 on the CPU: 1 of 30"),
        (changed("parity", 0, "difference", to=0.021), "float16 beside int8 on the CPU: 0 of 30"),
        (changed("buckets", 1, "changed_ms", to=500.0), "after a change of shape a batch takes 50.00 times as long"),
        (changed("engine", "ratio", to=0.969), "the engine reaches 0.969"),
        (changed("bulk", "outcomes", to={"ok": 9, "429 queue_full": 2}), "over HTTP, bulk: 900 images/s, 2 requests"),
        (changed("single", "images_s", to=0.0), "over HTTP, single: 0 images/s"),
        (changed("memory", "gpu", to=[*range(900, 950)]), "memory while batch sizes change: host +0.0%, gpu +5.0%"),
        (changed("start_s", to=[9.0, 90.0]), None),
        (
            changed("start_s", to=[9.0, 90.0]) | {"device": "tensorrt"},
            "starts in 9.0 s, with its engines again in 90.0 s",
        ),
    ],
)
def test_a_verdict_is_bad_where_a_promise_is_broken(figures: dict[str, Any], bad: str | None) -> None:
    found = [words for good, words in gpu_report.verdicts(figures) if not good]
    assert len(found) == (bad is not None)
    assert all(words.startswith(str(bad)) for words in found)


@pytest.mark.parametrize("must", [[], ["tensorrt"]], ids=["looked for", "asked for"])
def test_a_provider_that_does_not_start_is_a_fault_if_it_was_asked_for(must: list[str], tmp_path: Path) -> None:
    figures = {
        "bundle": "hal-c 3.0.0",
        "machine": {"gpu": ["NVIDIA H200", "580", "143771"], "processor": "EPYC", "cores": 16},
        "measured": {"cuda": GOOD},
        "left_out": {"tensorrt": "no libnvinfer"},
    }
    text, good = gpu_report.write(figures, tmp_path, must)
    assert good == (not must)
    assert (tmp_path / "gpu.md").read_text() == text
    assert "hal-c 3.0.0 on NVIDIA H200, 580, 143771; EPYC, 16 cores" in text
    assert f"{'FAIL' if must else '-   '} tensorrt: left out, no libnvinfer" in text
    assert "| batch of 64, after a change of shape, ms | 10.00, 11.00 |" in text


def test_parity_counts_other_classes_and_the_largest_difference(bundle: Bundle) -> None:
    expected = bundle.golden()["logits_float32"]
    assert gpu.parity(bundle, expected, expected) == {"images": 3, "other_class": 0, "difference": 0.0}
    found = expected.copy()
    found[0] = np.roll(found[0], 1)
    told = gpu.parity(bundle, found, expected)
    assert told["other_class"] == 1
    assert 0 < told["difference"] <= 1


class Simulated:
    """An engine that takes a millisecond an image of its bucket, and plans for 30 ms where the shape changes."""

    def __init__(self, *, pads: bool) -> None:
        self.pads, self.shape = pads, 0

    def run(self, sizes: list[int]) -> list[float]:
        return [self._batch(size) for size in sizes]

    def _batch(self, size: int) -> float:
        shape = 1 << (size - 1).bit_length() if self.pads else size
        replans = not self.pads and shape != self.shape
        self.shape = shape
        return shape + 30.0 * replans


@pytest.mark.parametrize("pads", [True, False])
def test_planning_after_a_change_of_shape_is_seen(pads: bool) -> None:
    buckets = gpu.measure_buckets(Simulated(pads=pads), 64)  # type: ignore[arg-type]
    assert [(bucket["size"], bucket["ms"]) for bucket in buckets] == [
        (1 << power, 1.0 * (1 << power)) for power in range(7)
    ]
    assert all((bucket["changed_ms"] == bucket["ms"]) == pads for bucket in buckets)
