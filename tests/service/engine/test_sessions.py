"""How ONNX Runtime is asked for a session: its options on every device, and what is loaded before it."""

from dataclasses import dataclass, field
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import onnxruntime as ort
import pytest

from contract.bundle import Bundle
from contract.parts import ModelFile
from service.engine.sessions import open_session, providers
from service.settings import Device, Settings

CPU, CUDA, TENSORRT = "CPUExecutionProvider", "CUDAExecutionProvider", "TensorrtExecutionProvider"
ORDER = {Device.CPU: [CPU], Device.CUDA: [CUDA, CPU], Device.TENSORRT: [TENSORRT, CUDA, CPU]}
GPUS = [Device.CUDA, Device.TENSORRT]
CACHE = Path("/var/lib/hal/tensorrt")


@dataclass
class Runtime:
    """An ONNX Runtime that has every device and writes down what it is asked for."""

    calls: list[str] = field(default_factory=list)
    preloaded: list[dict[str, Any]] = field(default_factory=list)
    options: list[Any] = field(default_factory=list)

    def preload(self, **options: Any) -> None:
        self.calls.append("preload")
        self.preloaded.append(options)

    def session(self, _: bytes, options: Any, providers: list[tuple[str, Any]], **__: Any) -> Any:
        self.calls.append("session")
        self.options.append(options)
        names = [name for name, _ in providers]
        return SimpleNamespace(get_providers=lambda: names)


@pytest.fixture
def runtime(monkeypatch: pytest.MonkeyPatch) -> Runtime:
    runtime = Runtime()
    monkeypatch.setattr(ort, "get_available_providers", lambda: [TENSORRT, CUDA, CPU])
    monkeypatch.setattr(ort, "preload_dlls", runtime.preload, raising=False)
    monkeypatch.setattr(ort, "InferenceSession", runtime.session)
    return runtime


@pytest.fixture
def file(bundle: Bundle) -> ModelFile:
    return bundle.file()


def of_precision(file: ModelFile, precision: str) -> ModelFile:
    return file.model_copy(update={"precision": precision})


@pytest.mark.parametrize("device", ORDER)
def test_a_device_is_asked_for_before_those_that_take_what_it_cannot(device: Device, file: ModelFile) -> None:
    assert [name for name, _ in providers(device, file, Settings())] == ORDER[device]


@pytest.mark.parametrize("device", GPUS)
def test_float32_on_a_gpu_is_float32_and_memory_is_taken_as_needed(device: Device, file: ModelFile) -> None:
    assert dict(providers(device, file, Settings()))[CUDA] == {
        "cudnn_conv_algo_search": "HEURISTIC",
        "arena_extend_strategy": "kSameAsRequested",
        "use_tf32": "0",
        "enable_cuda_graph": "0",
    }


@pytest.mark.parametrize("max_batch", [1, 64])
def test_tensorrt_builds_one_engine_for_every_batch_size(max_batch: int, file: ModelFile) -> None:
    options = dict(providers(Device.TENSORRT, file, Settings(max_batch=max_batch)))[TENSORRT]
    profile = {name: value for name, value in options.items() if name.startswith("trt_profile")}
    assert profile == {
        "trt_profile_min_shapes": "image:1x256x256x3",
        "trt_profile_opt_shapes": f"image:{max_batch}x256x256x3",
        "trt_profile_max_shapes": f"image:{max_batch}x256x256x3",
    }


@pytest.mark.parametrize(("precision", "told"), [("float16", "True"), ("float32", "False"), ("int8", "False")])
def test_tensorrt_computes_in_float16_only_what_was_checked_in_it(precision: str, told: str, file: ModelFile) -> None:
    options = dict(providers(Device.TENSORRT, of_precision(file, precision), Settings()))[TENSORRT]
    assert options["trt_fp16_enable"] == told


def test_tensorrt_keeps_engines_and_timings_where_it_is_told_to(file: ModelFile) -> None:
    cached = dict(providers(Device.TENSORRT, file, Settings(tensorrt_cache=CACHE)))[TENSORRT]
    assert {name: value for name, value in cached.items() if "cache" in name} == {
        "trt_engine_cache_enable": "True",
        "trt_engine_cache_path": str(CACHE),
        "trt_timing_cache_enable": "True",
        "trt_timing_cache_path": str(CACHE),
    }
    uncached = dict(providers(Device.TENSORRT, file, Settings()))[TENSORRT]
    assert [name for name in uncached if "cache" in name] == []


@pytest.mark.parametrize("device", GPUS)
def test_cuda_of_the_wheels_is_loaded_before_a_session_needs_it(
    device: Device, runtime: Runtime, file: ModelFile
) -> None:
    open_session(device, b"graph", file, Settings())
    assert runtime.calls == ["preload", "session"]
    assert runtime.preloaded == [{"directory": ""}], "an empty folder is the wheels' own; the default is PyTorch's"


def test_nothing_is_loaded_for_the_cpu(runtime: Runtime, file: ModelFile) -> None:
    open_session(Device.CPU, b"graph", file, Settings())
    assert runtime.calls == ["session"]


@pytest.mark.parametrize(
    ("device", "threads", "taken"), [(Device.CPU, 3, 3), (Device.CUDA, 3, 1), (Device.TENSORRT, 0, 1)]
)
def test_a_gpu_s_session_keeps_one_core_and_a_cpu_s_what_it_is_given(
    device: Device, threads: int, taken: int, runtime: Runtime, file: ModelFile
) -> None:
    open_session(device, b"graph", file, Settings(engine_threads=threads))
    (options,) = runtime.options
    assert (options.intra_op_num_threads, options.inter_op_num_threads) == (taken, 1)


@pytest.mark.parametrize("device", ORDER)
def test_threads_spin_within_a_run_and_sleep_after_it(device: Device, runtime: Runtime, file: ModelFile) -> None:
    open_session(device, b"graph", file, Settings(engine_threads=2))
    (options,) = runtime.options
    assert options.get_session_config_entry("session.intra_op.allow_spinning") == "1"
    assert options.get_session_config_entry("session.force_spinning_stop") == "1"


@pytest.mark.parametrize(("device", "most"), [(Device.CPU, 8), (Device.CUDA, 64), (Device.TENSORRT, 64)])
def test_the_largest_batch_is_the_devices_unless_it_is_set(device: Device, most: int) -> None:
    assert Settings(device=device).batch_limit(device) == most
    assert Settings(device=device, max_batch=3).batch_limit(device) == 3
