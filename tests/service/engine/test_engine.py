import random
import re
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime as ort
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray
from onnx import TensorProto

from contract.bundle import Bundle, BundleCorruptError, BundleError, load
from contract.parts import Precision
from service.engine import cuda
from service.engine.cuda import BoundBatches, bucket_sizes
from service.engine.onnx import DeviceMemoryError, GoldenMismatchError, OnnxEngine
from service.engine.sessions import (
    DeviceUnavailableError,
    GraphMismatchError,
    check_signature,
    providers,
    served_file,
)
from service.settings import Device, Settings
from tests.paths import ROOT
from tests.service.tiny_bundle import POISON, TinyNetwork

CPU = Settings(device=Device.CPU, max_batch=4, engine_threads=1)


def images(count: int) -> NDArray[np.uint8]:
    return np.random.default_rng(count).integers(0, 250, (count, 256, 256, 3)).astype(np.uint8)


def test_the_engine_computes_the_graph(bundle: Bundle, network: TinyNetwork) -> None:
    engine = OnnxEngine.open(bundle, CPU)
    for count in (1, 3, 4):
        assert np.array_equal(engine.run(images(count))[0], network.logits(images(count)))


def test_auto_is_the_cpu_where_there_is_no_gpu(bundle: Bundle, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ort, "get_available_providers", lambda: ["CPUExecutionProvider"])
    assert OnnxEngine.open(bundle, Settings(device=Device.AUTO)).device is Device.CPU


@pytest.mark.parametrize("device", [Device.CUDA, Device.TENSORRT])
def test_a_device_that_is_not_there_is_an_error(
    bundle: Bundle, device: Device, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ort, "get_available_providers", lambda: ["CPUExecutionProvider"])
    with pytest.raises(DeviceUnavailableError, match=f"HAL_DEVICE={device}.*HAL_DEVICE=cpu"):
        OnnxEngine.open(bundle, Settings(device=device))


class SilentFallback:
    """ONNX Runtime where CUDA is listed, and opened without a word as the CPU (onnxruntime #23372)."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.asked_for: list[list[str]] = []
        self.options: list[dict[str, Any]] = []
        real = ort.InferenceSession

        def session(graph: bytes, settings: Any, providers: list[tuple[str, dict[str, str]]], **options: Any) -> Any:
            self.asked_for.append([name for name, _ in providers])
            self.options.append(options)
            return real(graph, settings, providers=["CPUExecutionProvider"])

        listed = ["TensorrtExecutionProvider", "CUDAExecutionProvider", "CPUExecutionProvider"]
        monkeypatch.setattr(ort, "get_available_providers", lambda: listed)
        monkeypatch.setattr(ort, "preload_dlls", lambda **_: None)
        monkeypatch.setattr(ort, "InferenceSession", session)


@pytest.mark.parametrize("device", [Device.CUDA, Device.TENSORRT])
def test_a_silent_fallback_to_the_cpu_is_an_error(
    bundle: Bundle, device: Device, monkeypatch: pytest.MonkeyPatch
) -> None:
    runtime = SilentFallback(monkeypatch)
    with pytest.raises(DeviceUnavailableError, match="fell back to CPUExecutionProvider"):
        OnnxEngine.open(bundle, Settings(device=device))
    assert "CUDAExecutionProvider" in runtime.asked_for[0]
    assert runtime.options == [{"enable_fallback": 0}]


def test_auto_takes_the_cpu_and_says_so_if_the_driver_sees_no_gpu(
    bundle: Bundle, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    SilentFallback(monkeypatch)
    monkeypatch.setattr(cuda, "driver_fault", lambda: "no GPU")
    assert OnnxEngine.open(bundle, Settings(device=Device.AUTO)).device is Device.CPU
    assert "serves on the CPU: no GPU" in caplog.text


def test_auto_refuses_a_gpu_that_does_not_work(bundle: Bundle, monkeypatch: pytest.MonkeyPatch) -> None:
    SilentFallback(monkeypatch)
    monkeypatch.setattr(cuda, "driver_fault", lambda: None)
    with pytest.raises(DeviceUnavailableError, match="HAL_DEVICE=cpu"):
        OnnxEngine.open(bundle, Settings(device=Device.AUTO))


@pytest.mark.parametrize(
    ("device", "asked", "files", "served"),
    [
        (Device.CPU, None, ("int8", "float16"), "int8"),
        (Device.CUDA, None, ("int8", "float16"), "float16"),
        (Device.TENSORRT, None, ("int8", "float16"), "float16"),
        (Device.CUDA, None, ("float32", "int8"), "float32"),
        (Device.CUDA, "int8", ("int8", "float16"), "int8"),
        (Device.AUTO, None, ("int8", "float16"), "int8"),
    ],
)
def test_a_gpu_is_served_by_float16_unless_another_file_is_named(
    device: Device, asked: Precision | None, files: tuple[Precision, ...], served: str, bundle: Bundle
) -> None:
    (file,) = bundle.description.files
    described = [file.model_copy(update={"precision": precision}) for precision in files]
    both = Bundle(bundle.root, bundle.description.model_copy(update={"files": tuple(described)}))
    assert served_file(both, device, asked).precision == served


def test_a_precision_that_the_bundle_does_not_have_is_an_error(bundle: Bundle) -> None:
    with pytest.raises(BundleError, match="no int8 file, only float32"):
        OnnxEngine.open(bundle, Settings(precision="int8"))


def test_a_file_that_was_swapped_after_verification_is_not_loaded(
    tmp_path: Path, write_bundle: Any, network: TinyNetwork
) -> None:
    verified = write_bundle(tmp_path)
    (tmp_path / "model.onnx").write_bytes(network.graph(bias=1))
    with pytest.raises(BundleCorruptError, match=r"model\.onnx has SHA-256"):
        OnnxEngine.open(verified, CPU)


@pytest.mark.parametrize(
    ("change", "problem"),
    [
        ({"input_name": "pixels"}, "no input 'image', only \\['pixels'\\]"),
        ({"input_type": TensorProto.FLOAT}, "tensor\\(float\\), expected tensor\\(uint8\\)"),
        ({"side": 224}, "224, 224, 3"),
        ({"batch": 1}, "with any n"),
        ({"outputs": ["logits"]}, "no output 'embedding'"),
    ],
)
def test_a_graph_with_another_signature_is_an_error(
    tmp_path: Path, write_bundle: Any, network: TinyNetwork, change: dict[str, Any], problem: str
) -> None:
    with pytest.raises(GraphMismatchError, match=problem):
        OnnxEngine.open(write_bundle(tmp_path, graph=network.graph(**change)), CPU)


def test_all_outputs_of_the_shipped_graph_are_bound_and_described() -> None:
    shipped = load(ROOT / Settings.model_fields["bundle"].default)
    session = ort.InferenceSession(shipped.path(shipped.file()), providers=["CPUExecutionProvider"])
    cells = shipped.golden()["images"][:2]
    _, features = BoundBatches(session, (2,), "cpu").run(cells)
    expected = session.run(["embedding", "middle_flow"], {"image": cells})
    np.testing.assert_allclose(features, np.concatenate(expected, axis=1), atol=1e-6)
    two = shipped.description.model_copy(update={"outputs": shipped.description.outputs[:2]})
    with pytest.raises(GraphMismatchError, match="output 'middle_flow' is not described"):
        check_signature(session, two)


def test_a_file_that_is_no_graph_is_an_error(tmp_path: Path, write_bundle: Any) -> None:
    with pytest.raises(GraphMismatchError, match=r"cannot load model\.onnx"):
        OnnxEngine.open(write_bundle(tmp_path, graph=b"not onnx"), CPU)


def test_a_network_that_differs_from_the_golden_sample_never_serves(
    tmp_path: Path, write_bundle: Any, network: TinyNetwork
) -> None:
    with pytest.raises(GoldenMismatchError, match="differs from the golden sample"):
        OnnxEngine.open(write_bundle(tmp_path, graph=network.graph(bias=50)), CPU)


def test_a_failing_run_leaves_the_engine_usable(bundle: Bundle, network: TinyNetwork) -> None:
    engine = OnnxEngine.open(bundle, CPU)
    poisoned = images(2)
    poisoned[1] = POISON
    with pytest.raises(Exception, match="indices element out of data bounds"):
        engine.run(poisoned)
    assert np.array_equal(engine.run(images(1))[0], network.logits(images(1)))


def test_a_batch_for_which_there_is_no_memory_is_told_apart_and_a_smaller_one_succeeds(
    tmp_path: Path, write_bundle: Any, network: TinyNetwork
) -> None:
    engine = OnnxEngine.open(write_bundle(tmp_path, graph=network.graph(memory_for=4)), CPU)
    with pytest.raises(DeviceMemoryError, match="no memory for a batch of 5") as caught:
        engine.run(images(5))
    assert isinstance(caught.value, MemoryError)
    assert np.array_equal(engine.run(images(4))[0], network.logits(images(4)))


@pytest.mark.parametrize(
    "said",
    [
        "BFCArena::AllocateRawInternal Failed to allocate memory for requested buffer of size 939524096",
        "std::bad_alloc",
        "CUDA failure 2: out of memory ; GPU=0",
        "CUDNN_STATUS_ALLOC_FAILED",
        "CUDA_ERROR_OUT_OF_MEMORY",
    ],
)
def test_every_way_of_saying_out_of_memory_is_understood(bundle: Bundle, said: str) -> None:
    class Full:
        def get_outputs(self) -> list[Any]:
            return []

        def run(self, *_: Any) -> Any:
            raise RuntimeError(said)

    with pytest.raises(DeviceMemoryError):
        OnnxEngine(Full(), Device.CUDA, 4, bundle.file()).run(images(2))


# Batch sizes


def test_ort_24376_memory_does_not_grow_with_varying_batch_sizes(bundle: Bundle) -> None:
    """Device memory grew with every new batch size."""
    engine = OnnxEngine.open(bundle, Settings(device=Device.CPU, max_batch=16, engine_threads=1))
    sizes = random.Random(5)  # noqa: S311

    def run(batches: int) -> int:
        for _ in range(batches):
            engine.run(np.zeros((sizes.randint(1, 16), 256, 256, 3), np.uint8))
        resident = re.search(r"VmRSS:\s+(\d+)", Path("/proc/self/status").read_text())
        assert resident is not None
        return int(resident[1])

    before = run(100)
    assert run(400) - before < 4 * 1024, "KiB; one more block of 16 images in the arena would be 3 MiB"


class Recorder:
    """A session that remembers the batches it was given."""

    def __init__(self, session: Any) -> None:
        self._session = session
        self.sizes: list[int] = []
        self.io_binding, self.get_outputs = session.io_binding, session.get_outputs

    def run(self, outputs: list[str], inputs: dict[str, NDArray[np.uint8]]) -> Any:
        self.sizes.append(len(inputs["image"]))
        return self._session.run(outputs, inputs)

    def run_with_iobinding(self, binding: Any, options: Any) -> None:
        self._session.run_with_iobinding(binding, options)
        self.sizes.append(len(binding.get_outputs()[0].numpy()))


def recorder_of(network: TinyNetwork) -> Recorder:
    return Recorder(ort.InferenceSession(network.graph(), providers=["CPUExecutionProvider"]))


def test_a_gpu_sees_few_batch_sizes_and_all_of_them_before_it_serves(bundle: Bundle, network: TinyNetwork) -> None:
    recorder = recorder_of(network)
    batches = BoundBatches(recorder, bucket_sizes(12), "cpu")
    engine = OnnxEngine(None, Device.CUDA, 12, bundle.file(), batches)
    engine.warm_up()
    assert recorder.sizes == [1, 2, 4, 8, 12]
    for count in range(1, 13):
        logits, embedding = engine.run(images(count))
        assert np.array_equal(logits, network.logits(images(count)))
        assert embedding.shape == (count, 2048)
    assert set(recorder.sizes) == {1, 2, 4, 8, 12}
    engine.check_golden(bundle)


def test_a_cpu_is_given_batches_as_they_are(bundle: Bundle, network: TinyNetwork) -> None:
    recorder = recorder_of(network)
    engine = OnnxEngine(recorder, Device.CPU, 12, bundle.file())
    for count in (1, 3, 7):
        engine.run(images(count))
    assert recorder.sizes == [1, 3, 7]


def test_the_golden_sample_is_run_in_batches_of_the_allowed_size(bundle: Bundle, network: TinyNetwork) -> None:
    recorder = recorder_of(network)
    OnnxEngine(recorder, Device.CPU, 2, bundle.file()).check_golden(bundle)
    assert recorder.sizes == [2, 1]


# Fixed memory, as on a GPU; here on the CPU provider


def bound_session(network: TinyNetwork) -> Any:
    return ort.InferenceSession(network.graph(), providers=["CPUExecutionProvider"])


def test_bound_batches_compute_the_graph_whatever_the_batch_before_left(network: TinyNetwork) -> None:
    batches = BoundBatches(bound_session(network), (1, 2, 4), "cpu")
    first = batches.run(images(4))[0]
    assert np.array_equal(first, network.logits(images(4)))
    for count in (3, 1, 2, 3, 4):
        assert np.array_equal(batches.run(images(count))[0], network.logits(images(count)))
    assert np.array_equal(first, network.logits(images(4))), "an answer is not overwritten by the next batch"


def test_a_failing_bound_batch_leaves_the_engine_usable(network: TinyNetwork) -> None:
    batches = BoundBatches(bound_session(network), (2,), "cpu")
    poisoned = images(2)
    poisoned[1] = POISON
    with pytest.raises(Exception, match="indices element out of data bounds"):
        batches.run(poisoned)
    assert np.array_equal(batches.run(images(2))[0], network.logits(images(2)))


@pytest.mark.parametrize(
    ("device", "wanted", "told"),
    [(Device.CUDA, True, "1"), (Device.CUDA, False, "0"), (Device.TENSORRT, True, "0")],
)
def test_cuda_graphs_are_asked_for_on_cuda_only(bundle: Bundle, device: Device, wanted: bool, told: str) -> None:
    options = dict(providers(device, bundle.file(), Settings(device=device, cuda_graphs=wanted)))
    assert options["CUDAExecutionProvider"]["enable_cuda_graph"] == told
    assert options["CUDAExecutionProvider"]["cudnn_conv_algo_search"] == "HEURISTIC"


def test_each_size_has_a_graph_of_its_own(network: TinyNetwork, monkeypatch: pytest.MonkeyPatch) -> None:
    entries: list[tuple[str, str]] = []

    class Options:
        def add_run_config_entry(self, name: str, value: str) -> None:
            entries.append((name, value))

    monkeypatch.setattr(ort, "RunOptions", Options)
    BoundBatches(bound_session(network), (1, 2, 4), "cpu", graphs=True)
    assert entries == [("gpu_graph_id", "1"), ("gpu_graph_id", "2"), ("gpu_graph_id", "3")]


@given(st.integers(1, 1024), st.data())
def test_a_batch_is_padded_to_less_than_twice_its_size(max_batch: int, data: st.DataObject) -> None:
    sizes = bucket_sizes(max_batch)
    count = data.draw(st.integers(1, max_batch))
    size = min(size for size in sizes if size >= count)
    assert count <= size <= max_batch
    assert size < 2 * count
    assert list(sizes) == sorted(set(sizes))
