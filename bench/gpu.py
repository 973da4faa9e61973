"""``hal bench gpu``: on each device the engine beside ONNX Runtime alone, then the service over HTTP."""

import contextlib
import io
import json
import random
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from statistics import fmean, median
from typing import Any, Final

import numpy as np
import psutil
from numpy.typing import NDArray
from PIL import Image

from bench import BenchError, Provider, candidates, gpu_report
from bench.candidates import APPS, CandidateError
from bench.load import Load
from bench.processes import end, environment, machine, memory_bytes, nvidia_smi
from bench.requests import Request, Target, fetch, forms, load_images
from bench.service import BULK, BULK_CONNECTIONS, CONNECTIONS, WARMUP_S, Say, with_device
from contract.bundle import Bundle
from contract.decision import calibrated_probabilities
from contract.parts import IMAGE_SIDE, ModelFile

_SETTINGS: Final[Mapping[Provider, Mapping[str, str]]] = {
    Provider.CPU: {"HAL_DEVICE": "cpu"},
    Provider.CUDA: {"HAL_DEVICE": "cuda"},
    Provider.CUDA_GRAPHS: {"HAL_DEVICE": "cuda", "HAL_CUDA_GRAPHS": "1"},
    Provider.TENSORRT: {"HAL_DEVICE": "tensorrt"},
}
_REPEATS: Final = 10
"""Batches from which a median is taken."""
_ROUNDS: Final = 10
"""In which the engine and ONNX Runtime alone take turns, so that a disturbance hits both."""
_READINGS: Final = 50
"""Of the memory."""
_TOGETHER: Final = 3
"""Images in a request for the parity: a GPU pads them to four, and as JSON they are below HAL_MAX_JSON_BYTES."""


def bench_gpu(
    bundle: Bundle, out: Path, asked: Sequence[Provider], *, images: Path | None, batches: int, seconds: float, say: Say
) -> bool:
    """Measure, write ``gpu.json`` and ``gpu.md`` into ``out``, say the table and the verdicts; whether all are good.

    Args:
        asked: what must work; if nothing is asked for all but the CPU, of which CUDA must.
        images: folder of images beside the golden sample; ``None``: sample cells.
        batches: of changing size, over which memory is watched.
        seconds: measured time of each load, and of the comparison with ONNX Runtime alone.

    Raises:
        BenchError: nothing works, or there is no image of 256x256.
    """
    files = [file for file in load_images(images)[0] if Image.open(io.BytesIO(file)).size == (IMAGE_SIDE, IMAGE_SIDE)]
    if not files:
        raise BenchError(f"no image of {IMAGE_SIDE}x{IMAGE_SIDE} in {images}; expected those that HAL takes")
    out.mkdir(parents=True, exist_ok=True)
    measured: dict[str, Any] = {}
    left_out: dict[str, str] = {}
    figures = {
        "bundle": f"{bundle.description.name} {bundle.description.version}",
        "machine": machine() | {"gpu": nvidia_smi("name,driver_version,memory.total")},
        "measured": measured,
        "left_out": left_out,
    }
    text, good = "", False
    for provider in asked or [each for each in Provider if each is not Provider.CPU]:
        say(f"{provider}: measuring ...")
        try:
            with tempfile.TemporaryDirectory(prefix="hal-bench-") as folder:
                measured[provider] = _measure(bundle, provider, Path(folder), files, batches, seconds)
        except BenchError as error:
            left_out[provider] = str(error)
            say(f"{provider}: left out, {error}")
        # Each time, so that what was measured is kept if the next one hangs.
        text, good = gpu_report.write(figures, out, must=asked or [Provider.CUDA])
    if not measured:
        raise BenchError(
            "nothing could be measured. It takes NVIDIA's driver and .venv/bin/pip install -e "
            "'.[loadtest,service-gpu]' in an environment without the extra service; '--device cpu' tries every line "
            "without a GPU"
        )
    say(text)
    return good


def _measure(
    bundle: Bundle, provider: Provider, folder: Path, files: Sequence[bytes], batches: int, seconds: float
) -> dict[str, Any]:
    settings = dict(_SETTINGS[provider])
    if provider is Provider.TENSORRT:
        settings["HAL_TENSORRT_CACHE"] = str(folder)
    command, variables = ("-m", "service.engine"), settings | {"HAL_BUNDLE": str(bundle.root.resolve())}
    with looping(command, variables, folder / "log") as engine:
        first_s = engine.start_s
    with looping(command, variables, folder / "log") as engine:
        figures, most = engine.about | {"start_s": [first_s, engine.start_s]}, engine.about["max_batch"]
        file, golden = bundle.file(figures["precision"]), bundle.root / bundle.description.golden.path
        bare_command = (str(APPS / "bare.py"), str(bundle.path(file)), str(golden), json.dumps(figures["providers"]))
        with looping(bare_command, {}, folder / "log of bare") as bare:
            figures |= bare.about | {"buckets": measure_buckets(engine, most)}
            figures["engine"] = _against_bare(engine, bare, most, seconds)
            figures["memory"] = _watch_memory(engine, most, batches)
    with candidates.running(candidates.hal(bundle, **settings), folder / "log") as running:
        pixels = [np.asarray(Image.open(io.BytesIO(each)).convert("RGB")) for each in files]
        figures["parity"] = _compare(running.target, bundle, file, np.stack([*bundle.golden()["images"], *pixels]))
        for name, images, connections in (("single", 1, CONNECTIONS), ("bulk", BULK, BULK_CONNECTIONS)):
            load = Load(connections=connections, duration_s=seconds, warmup_s=WARMUP_S)
            figures[name] = with_device(running, forms(files, images), load)
    return figures


class Loop:
    """A Python process that runs batches as it is told: the engine alone, or ONNX Runtime alone.

    ``about`` is what it says of itself, ``start_s`` the seconds until it said it.
    """

    def __init__(self, started: "subprocess.Popen[str]", log: Path) -> None:
        begin = time.monotonic()
        self.process = psutil.Process(started.pid)
        self._started, self._log = started, log
        self.about: dict[str, Any] = self._read()
        self.start_s = time.monotonic() - begin

    def run(self, sizes: Sequence[int]) -> list[float]:
        """Milliseconds of batches of these sizes, one after the other.

        Raises CandidateError: the process has ended; the message has the end of its log.
        """
        assert self._started.stdin is not None  # noqa: S101
        with contextlib.suppress(BrokenPipeError):
            self._started.stdin.write(json.dumps(sizes) + "\n")
            self._started.stdin.flush()
        took: list[float] = self._read()
        return took

    def _read(self) -> Any:
        assert self._started.stdout is not None  # noqa: S101
        if not (line := self._started.stdout.readline()):
            raise CandidateError(self._log.read_text(errors="replace")[-2000:].strip())
        return json.loads(line)


@contextlib.contextmanager
def looping(command: Sequence[str], variables: Mapping[str, str], log: Path) -> Iterator[Loop]:
    """Start Python as a :class:`Loop`, and end it with the block."""
    pipe, run = subprocess.PIPE, [sys.executable, *command]
    with (
        log.open("wb") as output,
        subprocess.Popen(  # noqa: S603 - our own command
            run, env=environment(**variables), stdin=pipe, stdout=pipe, stderr=output, text=True, start_new_session=True
        ) as started,
    ):
        try:
            yield Loop(started, log)
        finally:
            end(psutil.Process(started.pid))
            # What a dead process was to read would be an error again.
            with contextlib.suppress(BrokenPipeError):
                started.stdin.close()  # type: ignore[union-attr]


def measure_buckets(engine: Loop, max_batch: int) -> list[dict[str, float]]:
    """Milliseconds of a batch of each bucket: time and again, and after a batch of another one.

    In the second case batches have any size for which the bucket is the smallest that holds them.
    """
    buckets = [*(1 << power for power in range((max_batch - 1).bit_length())), max_batch]
    again = {size: median(engine.run([size] * (_REPEATS + 1))[1:]) for size in buckets}
    draw = random.Random(1)  # noqa: S311 - an order, not a secret
    turns = [size for _ in range(_REPEATS) for size in draw.sample(buckets, len(buckets))]
    below = dict(zip(buckets, [0, *buckets], strict=False))
    took = engine.run([draw.randint(below[size] + 1, size) for size in turns])
    changes = [*zip([0, *turns], turns, took, strict=False)]
    after = {size: [ms for last, now, ms in changes if now == size != last] for size in buckets}
    return [{"size": size, "ms": again[size], "changed_ms": median(after[size] or took)} for size in buckets]


def _against_bare(engine: Loop, bare: Loop, max_batch: int, seconds: float) -> dict[str, float]:
    """Images a second in full batches: of the engine, of ONNX Runtime alone, and the one divided by the other."""
    once_ms = max(median(bare.run([max_batch] * 3)), 1e-3)
    sizes = [max_batch] * max(3, round(500 * seconds / _ROUNDS / once_ms))
    # The first batch of a turn pays for caches and clocks that the other process has had.
    rounds = [[1000 * max_batch / fmean(loop.run(sizes)[1:]) for loop in (engine, bare)] for _ in range(_ROUNDS)]
    ours, theirs = map(median, zip(*rounds, strict=True))
    return {"images_s": ours, "bare_images_s": theirs, "ratio": median(own / other for own, other in rounds)}


def _watch_memory(engine: Loop, max_batch: int, batches: int) -> dict[str, list[int]]:
    """MiB of the engine's process, and of its GPU if there is one, while batch sizes change."""
    draw = random.Random(2)  # noqa: S311 - sizes, not a secret
    memory: dict[str, list[int]] = {"host": [], "gpu": []}
    for _ in range(_READINGS):
        engine.run([draw.randint(1, max_batch) for _ in range(max(1, batches // _READINGS))])
        memory["host"].append(memory_bytes([engine.process]) >> 20)
        memory["gpu"] += [int(mib) for mib in nvidia_smi("memory.used") if mib.isdigit()]
    return memory


def _compare(target: Target, bundle: Bundle, file: ModelFile, images: NDArray[np.uint8]) -> list[dict[str, Any]]:
    """What the service answers beside the same file on the CPU, and beside float32 or else the file for CPUs."""
    found = _served_logits(target, bundle.description.name, images)
    precise = [each for each in bundle.description.files if each.precision == "float32"]
    return [
        {"against": each.precision, "tolerance": max(file.golden_tolerance, each.golden_tolerance)}
        | parity(bundle, found, _cpu_logits(bundle.path(each), images))
        for each in {each.path: each for each in (file, *(precise or [bundle.file()]))}.values()
    ]


def parity(bundle: Bundle, found: NDArray[np.float32], expected: NDArray[np.float32]) -> dict[str, Any]:
    """Images, those whose class differs, and the largest difference of a probability, of logits ``[n, 20]``."""
    calibration, suppressed = bundle.description.calibration, bundle.description.suppressed
    ours, theirs = (calibrated_probabilities(each, calibration.temperature, suppressed) for each in (found, expected))
    other_class = int((ours.argmax(axis=1) != theirs.argmax(axis=1)).sum())
    return {"images": len(ours), "other_class": other_class, "difference": float(np.abs(ours - theirs).max())}


def _served_logits(target: Target, name: str, images: NDArray[np.uint8]) -> NDArray[np.float32]:
    """By the Open Inference Protocol, so that no decoder comes between."""
    rows: list[NDArray[np.float32]] = []
    for part in (images[first : first + _TOGETHER] for first in range(0, len(images), _TOGETHER)):
        tensor = {"name": "image", "datatype": "UINT8", "shape": part.shape, "data": part.ravel().tolist()}
        body = json.dumps({"inputs": [tensor], "outputs": [{"name": "logits"}]}).encode()
        status, answer = fetch(target, f"/v2/models/{name}/infer", Request("", "application/json", body))
        if status != 200:
            raise BenchError(f"the service answered {status} to images as a tensor: {answer[:500].decode()}")
        rows.append(np.array(json.loads(answer)["outputs"][0]["data"], np.float32).reshape(len(part), -1))
    return np.concatenate(rows)


def _cpu_logits(model: Path, images: NDArray[np.uint8]) -> NDArray[np.float32]:
    import onnxruntime as ort

    session = ort.InferenceSession(model, providers=["CPUExecutionProvider"])
    return np.concatenate([session.run(["logits"], {"image": image[None]})[0] for image in images])
